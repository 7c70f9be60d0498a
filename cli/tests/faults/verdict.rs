//! What a fault did: what was lost, what was recorded twice, how long until work went on.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use aquatint_engine::engine::SCHEDULE_TAG;
use aquatint_engine::run::{AttemptOutcome, EventKind};
use aquatint_engine::{RunFilter, RunState};

use crate::Plan;
use crate::cluster::{Cluster, LEASE};
use crate::faults::Fault;
use crate::load::{SLOW, TICK, attempt_of, expected};
use crate::servers::Servers;

/// Two leases: whatever happened, work goes on after that.
const RECOVERY: Duration = Duration::from_secs(2 * LEASE.as_secs());

/// What came of all trials of a fault.
#[derive(Debug)]
pub(crate) struct Verdict {
    fault: Fault,
    trials: usize,
    runs: usize,
    /// Runs that did not end, or ended otherwise than they should.
    lost: usize,
    /// Tasks whose success, or runs whose end, is recorded more than once.
    twice: usize,
    /// Attempts that were lost and made again.
    again: usize,
    /// Anything else that must not be, in words.
    wrong: Vec<String>,
    /// From the end of the fault until a fresh run was through; the worst trial's.
    recovery: Duration,
}

impl Verdict {
    pub(crate) fn is_sound(&self) -> bool {
        self.lost == 0 && self.twice == 0 && self.wrong.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<52} {:>6} {:>6} {:>6} {:>6} {:>10} {:>10} ms",
            self.fault.name(),
            self.trials,
            self.runs,
            self.lost,
            self.twice,
            self.again,
            self.recovery.as_millis()
        )?;
        for wrong in self.wrong.iter().take(20) {
            write!(f, "\n    {wrong}")?;
        }
        Ok(())
    }
}

pub(crate) async fn of(fault: Fault, servers: &Servers, plan: Plan) -> Verdict {
    let mut verdict = Verdict {
        fault,
        trials: plan.trials,
        runs: 0,
        lost: 0,
        twice: 0,
        again: 0,
        wrong: Vec::new(),
        recovery: Duration::ZERO,
    };
    for _ in 0..plan.trials {
        let mut cluster = Cluster::start(servers).await;
        cluster.submit(plan.runs).await;
        cluster.warm_up(plan.runs as u64 / 8).await;
        fault.strike(&mut cluster, plan).await;
        verdict.recovery = verdict.recovery.max(cluster.probe().await);
        if verdict.recovery > RECOVERY {
            let limit = RECOVERY.as_secs();
            verdict
                .wrong
                .push(format!("recovery took longer than {limit} s"));
        }
        if cluster.stop_ticking().await && cluster.settles().await {
            verdict.inspect(&cluster).await;
            verdict.inspect_ticks(&cluster).await;
        } else {
            for run in &cluster.runs {
                let has_ended = cluster.state(run.id).await.is_terminal();
                verdict.lost += usize::from(!has_ended);
            }
        }
        verdict.runs += cluster.runs.len();
        verdict.wrong.append(&mut cluster.wrong);
        // What nobody was told of was submitted twice.
        let query = format!(
            "select count(*) from {}.runs where parent_run is null \
             and (idempotency_key is null or idempotency_key not like 'schedule/%')",
            cluster.name
        );
        let submitted = usize::try_from(servers.count(&query).await).unwrap();
        if submitted != cluster.runs.len() {
            let accepted = cluster.runs.len();
            verdict.twice += submitted.saturating_sub(accepted);
            verdict
                .wrong
                .push(format!("{submitted} runs for {accepted} submits"));
        }
        if fault.spares_all() && verdict.again > 0 {
            verdict.wrong.push(format!(
                "{} attempts were taken from live workers",
                verdict.again
            ));
        }
        cluster.end_workers();
        let report = cluster.engine.check().await.unwrap();
        verdict.wrong.extend(report.broken);
        verdict.wrong.extend(report.missing);
        let orphans = cluster.orphans().await;
        if orphans > 0 {
            verdict
                .wrong
                .push(format!("{orphans} files that no run names"));
        }
        if !verdict.is_sound() {
            eprintln!("{}", cluster.log());
        }
        cluster.stop().await;
    }
    verdict
}

