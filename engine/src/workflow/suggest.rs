//! "Did you mean …?": the nearest of some known words. Knows nothing of definitions.

/// The candidate a typist most likely meant, if one is near enough.
pub(crate) fn nearest<'a, I>(got: &str, candidates: I) -> Option<&'a str>
where
    I: IntoIterator<Item = &'a str>,
{
    // Longer words than any name we accept are not worth a quadratic comparison.
    if got.is_empty() || got.len() > 100 {
        return None;
    }
    let got_folded = fold(got);
    let allowed = (got.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 100)
        .map(|candidate| (distance(&got_folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, candidate)| (*distance, *candidate))
        .map(|(_, candidate)| candidate)
}

/// `did you mean `x`?`, or else the whole choice when it is short.
pub(crate) fn help<'a, I>(got: &str, candidates: I) -> Option<String>
where
    I: IntoIterator<Item = &'a str>,
{
    let known: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(got, known.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    choice(&known)
}

/// `expected one of `a`, `b`, `c``; cut when there are many.
pub(crate) fn choice(known: &[&str]) -> Option<String> {
    const SHOWN: usize = 20;
    match known {
        [] => None,
        [one] => Some(format!("expected `{one}`")),
        many => {
            let mut text = String::from("expected one of ");
            for (i, word) in many.iter().take(SHOWN).enumerate() {
                if i > 0 {
                    text.push_str(", ");
                }
                text.push('`');
                text.push_str(word);
                text.push('`');
            }
            if many.len() > SHOWN {
                text.push_str(&format!(" and {} more", many.len() - SHOWN));
            }
            Some(text)
        }
    }
}

/// Case and the two joiners do not count: `max-Parallel` is `max_parallel`.
fn fold(word: &str) -> Vec<char> {
    word.chars()
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Edits (insert, delete, replace, swap of neighbours) between two words:
/// the optimal string alignment distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_does_not() {
        let known = ["prompt", "width", "max_parallel"];
        assert_eq!(nearest("promt", known), Some("prompt"));
        assert_eq!(nearest("wdith", known), Some("width"));
        assert_eq!(nearest("maxParallel", known), Some("max_parallel"));
        assert_eq!(nearest("colour", known), None);
    }
}
