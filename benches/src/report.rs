//! The table for people and the JSON for programs.

use serde_json::{Value, json};

use crate::workloads::{Backlog, Sample, Unit, Workload};

/// Figures gathered so far.
pub(crate) struct Report {
    rows: Vec<Value>,
    settings: Value,
}

impl Report {
    pub(crate) fn new(slots: u32, normal: bool) -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let settings = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "store": "sqlite, WAL",
            "synchronous": if normal { "normal" } else { "full" },
            "slots": slots,
            "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            "load_average_before": load.split_whitespace().next().unwrap_or("?"),
            "optimised": !cfg!(debug_assertions),
        });
        Self {
            rows: Vec::new(),
            settings,
        }
    }

    pub(crate) fn header(&self) {
        println!("{}", self.settings);
        println!(
            "{:<34} {:>14} {:>14} {:>14}  worst … best",
            "workload", "median", "floor", "goal"
        );
    }

    pub(crate) fn add(&mut self, workload: &Workload, mut samples: Vec<Sample>) {
        samples.sort_by(|a, b| a.value.total_cmp(&b.value));
        if workload.unit == Unit::PerSecond {
            samples.reverse();
        }
        let median = samples[samples.len() / 2];
        let (best, worst) = (samples[0], samples[samples.len() - 1]);
        let show = |v: f64| workload.unit.show(v);
        println!(
            "{:<34} {:>14} {:>14} {:>14}  {} … {}{}",
            workload.name,
            show(median.value),
            workload.floor.map_or("–".to_owned(), show),
            workload.goal.map_or("–".to_owned(), show),
            show(worst.value),
            show(best.value),
            median
                .p99
                .map_or(String::new(), |p| format!("   p99 {}", show(p))),
        );
        self.rows.push(json!({
            "workload": workload.name, "unit": workload.unit.name(), "median": median.value, "p99": median.p99,
            "best": best.value, "worst": worst.value, "floor": workload.floor, "goal": workload.goal,
        }));
    }

    pub(crate) fn add_backlog(&mut self, backlog: &Backlog) {
        let line = |what: &str, before: f64, after: f64| {
            println!(
                "{what:<34} {before:>11.1} µs → {after:>11.1} µs with {} finished runs in the store",
                backlog.runs
            );
        };
        line(
            "submit, p50",
            backlog.submit_before_us,
            backlog.submit_after_us,
        );
        line(
            "submit → result, p50",
            backlog.result_before_us,
            backlog.result_after_us,
        );
        println!(
            "database size                      {:.0} bytes a finished run",
            backlog.bytes_per_run
        );
        println!(
            "resident memory                    {:.1} MB idle at the start, {:.1} MB at the end",
            backlog.idle_mb, backlog.end_mb
        );
        self.rows
            .push(serde_json::to_value(backlog).unwrap_or_default());
    }

    pub(crate) fn json(&self) -> String {
        json!({ "settings": self.settings, "rows": self.rows }).to_string()
    }
}
