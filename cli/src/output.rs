//! What is printed: data on stdout, everything said to people on stderr.
//!
//! Texts are written with ANSI styles; the streams take them off where nobody
//! could see them (pipes, `NO_COLOR`). Knows nothing of workflows.

use std::fmt::Write as _;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::exit::Result;

pub(crate) const PLAIN: Style = Style::new();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const CYAN: Style = AnsiColor::Cyan.on_default();

/// Text in a style.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes data; the caller brings its own line ends.
pub(crate) fn data(text: &str) -> Result {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes one JSON document, indented.
pub(crate) fn json(value: &impl serde::Serialize) -> Result {
    let text = serde_json::to_string_pretty(value).expect("views are plain data");
    // Past the stream that takes styles off: JSON holds none of ours.
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Says something to the person at the terminal. That nobody listens is no error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Says what went wrong.
pub(crate) fn error(message: &str) {
    let red = RED.bold();
    note(&format!("{red}error:{red:#} {message}"));
}

/// Says what to be careful about.
pub(crate) fn warning(message: &str) {
    let yellow = YELLOW.bold();
    note(&format!("{yellow}warning:{yellow:#} {message}"));
}

/// Whether styles on stderr will be seen.
pub(crate) fn stderr_has_color() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

/// Whether styles on stdout will be seen.
pub(crate) fn stdout_has_color() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}

/// A text from elsewhere on one line, without what would steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    let shown = |c: char| {
        if c == '\n' || c == '\t' {
            ' '
        } else if steers(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.trim_end().chars().map(shown).collect()
}

/// Control characters, and those that turn the direction of writing.
pub(crate) fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cut to so many columns, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let kept = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    };
    let mut short: String = text.chars().take_while(kept).collect();
    short.push('…');
    short
}

/// `1 mistake`, `3 mistakes`.
pub(crate) fn count(n: u64, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// A duration as people say it: `340 ms`, `1.2 s`, `3 min 12 s`, `2 h 5 min`, `4 d 3 h`.
pub(crate) fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", s, ms % 1000 / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// A size as people say it: `312 B`, `1.4 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "for people, to two digits")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.5 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A table without borders: columns aligned, the last one cut to the terminal's width.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<(String, Style)>>,
}

impl Table {
    /// With a line of headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(headings.iter().map(|h| ((*h).to_owned(), DIM)));
        table
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = (String, Style)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text. `columns` is the width to keep within, where there is one.
    pub(crate) fn render(&self, columns: Option<usize>) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(at))
                .map(|(t, _)| t.width())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..count).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let last = row.iter().rposition(|(t, _)| !t.is_empty()).unwrap_or(0);
            let mut used = 0;
            for (at, (cell, style)) in row.iter().enumerate().take(last + 1) {
                let room = columns.map_or(usize::MAX, |c| c.saturating_sub(used).max(8));
                let cell = if at == last {
                    cut(cell, room)
                } else {
                    cell.clone()
                };
                let _ = write!(text, "{style}{cell}{style:#}");
                if at != last {
                    let gap = widths[at] - cell.width() + 2;
                    text.extend(std::iter::repeat_n(' ', gap));
                    used += widths[at] + 2;
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    pub(crate) fn print(&self) -> Result {
        data(&self.render(stdout_columns()))
    }
}

/// The terminal's width, when stdout is one.
pub(crate) fn stdout_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_well() {
        let said: Vec<String> = [0, 999, 1_000, 59_999, 192_000, 7_500_000, 97 * 3_600_000]
            .map(duration)
            .into();
        assert_eq!(
            said,
            [
                "0 ms",
                "999 ms",
                "1.0 s",
                "59.9 s",
                "3 min 12 s",
                "2 h 5 min",
                "4 d 1 h"
            ]
        );
        let said: Vec<String> = [0, 999, 1_000, 99_400, 123_456, 999_900, 5_000_000_000]
            .map(size)
            .into();
        assert_eq!(
            said,
            [
                "0 B", "999 B", "1.0 kB", "99.4 kB", "123 kB", "1.0 MB", "5.0 GB"
            ]
        );
    }

    #[test]
    fn texts_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(
            clean("a\x1b[31mb\u{202e}c\nd\n"),
            "a\u{fffd}[31mb\u{fffd}c d"
        );
    }

    #[test]
    fn tables_align_wide_characters_and_end_without_blanks() {
        let mut table = Table::new(&["a", "b"]);
        table.row([("絵".to_owned(), BOLD), ("x".to_owned(), PLAIN)]);
        table.row([("é".to_owned(), PLAIN), (String::new(), PLAIN)]);
        let text = anstream::adapter::strip_str(&table.render(None)).to_string();
        assert_eq!(text, "a   b\n絵  x\né\n");
        assert_eq!(cut("日本語", 4), "日…");
    }
}
