//! A ticket: "this queue has work". Its text, its place, and how many there may be.

use serde::{Deserialize, Serialize};

use crate::id::QueueName;

/// Tickets waiting in a queue's list at most. A process with a free slot waits at
/// the list, so tickets lie there only while nobody is free; whoever becomes free
/// looks by itself. What lies there must only wake the processes that came idle
/// at once, and each stale ticket costs somebody one look at the store.
pub(super) const CAP: usize = 64;

/// A waiting ticket says nothing any more after this long: by then everybody has looked.
pub(super) const KEPT_SECONDS: i64 = 600;

/// A ticket goes past so many closed doors at most. A process passes one on only
/// if its last slot went while it waited, so this many became busy within a moment.
pub(super) const MAX_HOPS: u32 = 64;

/// The form below. A reader of another form still knows that there is work.
const VERSION: u32 = 1;

/// One note that a queue has work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    v: u32,
    queue: QueueName,
    /// Closed doors it went past.
    hops: u32,
}

impl Ticket {
    pub(super) fn new(queue: &QueueName) -> Self {
        Self {
            v: VERSION,
            queue: queue.clone(),
            hops: 0,
        }
    }

    /// Reads a ticket found in a queue's list. One that cannot be read says the
    /// same, but is not passed on: nobody knows how far it has come.
    pub(super) fn read(bytes: &[u8], queue: &QueueName) -> Self {
        match serde_json::from_slice::<Self>(bytes) {
            Ok(ticket) if ticket.v == VERSION => ticket,
            Ok(_) | Err(_) => Self {
                hops: MAX_HOPS,
                ..Self::new(queue)
            },
        }
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("a ticket is a name and two numbers")
    }

    /// The same ticket for the next door, unless it has come far enough.
    pub(super) fn passed_on(self) -> Option<Self> {
        (self.hops < MAX_HOPS).then(|| Self {
            hops: self.hops + 1,
            ..self
        })
    }
}

/// Puts tickets at the end of a list, keeps the list short, and lets it expire.
/// Answers with the list's length, before it was cut.
///
/// Three plain commands rather than a script: that more may lie there for a
/// moment does no harm, and a server that was restarted has no script to be told again.
pub(super) fn push(pipe: &mut redis::Pipeline, key: &str, tickets: &[String]) {
    let last = i64::try_from(CAP).expect("a small number") - 1;
    pipe.cmd("RPUSH").arg(key).arg(tickets);
    pipe.cmd("LTRIM").arg(key).arg(0).arg(last).ignore();
    pipe.cmd("EXPIRE").arg(key).arg(KEPT_SECONDS).ignore();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> QueueName {
        QueueName::new("gpu").expect("a name")
    }

    #[test]
    fn a_ticket_has_the_form_that_other_versions_expect() {
        assert_eq!(
            Ticket::new(&gpu()).write(),
            r#"{"v":1,"queue":"gpu","hops":0}"#
        );
        assert_eq!(
            Ticket::read(br#"{"v":1,"queue":"gpu","hops":3}"#, &gpu()).hops,
            3
        );
    }

    #[test]
    fn a_ticket_nobody_can_read_still_says_that_there_is_work() {
        for strange in [&b"\xff"[..], b"", br#"{"v":2,"queue":"gpu","hops":0}"#] {
            let ticket = Ticket::read(strange, &gpu());
            assert_eq!(ticket.queue, gpu());
            assert_eq!(ticket.passed_on(), None);
        }
    }

    #[test]
    fn a_ticket_goes_past_so_many_doors_and_no_more() {
        let mut ticket = Ticket::new(&gpu());
        let mut doors = 0;
        while let Some(next) = ticket.clone().passed_on() {
            (ticket, doors) = (next, doors + 1);
        }
        assert_eq!(doors, MAX_HOPS);
    }
}
