//! Notices: what one process tells all others. A hint each, never the data.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::RunId;

/// Runs named in one message at most.
const CHUNK: usize = 500;

/// Runs kept for one flight at most. Beyond, "look at everything" is shorter.
const MAX_RUNS: usize = 4_096;

/// A message of more bytes than this is not read.
const MAX_BYTES: usize = 256 * 1024;

/// The form of [`Bulletin`]. A reader of another form looks at everything.
const VERSION: u32 = 1;

/// What a process tells the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Notice {
    /// These runs have changed; with each, whether it is over now.
    Touched(Vec<(RunId, bool)>),
    /// Of this run, look whether you still own what you hold.
    Stopped(RunId),
    /// Settings of queues or workers have changed.
    Control,
    /// Something may have gone unheard: look at everything, holdings and settings too.
    Missed,
}

impl Notice {
    /// Whether somebody may be waiting for just this.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Touched(runs) => runs.iter().any(|(_, is_over)| *is_over),
            Self::Stopped(_) | Self::Control | Self::Missed => true,
        }
    }
}

/// Notices on their way, gathered until they can be sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notices {
    touched: BTreeMap<RunId, bool>,
    stopped: BTreeSet<RunId>,
    control: bool,
    missed: bool,
}

/// The form on the wire.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Bulletin {
    v: u32,
    /// Who sent it: a doorbell does not hear itself.
    from: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    touched: Vec<(RunId, bool)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stopped: Vec<RunId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    control: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    missed: bool,
}

impl Notices {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, notice: Notice) {
        match notice {
            Notice::Touched(runs) => self.touched.extend(runs),
            Notice::Stopped(run) => {
                self.stopped.insert(run);
            }
            Notice::Control => self.control = true,
            Notice::Missed => self.missed = true,
        }
        self.shorten();
    }

    /// Adds what was said later.
    pub(super) fn absorb(&mut self, newer: Self) {
        self.touched.extend(newer.touched);
        self.stopped.extend(newer.stopped);
        self.control |= newer.control;
        self.missed |= newer.missed;
        self.shorten();
    }

    fn shorten(&mut self) {
        if self.missed || self.touched.len() + self.stopped.len() > MAX_RUNS {
            self.forget();
        }
    }

    /// Says, instead of everything it held, that everything should be looked at.
    fn forget(&mut self) {
        *self = Self {
            missed: true,
            ..Self::default()
        };
    }

    /// As messages of a bounded size.
    pub(super) fn write(&self, from: &str) -> Vec<String> {
        let touched: Vec<_> = self
            .touched
            .iter()
            .map(|(run, over)| (*run, *over))
            .collect();
        let stopped: Vec<_> = self.stopped.iter().copied().collect();
        let mut touched = touched.chunks(CHUNK);
        let mut stopped = stopped.chunks(CHUNK);
        let mut messages = Vec::new();
        let (mut control, mut missed) = (self.control, self.missed);
        loop {
            let bulletin = Bulletin {
                v: VERSION,
                from: from.to_owned(),
                touched: touched.next().unwrap_or_default().to_vec(),
                stopped: stopped.next().unwrap_or_default().to_vec(),
                control: std::mem::take(&mut control),
                missed: std::mem::take(&mut missed),
            };
            if bulletin.says_nothing() {
                return messages;
            }
            messages.push(serde_json::to_string(&bulletin).expect("ids and flags have a text"));
        }
    }
}

impl Bulletin {
    fn says_nothing(&self) -> bool {
        self.touched.is_empty() && self.stopped.is_empty() && !self.control && !self.missed
    }
}

/// What a message tells `me`: nothing if it is my own, everything if it cannot be read.
pub(super) fn read(message: &[u8], me: &str) -> Vec<Notice> {
    let bulletin = (message.len() <= MAX_BYTES)
        .then(|| serde_json::from_slice::<Bulletin>(message).ok())
        .flatten()
        .filter(|bulletin| bulletin.v == VERSION);
    let Some(bulletin) = bulletin else {
        return vec![Notice::Missed];
    };
    if bulletin.from == me {
        return Vec::new();
    }
    let mut notices = Vec::new();
    if bulletin.missed {
        notices.push(Notice::Missed);
    }
    if bulletin.control {
        notices.push(Notice::Control);
    }
    notices.extend(bulletin.stopped.into_iter().map(Notice::Stopped));
    if !bulletin.touched.is_empty() {
        notices.push(Notice::Touched(bulletin.touched));
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn run() -> RunId {
        RunId::new(Timestamp(1_700_000_000_000))
    }

    fn gathered(notices: impl IntoIterator<Item = Notice>) -> Notices {
        let mut all = Notices::default();
        notices.into_iter().for_each(|notice| all.add(notice));
        all
    }

    #[test]
    fn what_is_written_is_read_by_others_and_not_by_oneself() {
        let (a, b) = (run(), run());
        let said = [
            Notice::Control,
            Notice::Stopped(b),
            Notice::Touched(vec![(a, true)]),
        ];
        let messages = gathered(said.clone()).write("me");
        assert_eq!(messages.len(), 1);
        assert_eq!(read(messages[0].as_bytes(), "you"), said);
        assert_eq!(read(messages[0].as_bytes(), "me"), []);
    }

    #[test]
    fn a_notice_has_the_form_that_other_versions_expect() {
        let id: RunId = "01890a5d-ac96-774b-bcce-b302099a8057"
            .parse()
            .expect("an id");
        let messages =
            gathered([Notice::Touched(vec![(id, true)]), Notice::Stopped(id)]).write("me");
        assert_eq!(
            messages,
            [
                r#"{"v":1,"from":"me","touched":[["01890a5d-ac96-774b-bcce-b302099a8057",true]],"stopped":["01890a5d-ac96-774b-bcce-b302099a8057"]}"#
            ]
        );
    }

    #[test]
    fn a_message_nobody_can_read_means_look_at_everything() {
        let huge = vec![b' '; MAX_BYTES + 1];
        for strange in [&b"\xff"[..], b"{}", br#"{"v":2,"from":"x"}"#, &huge] {
            assert_eq!(read(strange, "me"), [Notice::Missed]);
        }
    }

    #[test]
    fn the_last_word_on_a_run_counts_and_many_runs_make_several_messages() {
        let id = run();
        let twice = gathered([
            Notice::Touched(vec![(id, true)]),
            Notice::Touched(vec![(id, false)]),
        ]);
        assert_eq!(
            read(twice.write("me")[0].as_bytes(), "you"),
            [Notice::Touched(vec![(id, false)])]
        );
        let many = gathered([Notice::Touched(
            (0..1_200).map(|_| (run(), false)).collect(),
        )]);
        let messages = many.write("me");
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|m| m.len() < MAX_BYTES));
    }

    #[test]
    fn too_many_runs_become_look_at_everything() {
        let mut all = gathered((0..5_000).map(|_| Notice::Touched(vec![(run(), false)])));
        all.add(Notice::Stopped(run()));
        assert_eq!(read(all.write("me")[0].as_bytes(), "you"), [Notice::Missed]);
    }
}