impl Verdict {
    /// What began by itself: each tick once, none left out, whoever looked and whatever befell them.
    async fn inspect_ticks(&mut self, cluster: &Cluster<'_>) {
        let mut due = Vec::new();
        let mut filter = RunFilter {
            tag: Some(format!("{SCHEDULE_TAG}{}", TICK.0)),
            limit: 1_000,
            ..RunFilter::default()
        };
        loop {
            let page = cluster.engine.page(&filter).await.unwrap();
            for run in &page.runs {
                let key = run.idempotency_key.as_deref().unwrap_or_default();
                let at = key.rsplit('/').next().and_then(|at| at.parse::<i64>().ok());
                due.extend(at);
                if run.state != RunState::Succeeded {
                    self.lost += 1;
                    self.wrong.push(format!("tick {} is {}", run.id, run.state));
                }
            }
            match page.next {
                Some(next) => filter.before = Some(next),
                None => break,
            }
        }
        due.sort_unstable();
        if due.is_empty() {
            self.wrong.push("nothing began by itself".to_owned());
        }
        for pair in due.windows(2) {
            if pair[0] == pair[1] {
                self.twice += 1;
                self.wrong
                    .push(format!("the tick of {} began twice", pair[0]));
            } else if pair[1] - pair[0] != 1_000 {
                self.lost += 1;
                self.wrong
                    .push(format!("no tick between {} and {}", pair[0], pair[1]));
            }
        }
        let told = cluster.engine.schedule(TICK.0).await.unwrap().counts;
        if told.started != due.len() as u64 || told.missed + told.refused > 0 {
            self.wrong.push(format!(
                "{} ticks, and the schedule says {told:?}",
                due.len()
            ));
        }
    }

    /// Every run by itself: its end, its result, its record.
    async fn inspect(&mut self, cluster: &Cluster<'_>) {
        // A worker that was given up for lost goes on under a new id.
        let workers = cluster.engine.workers(false).await.unwrap();
        let live: HashSet<_> = workers.iter().map(|w| w.id).collect();
        for run in &cluster.runs {
            let what = format!("{} {} ({})", run.workflow, run.n, run.id);
            let view = cluster.engine.run(run.id).await.unwrap();
            let attempts = cluster.engine.attempts(run.id).await.unwrap();
            let lost = || {
                attempts
                    .iter()
                    .filter(|a| a.outcome == AttemptOutcome::Lost)
            };
            let is_right = match view.state {
                RunState::Succeeded if run.workflow == SLOW.0 => {
                    let attempt = attempt_of(view.output.as_ref());
                    // What is lost has no result.
                    attempt.is_some() && lost().all(|a| Some(a.attempt) != attempt)
                }
                RunState::Succeeded => view.output == Some(expected(run.workflow, run.n)),
                RunState::Cancelled => self.fault.cancels(),
                _ => false,
            };
            if !is_right {
                self.lost += 1;
                let (state, output, failure) = (view.state, view.output, view.failure);
                self.wrong
                    .push(format!("{what} is {state}: {output:?} {failure:?}"));
            }
            let events = cluster.engine.events(run.id, 0).await.unwrap();
            let ends = events.iter().filter(|e| e.kind.ends_run()).count();
            if ends != 1 {
                self.twice += 1;
                self.wrong.push(format!("{what} ended {ends} times"));
            }
            let mut numbers = events.iter().map(|e| e.seq);
            if !(1..=i64::try_from(events.len()).unwrap()).all(|n| numbers.next() == Some(n)) {
                self.wrong
                    .push(format!("{what}: its events are not numbered through"));
            }
            let mut done = HashSet::new();
            for event in &events {
                if let EventKind::TaskSucceeded { step, item, .. } = &event.kind
                    && !done.insert((step.clone(), *item))
                {
                    self.twice += 1;
                    self.wrong.push(format!("{what}: {step} succeeded twice"));
                }
            }
            for attempt in lost() {
                self.again += 1;
                let is_robbed = attempt.worker.is_some_and(|w| live.contains(&w));
                if is_robbed && !self.fault.breaks_database() {
                    self.wrong
                        .push(format!("{what}: an attempt was taken from a live worker"));
                }
            }
        }
    }
}
