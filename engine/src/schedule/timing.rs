//! Cron expressions in a time zone, and plain intervals.
//!
//! Cron as crontab(5) has it, with an optional field for seconds before the others, `L`, `W`, `#` and
//! `@daily` and the like (croner, after the Open Cron Pattern Specification). Where a clock is put
//! forward, a fixed time that does not exist fires right after the gap, once; where it is put back,
//! a fixed time fires once, the first time it comes; `*` and steps follow the clock on the wall.

use std::str::FromStr as _;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, Zoned};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Intervals are at least this long: a scheduler looks once a second.
const MIN_PERIOD: Duration = Duration::from_secs(1);
/// And at most this long.
const MAX_PERIOD: Duration = Duration::from_secs(366 * 24 * 3_600);
/// A cron expression has this many characters at most.
const MAX_EXPRESSION: usize = 200;

/// When a schedule's ticks are due, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// By the calendar.
    Cron {
        /// Five fields, or six with seconds first.
        expression: String,
        /// An IANA time zone, as in `Europe/Berlin`.
        zone: String,
    },
    /// At regular intervals from the moment the schedule was made.
    Every {
        /// Milliseconds, whole seconds.
        period_ms: u64,
    },
}

/// Why a timing is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TimingError {
    /// What is wrong, with the value.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// Where in the expression, in bytes: begin and length.
    pub place: Option<(usize, usize)>,
    /// Whether it is the time zone that is wrong.
    pub is_zone: bool,
}

impl TimingError {
    fn new(message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
            place: None,
            is_zone: false,
        }
    }
}

/// A timing that can be asked for its times.
#[derive(Debug, Clone)]
pub struct Clockwork(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Cron(Box<Cron>, TimeZone),
    Every { period_ms: i64, anchor: Timestamp },
}

impl Timing {
    /// Reads `0 3 * * *`, `@daily` or `@every 90s`.
    ///
    /// # Errors
    /// [`TimingError`]: what is wrong, where, and what would be right.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, TimingError> {
        let text = text.trim();
        if let Some(period) = text.strip_prefix("@every ") {
            if let Some(zone) = zone {
                return Err(TimingError {
                    is_zone: true,
                    ..TimingError::new(
                        format!("an interval needs no time zone, and `{zone}` would not change it"),
                        "leave `zone` out, or write a cron expression".to_owned(),
                    )
                });
            }
            return Self::every(period);
        }
        let timing = Self::Cron {
            expression: text.to_owned(),
            zone: zone.unwrap_or("UTC").to_owned(),
        };
        timing.check()?;
        Ok(timing)
    }

    /// An interval, as in `90s`.
    ///
    /// # Errors
    /// [`TimingError`] when it is no duration of whole seconds, or too short or long.
    pub fn every(period: &str) -> Result<Self, TimingError> {
        let help = || Some("write `90s`, `10m` or `1h30m`".to_owned());
        let Ok(length) = humantime::parse_duration(period.trim()) else {
            return Err(TimingError::new(
                format!("`{period}` is no interval"),
                help(),
            ));
        };
        if !(MIN_PERIOD..=MAX_PERIOD).contains(&length) || length.subsec_nanos() != 0 {
            let message = format!("`{period}` is no interval of whole seconds, up to 366 days");
            return Err(TimingError::new(message, help()));
        }
        let period_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Ok(Self::Every { period_ms })
    }

    /// Whether it has ticks at all.
    fn check(&self) -> Result<(), TimingError> {
        let clockwork = self.clockwork(Timestamp(0))?;
        // 2000 is a leap year, and whatever comes at all comes within four centuries.
        let start = Timestamp(946_684_800_000);
        if clockwork.after(start).is_none() {
            let Self::Cron { expression, .. } = self else {
                return Ok(());
            };
            return Err(TimingError::new(
                format!("`{expression}` never comes: there is no such date"),
                "look at its day and month: 30 February, for one, is in no calendar".to_owned(),
            ));
        }
        Ok(())
    }

    /// Ready to be asked. Intervals count from `anchor`.
    ///
    /// # Errors
    /// [`TimingError`] when the expression or the time zone is none.
    pub fn clockwork(&self, anchor: Timestamp) -> Result<Clockwork, TimingError> {
        match self {
            Self::Every { period_ms } => {
                let period_ms = i64::try_from(*period_ms).unwrap_or(i64::MAX).max(1_000);
                Ok(Clockwork(Kind::Every { period_ms, anchor }))
            }
            Self::Cron { expression, zone } => {
                let cron = cron(expression)?;
                let zone = time_zone(zone)?;
                Ok(Clockwork(Kind::Cron(Box::new(cron), zone)))
            }
        }
    }

    /// As one would write it: `0 3 * * *` or `@every 90s`.
    #[must_use]
    pub fn expression(&self) -> String {
        match self {
            Self::Cron { expression, .. } => expression.clone(),
            Self::Every { period_ms } => {
                let period = humantime::format_duration(Duration::from_millis(*period_ms));
                format!("@every {}", period.to_string().replace(' ', ""))
            }
        }
    }

    /// The time zone of a cron expression.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        match self {
            Self::Cron { zone, .. } => Some(zone),
            Self::Every { .. } => None,
        }
    }

    /// In words, English: `At 03:00.`
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Cron { expression, .. } => {
                cron(expression).map_or_else(|_| expression.clone(), |cron| cron.describe())
            }
            Self::Every { period_ms } => format!(
                "Every {}.",
                humantime::format_duration(Duration::from_millis(*period_ms))
            ),
        }
    }
}

