//! Texts from outside, kept short: what people read in a log or an error, nobody reads by the megabyte.

/// What the note at the end takes at most: a text that is bounded already stays as it is.
const NOTE_BYTES: usize = 40;

/// At most `max_bytes` of a text and a note that says how much was left out; NUL, which no database
/// holds, as U+FFFD.
pub(crate) fn bounded(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes + NOTE_BYTES {
        let cut = text.floor_char_boundary(max_bytes);
        let left_out = text.len() - cut;
        text.truncate(cut);
        text.push_str(&format!("… ({left_out} bytes more)"));
        // What was reserved for the rest.
        text.shrink_to_fit();
    }
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    fn a_text_is_cut_between_characters_and_says_how_much_is_missing() {
        assert_eq!(bounded("short".to_owned(), 5), "short");
        let cut = bounded("é".repeat(50), 5);
        assert_eq!(cut, "éé… (96 bytes more)");
        assert_eq!(bounded(cut.clone(), 5), cut);
        assert_eq!(bounded("a\0b".to_owned(), 8), "a\u{fffd}b");
    }
}
