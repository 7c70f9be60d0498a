//! Cron expressions, time zones, and what is said of wrong ones.

use aquatint_engine::schedule::{Timing, moment};

fn next(expression: &str, zone: &str, after: &str, many: usize) -> Vec<String> {
    let timing = Timing::parse(expression, Some(zone)).unwrap();
    let after = moment(after).unwrap();
    let clockwork = timing.clockwork(after).unwrap();
    let times = clockwork.upcoming(after, many);
    // The same times backwards.
    for pair in times.windows(2) {
        let before = aquatint_engine::time::Timestamp(pair[1].0 - 1);
        assert_eq!(
            clockwork.at_or_before(before),
            Some(pair[0]),
            "{expression}"
        );
        assert_eq!(
            clockwork.at_or_before(pair[1]),
            Some(pair[1]),
            "{expression}"
        );
    }
    times.into_iter().map(|at| clockwork.local(at)).collect()
}

#[test]
fn times_by_the_calendar() {
    assert_eq!(
        next("30 9 * * 1-5", "UTC", "2026-07-03T09:30:00Z", 2),
        ["2026-07-06T09:30:00+00:00", "2026-07-07T09:30:00+00:00"],
        "after Friday comes Monday"
    );
    assert_eq!(
        next("0 0 L * *", "UTC", "2028-01-31T12:00:00Z", 2),
        ["2028-02-29T00:00:00+00:00", "2028-03-31T00:00:00+00:00"]
    );
    assert_eq!(
        next("*/30 * * * * *", "UTC", "2026-01-01T00:00:01Z", 2),
        ["2026-01-01T00:00:30+00:00", "2026-01-01T00:01:00+00:00"],
        "six fields begin with seconds"
    );
    assert_eq!(
        next("0 12 * * 0", "UTC", "2026-07-02", 1),
        next("0 12 * * 7", "UTC", "2026-07-02", 1),
        "Sunday is 0 and 7"
    );
    assert_eq!(
        next("0 0 13 * 5", "UTC", "2026-07-01", 3),
        [
            "2026-07-03T00:00:00+00:00",
            "2026-07-10T00:00:00+00:00",
            "2026-07-13T00:00:00+00:00"
        ],
        "day of month or day of week, as in crontab(5)"
    );
}

#[test]
fn clocks_that_are_put_forward_and_back() {
    // In Berlin 02:00 becomes 03:00 on 29 March 2026, and 03:00 becomes 02:00 on 25 October.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        "a time that does not exist comes right after the gap"
    );
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        "a time that comes twice fires once"
    );
    assert_eq!(
        next("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 4),
        [
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T03:00:00+01:00",
            "2026-10-25T04:00:00+01:00"
        ],
        "every hour is every hour"
    );
    assert_eq!(
        next("0 9 * * *", "America/New_York", "2026-03-07T20:00:00Z", 2),
        ["2026-03-08T09:00:00-04:00", "2026-03-09T09:00:00-04:00"]
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (expression, zone, message, help) in [
        ("61 * * * *", None, "`61` is no minute", "0-59"),
        ("0 25 * * *", None, "`25` is no hour", "0-23"),
        ("0 0 * FOO *", None, "`FOO` is no month", "JAN-DEC"),
        (
            "0 0 30 2 *",
            None,
            "`0 0 30 2 *` never comes",
            "30 February",
        ),
        ("* * * *", None, "has 4 fields", "30 3 * * 1-5"),
        ("", None, "no field", "30 3 * * 1-5"),
        ("@sometimes", None, "`@sometimes` is no time", "@daily"),
        ("0 3 * * * !", None, "`!` has no meaning", "30 3 * * 1-5"),
        (
            "0 3 * * *",
            Some("Europe/Berln"),
            "no time zone `Europe/Berln`",
            "Europe/Berlin",
        ),
        (
            "0 3 * * *",
            Some("Berlin"),
            "no time zone `Berlin`",
            "Europe/Berlin",
        ),
        ("0 3 * * *", Some("+02"), "no time zone `+02`", "IANA"),
        (
            "@every 90s",
            Some("UTC"),
            "needs no time zone",
            "leave `zone` out",
        ),
        ("@every 0s", None, "no interval", "90s"),
        ("@every 1500ms", None, "whole seconds", "90s"),
        ("@every 9", None, "no interval", "90s"),
        ("@every 1000y", None, "no interval", "90s"),
    ] {
        let wrong = Timing::parse(expression, zone).unwrap_err();
        assert!(wrong.message.contains(message), "{expression}: {wrong:?}");
        let said = wrong.help.clone().unwrap_or_default();
        assert!(said.contains(help), "{expression}: {wrong:?}");
        assert_eq!(wrong.is_zone, zone.is_some(), "{expression}");
    }
    let wrong = Timing::parse("0 0 * FOO *", None).unwrap_err();
    assert_eq!(wrong.place, Some((6, 3)));
}

#[test]
fn long_and_strange_expressions_cost_little() {
    let began = std::time::Instant::now();
    for text in [
        "*,".repeat(10_000),
        "1-59/1,".repeat(30),
        "? ? ? ? ?".to_owned(),
        "L L L L L".to_owned(),
    ] {
        let _ = Timing::parse(&text, Some("UTC"));
    }
    for date in ["0 0 31 2,4,6,9,11 *", "0 0 29 2 *", "0 0 31 4 *"] {
        let _ = Timing::parse(date, Some("UTC"));
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}
