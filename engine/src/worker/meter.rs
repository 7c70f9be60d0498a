//! What a worker counts. Free of cost that shows, where nobody has asked for figures.
//!
//! Names and labels are stable: dashboards and alerts are built on them.
//!
//! | metric | labels | |
//! | --- | --- | --- |
//! | `aquatint_tasks_total` | `task`, `outcome` | attempts that ended here |
//! | `aquatint_task_duration_seconds` | `task`, `outcome` | how long each took, from its claim to its report |
//! | `aquatint_claims_total` | `queue` | tasks taken |
//! | `aquatint_settlements_total` | | reports that counted |
//! | `aquatint_reports_late_total` | | reports that came after somebody else had decided |
//! | `aquatint_leases_lost_total` | | times this worker was given up for lost |

use std::time::Instant;

use super::attempt::Product;
use crate::run::AttemptOutcome;
use crate::store::Claim;
use crate::transition::Outcome;
use crate::workflow::plan::Action;

/// Begins at nought, so that the first of what should never happen shows as a step.
pub(super) fn begin() {
    for counter in [
        "aquatint_settlements_total",
        "aquatint_reports_late_total",
        "aquatint_leases_lost_total",
    ] {
        metrics::counter!(counter).increment(0);
    }
}

/// One attempt under way.
pub(super) struct Meter {
    task: String,
    began: Instant,
}

impl Meter {
    pub(super) fn begin(claim: &Claim) -> Self {
        let step = &claim.plan.steps[claim.key.step as usize];
        let task = match &step.action {
            Action::Task(task) => task.to_string(),
            Action::Workflow(_) => "workflow".to_owned(),
            Action::Outputs => "outputs".to_owned(),
        };
        metrics::counter!("aquatint_claims_total", "queue" => step.queue.to_string()).increment(1);
        Self {
            task,
            began: Instant::now(),
        }
    }

    /// The attempt has come to something, or to nothing that anybody wants to hear of.
    pub(super) fn end(self, product: Option<&Product>) {
        self.count(product.map_or("cancelled", |product| word(product.outcome())));
    }

    /// Its handler has reported by itself: that is done only of a success.
    pub(super) fn succeeded(self) {
        self.count("succeeded");
    }

    fn count(self, outcome: &str) {
        tracing::Span::current().record("outcome", outcome);
        let labels = [("task", self.task), ("outcome", outcome.to_owned())];
        metrics::counter!("aquatint_tasks_total", &labels).increment(1);
        let seconds = self.began.elapsed().as_secs_f64();
        metrics::histogram!("aquatint_task_duration_seconds", &labels).record(seconds);
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { cached: true, .. } => "cached",
        Outcome::Succeeded { cached: false, .. } => "succeeded",
        Outcome::Skipped => "skipped",
        Outcome::Mapped(_) => "mapped",
        Outcome::Delegated(_) => "delegated",
        Outcome::Released => "released",
        Outcome::Failed { outcome, .. } => match outcome {
            AttemptOutcome::TimedOut => "timed_out",
            AttemptOutcome::Lost => "lost",
            AttemptOutcome::Succeeded
            | AttemptOutcome::Failed
            | AttemptOutcome::Cancelled
            | AttemptOutcome::Released => "failed",
        },
    }
}

/// A report was taken, or came too late.
pub(super) fn settled(counted: bool) {
    if counted {
        metrics::counter!("aquatint_settlements_total").increment(1);
    } else {
        metrics::counter!("aquatint_reports_late_total").increment(1);
    }
}

/// This worker was given up for lost.
pub(super) fn lost_lease() {
    metrics::counter!("aquatint_leases_lost_total").increment(1);
}
