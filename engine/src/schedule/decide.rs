//! What a schedule does about the ticks that have come.

use serde::{Deserialize, Serialize};

use super::{Clockwork, MAX_WAITING, Misfire, Overlap, PUNCTUAL_MS, Schedule};
use crate::id::RunId;
use crate::time::Timestamp;

/// What a schedule remembers of its last ticks.
const MAX_RECENT: usize = 20;
/// A clock that was ahead by more than this was wrong; less is for time to mend.
const WRONG: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Runs that one look begins at most; the rest follows with the next look.
const MAX_STARTS: usize = 100;

/// How a schedule stands: what is kept of it beside what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Intervals count from here.
    pub anchor: Timestamp,
    /// Whether its ticks pass without a run.
    #[serde(default)]
    pub paused: bool,
    /// When it is due next; none when there is nothing more to come.
    pub due: Option<Timestamp>,
    /// Due times that wait for their turn, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Timestamp>,
    /// What its last ticks came to, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Firing>,
    /// What all of them came to.
    #[serde(default)]
    pub counts: Counts,
}

/// One tick and what it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// When it was due; none where somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When it was seen to.
    pub at: Timestamp,
    /// What it came to.
    #[serde(flatten)]
    pub happened: Happened,
}

/// What a tick came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Happened {
    /// A run began.
    Started {
        /// Which.
        run: RunId,
    },
    /// The run before it was still under way.
    Skipped,
    /// Nobody saw it in time.
    Missed,
    /// The run was not accepted.
    Refused {
        /// Why not.
        reason: String,
    },
}

/// What all ticks of a schedule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Runs begun.
    pub started: u64,
    /// Ticks left out since the run before was still under way.
    pub skipped: u64,
    /// Ticks that nobody saw in time; of a long outage, counted up to a limit.
    pub missed: u64,
    /// Runs not accepted.
    pub refused: u64,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Runs to begin, by due time, in this order.
    pub start: Vec<Timestamp>,
    /// Whether the run before is to be cancelled first.
    pub cancel: bool,
    /// How the schedule stands once that is done, but for the runs begun.
    pub standing: Standing,
}

