//! Diagnostics as text for a terminal. Control characters of the file are shown, not sent.

use std::fmt::Write as _;

use super::{Diagnostic, MAX_DIAGNOSTICS};

/// The most characters of a source line that are shown.
const WIDTH: usize = 120;
/// How much of them stands before the caret, in a longer line.
const BEFORE: usize = 60;

struct Paint {
    red: &'static str,
    blue: &'static str,
    bold: &'static str,
    end: &'static str,
}

const PLAIN: Paint = Paint {
    red: "",
    blue: "",
    bold: "",
    end: "",
};
const COLOR: Paint = Paint {
    red: "\x1b[1;31m",
    blue: "\x1b[1;34m",
    bold: "\x1b[1m",
    end: "\x1b[0m",
};

pub(super) fn all(diagnostics: &[Diagnostic], color: bool) -> String {
    let mut text = String::new();
    for (i, one) in diagnostics.iter().take(MAX_DIAGNOSTICS).enumerate() {
        if i > 0 {
            text.push('\n');
        }
        text.push_str(&diagnostic(one, color));
    }
    if diagnostics.len() > MAX_DIAGNOSTICS {
        let more = diagnostics.len() - MAX_DIAGNOSTICS;
        let _ = writeln!(text, "\nand {more} more mistakes");
    }
    text
}

pub(super) fn diagnostic(d: &Diagnostic, color: bool) -> String {
    let Paint {
        red,
        blue,
        bold,
        end,
    } = if color { COLOR } else { PLAIN };
    let source = &d.source.text;
    let (start, length) = d.span;
    let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = source[start..]
        .find('\n')
        .map_or(source.len(), |at| start + at);
    let (shown, caret_column, caret_width) = excerpt(
        &source[line_start..line_end],
        start - line_start,
        length.min(line_end - start),
    );
    let number = d.line.to_string();
    let gutter = " ".repeat(number.len());
    let mut text = String::new();
    let message = visible(&d.message);
    let _ = writeln!(text, "{red}error[{}]{end}{bold}: {message}{end}", d.code);
    let _ = writeln!(
        text,
        "{gutter}{blue}-->{end} {}:{}:{}",
        visible(&d.file),
        d.line,
        d.column
    );
    let _ = writeln!(text, "{gutter} {blue}|{end}");
    let _ = writeln!(text, "{blue}{number} |{end} {}", shown.trim_end());
    let _ = writeln!(
        text,
        "{gutter} {blue}|{end} {}{red}{}{end}",
        " ".repeat(caret_column),
        "^".repeat(caret_width.max(1))
    );
    if let Some(help) = &d.help {
        let _ = writeln!(text, "{gutter} {blue}={end} help: {}", visible(help));
    }
    text
}

/// The line, cut to size around the mark, and the mark's column and width in it.
fn excerpt(line: &str, mark_start: usize, mark_len: usize) -> (String, usize, usize) {
    let characters = line.chars().count();
    let column = line[..mark_start].chars().count();
    let width = line[mark_start..mark_start + mark_len].chars().count();
    if characters <= WIDTH {
        return (visible(line), column, width);
    }
    let skip = column.saturating_sub(BEFORE);
    let mut shown: String = line.chars().skip(skip).take(WIDTH).collect();
    let mut column = column - skip;
    let width = width.min(WIDTH.saturating_sub(column));
    if skip > 0 {
        shown.insert(0, '…');
        column += 1;
    }
    if skip + WIDTH < characters {
        shown.push('…');
    }
    (visible(&shown), column, width)
}

/// One column per character: tabs become spaces, control characters a mark.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