impl Clockwork {
    /// The first due time after a moment; none when there is no more.
    #[must_use]
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every { period_ms, anchor } => {
                let passed = moment.since_ms(*anchor).div_euclid(*period_ms);
                let next = passed.max(0).checked_add(1)?;
                Some(Timestamp(
                    anchor.0.checked_add(next.checked_mul(*period_ms)?)?,
                ))
            }
            Kind::Cron(cron, zone) => {
                let from = zoned(moment, zone)?;
                let next = cron.find_next_occurrence(&from, false).ok()?;
                Some(Timestamp(next.timestamp().as_millisecond()))
            }
        }
    }

    /// The last due time at or before a moment.
    #[must_use]
    pub fn at_or_before(&self, moment: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every { period_ms, anchor } => {
                let passed = moment.since_ms(*anchor).div_euclid(*period_ms);
                (passed >= 1).then(|| Timestamp(anchor.0 + passed * period_ms))
            }
            Kind::Cron(cron, zone) => {
                let from = zoned(moment, zone)?;
                let last = cron.find_previous_occurrence(&from, true).ok()?;
                Some(Timestamp(last.timestamp().as_millisecond()))
            }
        }
    }

    /// The next due times after a moment.
    #[must_use]
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.after(after), |due| self.after(*due))
            .take(count)
            .collect()
    }

    /// A moment as people there write it: RFC 3339 with the zone's offset; UTC for intervals.
    #[must_use]
    pub fn local(&self, moment: Timestamp) -> String {
        let zone = match &self.0 {
            Kind::Every { .. } => &TimeZone::UTC,
            Kind::Cron(_, zone) => zone,
        };
        zoned(moment, zone).map_or_else(
            || moment.to_string(),
            |at| at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        )
    }
}

fn zoned(moment: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    // Whole seconds, towards the past: no tick is due between two.
    let second = moment.0.div_euclid(1_000);
    Some(Instant::from_second(second).ok()?.to_zoned(zone.clone()))
}

fn parser() -> CronParser {
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build()
}

fn cron(expression: &str) -> Result<Cron, TimingError> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "*/,-?#@+ \t".contains(c);
    if let Some((at, odd)) = expression.char_indices().find(|(_, c)| !is_known(*c)) {
        return Err(TimingError {
            place: Some((at, odd.len_utf8())),
            ..TimingError::new(
                format!(
                    "`{}` has no meaning in a cron expression",
                    odd.escape_debug()
                ),
                FIELDS_HELP.to_owned(),
            )
        });
    }
    if expression.len() > MAX_EXPRESSION {
        return Err(TimingError::new(
            format!("a cron expression has {MAX_EXPRESSION} characters at most"),
            None,
        ));
    }
    parser()
        .parse(expression)
        .map_err(|_| wrong_cron(expression))
}

