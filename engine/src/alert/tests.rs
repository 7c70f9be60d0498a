//! Rules, and who hears of what they find, when.

use super::*;

const HOUR_MS: i64 = 3_600_000;

fn found(hold_s: u64) -> Vec<Found> {
    vec![Found {
        rule: "disk".to_owned(),
        subject: "a".to_owned(),
        host: None,
        severity: Severity::Critical,
        message: "full".to_owned(),
        hold: Duration::from_secs(hold_s),
    }]
}

/// Plays looks at these times; gives what was told, with its time.
fn play(looks: &[(i64, bool, bool)], hold_s: u64) -> Vec<(i64, Notice)> {
    let (mut standing, mut told) = (Vec::<Alert>::new(), Vec::new());
    for (at, is_wrong, is_silent) in looks {
        let now = if *is_wrong { found(hold_s) } else { Vec::new() };
        let repeat = Duration::from_secs(4 * 3_600);
        for change in settle(&now, &standing, "here", Timestamp(*at), repeat, |_| {
            *is_silent
        }) {
            standing.retain(|alert| alert.subject != change.alert.subject);
            if !change.is_over {
                standing.push(change.alert);
            }
            told.extend(change.notice.map(|notice| (*at, notice)));
        }
    }
    told
}

#[test]
fn somebody_is_told_once_reminded_and_told_that_it_is_over() {
    use Notice::{Fired, Recovered, Reminder};
    let looks = |from: i64, to: i64, step: i64, wrong: bool| {
        (from..to)
            .step_by(usize::try_from(step).expect("small"))
            .map(move |at| (at, wrong, false))
    };
    let minute = 60_000;
    let all: Vec<_> = looks(0, 9 * HOUR_MS, minute, true)
        .chain(looks(9 * HOUR_MS, 10 * HOUR_MS, minute, false))
        .collect();
    assert_eq!(
        play(&all, 0),
        [
            (0, Fired),
            (4 * HOUR_MS, Reminder),
            (8 * HOUR_MS, Reminder),
            (9 * HOUR_MS, Recovered)
        ]
    );
}

#[test]
fn what_passes_before_it_was_held_long_enough_is_never_told() {
    let looks = [
        (0, true, false),
        (30_000, true, false),
        (59_000, false, false),
        (70_000, true, false),
    ];
    assert_eq!(play(&looks, 60), []);
    let looks = [
        (0, true, false),
        (60_000, true, false),
        (61_000, true, false),
    ];
    assert_eq!(play(&looks, 60), [(60_000, Notice::Fired)]);
}

#[test]
fn in_silence_nobody_is_told_and_afterwards_what_still_counts() {
    use Notice::{Fired, Recovered};
    let looks = [
        (0, true, true),
        (1, true, true),
        (2, true, false),
        (3, false, true),
        (4, false, false),
    ];
    assert_eq!(play(&looks, 0), [(2, Fired), (4, Recovered)]);
    let looks = [(0, true, true), (1, false, true), (2, false, false)];
    assert_eq!(play(&looks, 0), [], "it came and went unheard");
}

#[test]
fn a_silence_covers_its_rules_for_its_time() {
    let silence = Silence {
        from: Timing::parse("0 22 * * *", Some("UTC")).expect("a time"),
        lasts: Duration::from_secs(8 * 3_600),
        rules: vec!["disk".to_owned()],
    };
    let at = |text| crate::schedule::moment(text).expect("a time");
    for (time, expected) in [
        ("2026-01-01T21:59:59Z", false),
        ("2026-01-01T22:00:00Z", true),
        ("2026-01-02T05:59:59Z", true),
        ("2026-01-02T06:00:00Z", false),
    ] {
        assert_eq!(silence.covers("disk", at(time)), expected, "{time}");
        assert!(!silence.covers("other", at(time)));
    }
}

#[test]
fn rules_find_what_they_look_for() {
    let disk = crate::health::Check {
        name: "disk".to_owned(),
        status: Status::Error,
        message: "97 % in use".to_owned(),
        detail: serde_json::json!({ "percent": 97.0 }),
    };
    let facts = Facts {
        now: Timestamp(0),
        health: HealthReport {
            status: Overall::Critical,
            checked_at_ms: 0,
            host: "h".to_owned(),
            checks: vec![disk],
        },
        queues: vec![("gpu".to_owned(), 61_000), ("cpu".to_owned(), 59_000)],
        ended: vec![(Duration::from_secs(60), "w".to_owned(), 10, 3)],
        lost: vec![("1".to_owned(), "w1".to_owned())],
        quarantined: vec![("r".to_owned(), "killed three".to_owned())],
    };
    let rate = |over, at_least| When::FailureRate {
        workflow: None,
        over,
        within: Duration::from_secs(60),
        at_least,
    };
    let age = |queue: Option<&str>, seconds| When::QueueAge {
        queue: queue.map(|name| QueueName::new(name).expect("a name")),
        over: Duration::from_secs(seconds),
    };
    let table: Vec<(When, &[&str])> = vec![
        (When::Health(Overall::Critical), &[""]),
        (When::Health(Overall::Degraded), &[""]),
        (When::Check("disk".to_owned(), Status::Warning), &["disk"]),
        (When::Check("memory".to_owned(), Status::Warning), &[]),
        (When::Disk(90.0), &["h"]),
        (When::Disk(97.0), &[]),
        (age(None, 60), &["gpu"]),
        (age(None, 10), &["gpu", "cpu"]),
        (age(Some("cpu"), 10), &["cpu"]),
        (age(Some("cpu"), 60), &[]),
        (rate(0.2, 5), &["w"]),
        (rate(0.3, 5), &[]),
        (rate(0.2, 11), &[]),
        (When::WorkerLost, &["1"]),
        (When::Quarantine, &["r"]),
    ];
    for (when, expected) in table {
        let rule = Rule {
            name: "r".to_owned(),
            when,
            severity: Severity::Warning,
            hold: Duration::ZERO,
        };
        let found = evaluate(&rule, &facts);
        let subjects: Vec<&str> = found.iter().map(|one| one.subject.as_str()).collect();
        assert_eq!(subjects, expected, "{:?}", rule.when);
    }
}

#[test]
fn what_one_machine_finds_of_its_own_is_not_over_because_another_does_not() {
    let own = vec![Found {
        host: Some("full".to_owned()),
        ..found(0).remove(0)
    }];
    let repeat = Duration::from_secs(4 * 3_600);
    let look = |found: &[Found], standing: &[Alert], here: &str, at: i64| {
        settle(found, standing, here, Timestamp(at), repeat, |_| false)
    };
    let fired = look(&own, &[], "full", 0);
    assert_eq!(fired[0].notice, Some(Notice::Fired));
    let standing = [fired[0].alert.clone()];
    assert_eq!(look(&[], &standing, "fine", 30_000), []);
    // The machine itself says when it is over; one that is gone for good cannot.
    let over = look(&[], &standing, "full", 60_000);
    assert_eq!(over[0].notice, Some(Notice::Recovered));
    let gone = look(&[], &standing, "fine", 6 * HOUR_MS);
    assert_eq!(gone[0].notice, Some(Notice::Recovered));
}