impl Standing {
    /// Of a schedule that is made now.
    #[must_use]
    pub fn new(clockwork: &Clockwork, anchor: Timestamp) -> Self {
        Self {
            anchor,
            paused: false,
            due: clockwork.after(anchor),
            waiting: Vec::new(),
            recent: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// When somebody should look at it: its next tick, or at once while something waits.
    #[must_use]
    pub fn look_at(&self, schedule: &Schedule, id: &str) -> Option<Timestamp> {
        if let Some(first) = self.waiting.first() {
            // What waits has been due; whether its turn has come must be looked at each time.
            return Some(*first);
        }
        if self.paused {
            return None;
        }
        self.due.map(|due| schedule.fires_at(id, due))
    }

    /// Where a tick that has been seen to lies far in the future, the clock was wrong then, and has been set right: what
    /// is due next by the present time, unless that is what it waits for already. Ticks never begin their run twice.
    #[must_use]
    pub fn set_right(&self, clockwork: &Clockwork, now: Timestamp) -> Option<Timestamp> {
        let seen = self.recent.iter().filter_map(|firing| firing.due).max()?;
        let next = clockwork.after(now)?;
        let was_wrong = seen > now.after(WRONG);
        (was_wrong && self.due.is_none_or(|due| due > next)).then_some(next)
    }

    /// The runs that began last, newest first.
    pub fn runs(&self) -> impl Iterator<Item = RunId> {
        self.recent
            .iter()
            .filter_map(|firing| match firing.happened {
                Happened::Started { run } => Some(run),
                Happened::Skipped | Happened::Missed | Happened::Refused { .. } => None,
            })
    }

    /// Writes down what a tick came to.
    pub fn note(&mut self, due: Option<Timestamp>, at: Timestamp, happened: Happened) {
        let count = match &happened {
            Happened::Started { .. } => &mut self.counts.started,
            Happened::Skipped => &mut self.counts.skipped,
            Happened::Missed => &mut self.counts.missed,
            Happened::Refused { .. } => &mut self.counts.refused,
        };
        *count += 1;
        self.recent.insert(0, Firing { due, at, happened });
        self.trim();
    }

    /// Forgets the oldest ticks, but never the run that began last: overlap looks at it.
    fn trim(&mut self) {
        let last = self
            .recent
            .iter()
            .position(|f| matches!(f.happened, Happened::Started { .. }));
        while self.recent.len() > MAX_RECENT {
            let oldest = self.recent.len() - 1;
            self.recent.remove(if last == Some(oldest) {
                oldest - 1
            } else {
                oldest
            });
        }
    }
}

/// What to do about the ticks that have come. `is_busy`: whether a run that began before is still
/// under way. Times only go forward: a clock that was set back makes nothing fire twice.
#[must_use]
pub fn decide(
    schedule: &Schedule,
    id: &str,
    clockwork: &Clockwork,
    standing: &Standing,
    now: Timestamp,
    is_busy: bool,
) -> Decision {
    let mut next = standing.clone();
    let mut due = None;
    if !standing.paused {
        let come = come(schedule, id, clockwork, standing, now);
        if let Some(last) = come.last {
            next.due = clockwork.after(last);
        }
        for missed in &come.missed {
            next.note(Some(*missed), now, Happened::Missed);
        }
        next.counts.missed += come.missed_before;
        due = come.fire;
        next.waiting.extend(come.made_up);
    }
    let mut start = Vec::new();
    let mut cancel = false;
    match schedule.overlap {
        Overlap::Allow => {
            next.waiting.extend(due);
            let many = next.waiting.len().min(MAX_STARTS);
            start = next.waiting.drain(..many).collect();
        }
        Overlap::Queue => {
            // Its turn comes below, with that of all that waits.
            next.waiting.extend(due);
        }
        Overlap::Skip if is_busy => {
            if due.is_some() {
                next.note(due, now, Happened::Skipped);
            }
        }
        Overlap::Skip => start.extend(due),
        Overlap::Cancel => {
            cancel = is_busy && due.is_some();
            start.extend(due);
        }
    }
    for late in next.waiting.split_off(next.waiting.len().min(MAX_WAITING)) {
        next.note(Some(late), now, Happened::Skipped);
    }
    // A range that is made up for goes one by one, whatever a tick may do.
    if start.is_empty() && !is_busy && !next.waiting.is_empty() {
        start.push(next.waiting.remove(0));
    }
    Decision {
        start,
        cancel,
        standing: next,
    }
}

/// Ticks whose time has come.
#[derive(Debug, Default)]
struct Come {
    /// The one to see to.
    fire: Option<Timestamp>,
    /// Those to make up for, one by one.
    made_up: Vec<Timestamp>,
    /// Some of those that are left out, newest last.
    missed: Vec<Timestamp>,
    /// How many more are left out.
    missed_before: u64,
    /// The last of all.
    last: Option<Timestamp>,
}

fn come(
    schedule: &Schedule,
    id: &str,
    clockwork: &Clockwork,
    standing: &Standing,
    now: Timestamp,
) -> Come {
    let Some(first) = standing.due else {
        return Come::default();
    };
    if schedule.fires_at(id, first) > now {
        return Come::default();
    }
    // Of an outage over a million ticks only the newest are looked at one by one.
    let mut recent = Vec::new();
    let mut at = clockwork.at_or_before(now);
    while let Some(due) = at.filter(|due| *due >= first && recent.len() < MAX_WAITING) {
        recent.push(due);
        at = clockwork.at_or_before(Timestamp(due.0 - 1));
    }
    let missed_before = u64::from(at.is_some_and(|due| due >= first));
    recent.reverse();
    if recent.first() != Some(&first) && missed_before == 0 {
        // The expression says otherwise than when this was written down: that tick counts too.
        recent.insert(0, first);
    }
    // What has its time spread may not be there yet; what comes after it keeps its place in line.
    let ready = recent
        .iter()
        .position(|due| schedule.fires_at(id, *due) > now);
    recent.truncate(ready.unwrap_or(recent.len()));
    let mut come = Come {
        missed_before,
        last: recent.last().copied(),
        ..Come::default()
    };
    let lateness = |due: &Timestamp| now.since_ms(schedule.fires_at(id, *due));
    let window_ms = i64::try_from(schedule.window_ms).unwrap_or(i64::MAX);
    for (i, due) in recent.iter().enumerate() {
        let is_last = i + 1 == recent.len();
        let is_punctual = is_last && lateness(due) <= PUNCTUAL_MS;
        match schedule.misfire {
            _ if is_punctual => come.fire = Some(*due),
            Misfire::Once if is_last => come.fire = Some(*due),
            Misfire::CatchUp if lateness(due) <= window_ms => come.made_up.push(*due),
            Misfire::Skip | Misfire::Once | Misfire::CatchUp => come.missed.push(*due),
        }
    }
    // What is written down in full is bounded too.
    let many = come.missed.len().saturating_sub(MAX_RECENT);
    come.missed_before += many as u64;
    come.missed.drain(..many);
    come
}
