//! What a run must come to, by plain recursion over its graph: no queue, no
//! store, no order of events. Knows nothing of how the engine does it.

use aquatint_engine::TaskState;
use serde_json::{Map, Value, json};

/// What an attempt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Succeed,
    /// Fails, and another try may help.
    Stumble,
    Panic,
    /// Fails for good.
    Fall,
}

impl Act {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Succeed => "succeed",
            Self::Stumble => "stumble",
            Self::Panic => "panic",
            Self::Fall => "fall",
        }
    }
}

/// What a task does, attempt by attempt; afterwards it succeeds.
pub(crate) type Script = Vec<Act>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Fail,
    Continue,
    Skip,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    One(Script),
    Mapped {
        items: Vec<Script>,
        max_parallel: Option<u32>,
        tolerate: bool,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Steps before this one, by number.
    pub(crate) needs: Vec<usize>,
    pub(crate) shape: Shape,
    /// Does its work in a run of its own.
    pub(crate) is_sub: bool,
    pub(crate) attempts: usize,
    pub(crate) policy: Policy,
    /// `when` is false.
    pub(crate) is_idle: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Graph {
    pub(crate) steps: Vec<Step>,
    pub(crate) max_parallel: Option<u32>,
    pub(crate) has_outputs: bool,
    pub(crate) has_last_word: bool,
}

/// What one task comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fate {
    pub(crate) is_good: bool,
    /// Attempts it takes.
    pub(crate) attempts: usize,
}

/// What a step comes to, if its run lets it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    pub(crate) state: TaskState,
    /// Skipped because of what failed before it, so that what follows is skipped too.
    pub(crate) is_cascade: bool,
    /// By item, or one for a plain step; empty when it never runs.
    pub(crate) fates: Vec<Fate>,
    /// What steps that refer to it see; `None` when that hangs on who was quicker.
    pub(crate) seen: Option<Value>,
}

pub(crate) fn name(step: usize) -> String {
    format!("s{step}")
}

impl Graph {
    /// Every step's end, in order. Each needs only earlier ones.
    pub(crate) fn ends(&self) -> Vec<End> {
        let mut ends: Vec<End> = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            let end = step.end(number, &ends, self);
            ends.push(end);
        }
        ends
    }

    pub(crate) fn fails(&self, ends: &[End]) -> bool {
        let mut steps = self.steps.iter().zip(ends);
        steps.any(|(step, end)| end.state == TaskState::Failed && step.policy == Policy::Fail)
    }

    /// The value of `steps.x` for each step whose value is certain.
    pub(crate) fn visible(
        &self,
        steps: impl Iterator<Item = usize>,
        ends: &[End],
    ) -> Map<String, Value> {
        let certain = steps.filter_map(|step| Some((name(step), ends[step].seen.clone()?)));
        certain.collect()
    }
}

impl Step {
    /// Whether other steps may look at its value: not where that hangs on who was quicker.
    pub(crate) fn is_certain(&self) -> bool {
        match &self.shape {
            Shape::One(_) => true,
            Shape::Mapped {
                items, tolerate, ..
            } => *tolerate || items.iter().all(|script| self.fate(script).is_good),
        }
    }

    fn end(&self, number: usize, before: &[End], graph: &Graph) -> End {
        let is_mapped = matches!(self.shape, Shape::Mapped { .. });
        let nothing = || Some(if is_mapped { json!([]) } else { Value::Null });
        let skipped = |is_cascade| End {
            state: TaskState::Skipped,
            is_cascade,
            fates: Vec::new(),
            seen: nothing(),
        };
        let skips = |&need: &usize| {
            let end = &before[need];
            end.is_cascade
                || (end.state == TaskState::Failed && graph.steps[need].policy == Policy::Skip)
        };
        if self.needs.iter().any(skips) {
            return skipped(true);
        }
        if self.is_idle {
            return skipped(false);
        }
        let certain = self
            .needs
            .iter()
            .copied()
            .filter(|need| graph.steps[*need].is_certain());
        let seen = Value::Object(graph.visible(certain, before));
        match &self.shape {
            Shape::One(script) => {
                let fate = self.fate(script);
                End {
                    state: if fate.is_good {
                        TaskState::Succeeded
                    } else {
                        TaskState::Failed
                    },
                    is_cascade: false,
                    seen: Some(if fate.is_good {
                        self.output(number, None, &fate, &seen)
                    } else {
                        Value::Null
                    }),
                    fates: vec![fate],
                }
            }
            Shape::Mapped {
                items, tolerate, ..
            } => {
                let fates: Vec<Fate> = items.iter().map(|script| self.fate(script)).collect();
                let is_good = *tolerate || fates.iter().all(|fate| fate.is_good);
                let results = fates.iter().enumerate().map(|(index, fate)| {
                    json!({
                        "index": index,
                        "status": if fate.is_good { "succeeded" } else { "failed" },
                        "output": if fate.is_good { self.output(number, Some(index), fate, &seen) } else { Value::Null },
                        "error": !fate.is_good,
                    })
                });
                End {
                    state: if is_good {
                        TaskState::Succeeded
                    } else {
                        TaskState::Failed
                    },
                    is_cascade: false,
                    seen: self.is_certain().then(|| results.collect()),
                    fates,
                }
            }
        }
    }

    /// Tries until it works, may not be tried again, or has been tried often enough.
    fn fate(&self, script: &Script) -> Fate {
        // A run of its own begins its script anew each time.
        let tries = if self.is_sub { 1 } else { self.attempts };
        for attempt in 1..=tries {
            match script.get(attempt - 1).copied().unwrap_or(Act::Succeed) {
                Act::Succeed => {
                    return Fate {
                        is_good: true,
                        attempts: attempt,
                    };
                }
                Act::Fall if !self.is_sub => {
                    return Fate {
                        is_good: false,
                        attempts: attempt,
                    };
                }
                Act::Stumble | Act::Panic | Act::Fall => {}
            }
        }
        Fate {
            is_good: false,
            attempts: self.attempts,
        }
    }

    fn output(&self, number: usize, item: Option<usize>, fate: &Fate, seen: &Value) -> Value {
        if self.is_sub {
            return json!({ "x": { "name": "x", "item": null, "attempt": 1, "seen": seen } });
        }
        json!({ "name": name(number), "item": item, "attempt": fate.attempts, "seen": seen })
    }
}