const FIELDS_HELP: &str = "write minute, hour, day of month, month, day of week, as in `30 3 * * 1-5`; or `@daily`; or `@every 90s`";

/// What each field means and takes; seconds are optional.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31 or L"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT, Sunday is 0 and 7"),
];

/// Says which field is wrong: the first that is so by itself.
fn wrong_cron(expression: &str) -> TimingError {
    let help = FIELDS_HELP.to_owned();
    if expression.starts_with('@') {
        return TimingError::new(
            format!("`{expression}` is no time"),
            "there are @yearly, @monthly, @weekly, @daily, @hourly, and `@every 90s`".to_owned(),
        );
    }
    let fields: Vec<&str> = expression.split_ascii_whitespace().collect();
    if !(5..=6).contains(&fields.len()) {
        let count = match fields.len() {
            0 => "no field".to_owned(),
            1 => "one field".to_owned(),
            n => format!("{n} fields"),
        };
        let message = format!(
            "`{expression}` has {count}; a cron expression has five, or six with seconds first"
        );
        return TimingError::new(message, help);
    }
    let skipped = 6 - fields.len();
    for (i, field) in fields.iter().enumerate() {
        let mut alone = ["*"; 6];
        alone[skipped + i] = field;
        if parser().parse(&alone.join(" ")).is_err() {
            let (name, takes) = FIELDS[skipped + i];
            let article = if name == "hour" { "an" } else { "a" };
            let at = field.as_ptr() as usize - expression.as_ptr() as usize;
            return TimingError {
                place: Some((at, field.len())),
                ..TimingError::new(
                    format!("`{field}` is no {name}"),
                    format!(
                        "{article} {name} is {takes}; lists `1,3`, ranges `1-5` and steps `*/10` work too"
                    ),
                )
            };
        }
    }
    TimingError::new(format!("`{expression}` is no cron expression"), help)
}

fn time_zone(name: &str) -> Result<TimeZone, TimingError> {
    // jiff also takes `+02` and POSIX rules; a schedule outlives offsets.
    let looks_right = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c));
    let known = looks_right.then(|| jiff::tz::db().get(name).ok()).flatten();
    known.ok_or_else(|| {
        let shown: String = name.chars().take(60).collect();
        let close = jiff::tz::db()
            .available()
            .map(|known| known.as_str().to_owned())
            .map(|known| {
                let short = known.rsplit('/').next().unwrap_or(&known);
                let far =
                    strsim::damerau_levenshtein(&known.to_lowercase(), &shown.to_lowercase()).min(
                        strsim::damerau_levenshtein(&short.to_lowercase(), &shown.to_lowercase()),
                    );
                (far, known)
            })
            .min()
            .filter(|(far, _)| *far <= 3 && *far * 3 <= shown.len());
        TimingError {
            is_zone: true,
            ..TimingError::new(
                format!("there is no time zone `{}`", shown.escape_debug()),
                match close {
                    Some((_, known)) => format!("did you mean `{known}`?"),
                    None => "write a name of the IANA database, as in `Europe/Berlin`, or `UTC`"
                        .to_owned(),
                },
            )
        }
    })
}

/// Reads a moment as people write it: RFC 3339, or a date, which begins at midnight UTC.
///
/// # Errors
/// A sentence that says what would be right.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let full = Instant::from_str(text).map(|at| Timestamp(at.as_millisecond()));
    let date = || {
        let date = jiff::civil::Date::from_str(text).ok()?;
        let midnight = date.to_zoned(TimeZone::UTC).ok()?;
        Some(Timestamp(midnight.timestamp().as_millisecond()))
    };
    full.ok()
        .or_else(date)
        .ok_or_else(|| format!("`{text}` is no time; write `2026-03-01` or `2026-03-01T09:30:00Z`"))
}
