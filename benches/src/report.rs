//! The table for people and the JSON for programs.

use serde_json::{Value, json};

use crate::Options;
use crate::workloads::{Backlog, Sample, Unit, Workload};

/// Figures gathered so far.
pub(crate) struct Report {
    rows: Vec<Value>,
    settings: Value,
    is_cluster: bool,
}

/// What a workload must and may reach on a cluster (one worker process): floor and goal.
fn cluster_targets(workload: &str) -> (Option<f64>, Option<f64>) {
    let (floor, goal) = match workload {
        "W1 10,000 one-task runs" | "W2 100 fan-outs of 10" | "W4 1,000 three-step pipelines" => {
            (8_000.0, 20_000.0)
        }
        "W2 fan-out 1,000 + finalize" => (0.25, 0.1),
        "W2 fan-out 10,000 + finalize" => (2.0, 1.0),
        "W3 chain of 50, per hop" => (1.0, 0.6),
        "W5 submit → result, p50" => (3.0, 2.0),
        _ => return (None, None),
    };
    (Some(floor), Some(goal))
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let store = match (&options.postgres, &options.redis) {
            (None, _) => "sqlite, WAL".to_owned(),
            (Some(_), None) => "PostgreSQL, worker in this process".to_owned(),
            (Some(_), Some(_)) => format!(
                "PostgreSQL and Redis, {} worker process(es) beside this client",
                options.workers
            ),
        };
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let settings = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "store": store,
            "synchronous": if options.normal { "normal" } else { "full" },
            "slots": options.slots,
            "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            "load_average_before": load.split_whitespace().next().unwrap_or("?"),
            "optimised": !cfg!(debug_assertions),
        });
        Self {
            rows: Vec::new(),
            settings,
            is_cluster: options.postgres.is_some(),
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
        let (floor, goal) = if self.is_cluster {
            cluster_targets(workload.name)
        } else {
            (workload.floor, workload.goal)
        };
        println!(
            "{:<34} {:>14} {:>14} {:>14}  {} … {}{}",
            workload.name,
            show(median.value),
            floor.map_or("–".to_owned(), show),
            goal.map_or("–".to_owned(), show),
            show(worst.value),
            show(best.value),
            median
                .p99
                .map_or(String::new(), |p| format!("   p99 {}", show(p))),
        );
        self.rows.push(json!({
            "workload": workload.name, "unit": workload.unit.name(), "median": median.value, "p99": median.p99,
            "best": best.value, "worst": worst.value, "floor": floor, "goal": goal,
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
        if let Some(worker) = backlog.worker_mb {
            println!("resident memory of a worker process {worker:.1} MB");
        }
        self.rows
            .push(serde_json::to_value(backlog).unwrap_or_default());
    }

    pub(crate) fn json(&self) -> String {
        json!({ "settings": self.settings, "rows": self.rows }).to_string()
    }
}
