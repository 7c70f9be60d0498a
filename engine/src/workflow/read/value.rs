//! Single values: texts, counts, durations, choices.

use std::time::Duration;

use super::{Reader, place};
use crate::workflow::source::{Data, Entry, Node, pointer};
use crate::workflow::suggest;

/// The longest duration a definition can name: ten years.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

impl Reader<'_> {
    pub(super) fn text<'n>(&mut self, entry: &'n Entry, at: &str) -> Option<&'n str> {
        match &entry.value.data {
            Data::Text(text) => Some(text),
            _ => {
                let help = match entry.value.data {
                    Data::Null => "",
                    _ => "put it in quotes, if text is meant",
                };
                self.wrong_type(place(entry), at, "text", &entry.value, help);
                None
            }
        }
    }

    pub(super) fn optional_text(&mut self, node: &Node, parent: &str, key: &str) -> Option<String> {
        let entry = node.get(key)?;
        self.text(entry, &pointer(parent, key)).map(str::to_owned)
    }

    pub(super) fn boolean_of(&mut self, node: &Node, parent: &str, key: &str) -> Option<bool> {
        let entry = node.get(key)?;
        if let Data::Bool(boolean) = entry.value.data {
            return Some(boolean);
        }
        let at = pointer(parent, key);
        self.wrong_type(place(entry), &at, "`true` or `false`", &entry.value, "");
        None
    }

    /// A whole number, 1 or more.
    pub(super) fn count_of(&mut self, node: &Node, parent: &str, key: &str) -> Option<u32> {
        let entry = node.get(key)?;
        self.integer(entry, &pointer(parent, key), 1, i64::from(u32::MAX))
            .and_then(|count| u32::try_from(count).ok())
    }

    pub(super) fn integer(&mut self, entry: &Entry, at: &str, min: i64, max: i64) -> Option<i64> {
        let what = at.rsplit('/').next().unwrap_or_default();
        match &entry.value.data {
            Data::Number(number) if !number.is_f64() => match number.as_i64() {
                Some(integer) if (min..=max).contains(&integer) => Some(integer),
                _ => {
                    let message = if max == i64::from(u32::MAX) {
                        format!("`{what}` must be {min} or more, got {number}")
                    } else {
                        format!("`{what}` must lie between {min} and {max}, got {number}")
                    };
                    self.report("out-of-range", place(entry), at, message, None);
                    None
                }
            },
            _ => {
                self.wrong_type(place(entry), at, "an integer", &entry.value, "");
                None
            }
        }
    }

    /// Milliseconds; more than none.
    pub(super) fn duration_of(&mut self, node: &Node, parent: &str, key: &str) -> Option<u64> {
        let entry = node.get(key)?;
        let at = pointer(parent, key);
        let ms = self.duration(entry, &at)?;
        if ms == 0 {
            self.report(
                "bad-duration",
                place(entry),
                &at,
                format!("`{key}` must be longer than nothing"),
                "write `90s`, `10m` or `1h30m`".to_owned(),
            );
            return None;
        }
        Some(ms)
    }

    /// Milliseconds.
    pub(super) fn duration(&mut self, entry: &Entry, at: &str) -> Option<u64> {
        let what = at.rsplit('/').next().unwrap_or_default();
        let (message, help) = match &entry.value.data {
            Data::Number(number) => (
                format!("`{what}` is a duration and needs a unit, got {number}"),
                format!("write `{number}s`"),
            ),
            Data::Text(text) => match parse_duration(text) {
                Ok(duration) => return u64::try_from(duration.as_millis()).ok(),
                Err(help) => (format!("`{text}` is no duration"), help),
            },
            _ => (
                format!("`{what}` must be a duration, got {}", entry.value.kind()),
                "write `90s`, `10m` or `1h30m`".to_owned(),
            ),
        };
        self.report("bad-duration", place(entry), at, message, help);
        None
    }

    /// One word of a few.
    pub(super) fn choice<T: Copy>(
        &mut self,
        entry: &Entry,
        at: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let got = self.text(entry, at)?;
        let chosen = choices.iter().find(|(word, _)| *word == got);
        if chosen.is_none() {
            let what = at.rsplit('/').next().unwrap_or_default();
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.report(
                "bad-value",
                place(entry),
                at,
                format!("`{what}` cannot be `{got}`"),
                suggest::help(got, words),
            );
        }
        chosen.map(|(_, value)| *value)
    }

    /// A list of texts, or a single one.
    pub(super) fn words(&mut self, entry: &Entry, at: &str, help: &str) -> Vec<String> {
        match &entry.value.data {
            Data::Text(one) => vec![one.clone()],
            Data::List(list) => list
                .iter()
                .enumerate()
                .filter_map(|(i, node)| match &node.data {
                    Data::Text(text) => Some(text.clone()),
                    _ => {
                        let at = pointer(at, &i.to_string());
                        self.report(
                            "wrong-type",
                            if node.span.len == 0 {
                                entry.key_span
                            } else {
                                node.span
                            },
                            &at,
                            format!("expected text, got {}", node.kind()),
                            format!("expected a list of {help}"),
                        );
                        None
                    }
                })
                .collect(),
            _ => {
                let help = format!("expected a list of {help}");
                self.wrong_type(place(entry), at, "a list", &entry.value, &help);
                Vec::new()
            }
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("write `{trimmed}s`"));
    }
    if trimmed.len() > 64 {
        return Err("write `90s`, `10m` or `1h30m`".to_owned());
    }
    match humantime::parse_duration(trimmed) {
        Ok(duration) if duration > MAX_DURATION => Err("ten years are the most".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("write `90s`, `10m` or `1h30m`".to_owned()),
    }
}
