//! "Did you mean …?": the nearest of some known words. Knows nothing of definitions.

/// Candidates compared for one word: a thousand steps of like names are not worth it.
const MAX_CANDIDATES: usize = 300;

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
    // A word of two letters resembles every other one.
    let length = got_folded.len();
    let allowed = (length / 3).min(3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(got.len()) <= 4 * allowed)
        .take(MAX_CANDIDATES)
        .filter_map(|candidate| {
            distance(&got_folded, &fold(candidate), allowed).map(|distance| (distance, candidate))
        })
        .min_by_key(|(distance, candidate)| (*distance, *candidate))
        .map(|(_, candidate)| candidate)
}

/// The nearest candidate as a question, or else the whole choice.
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

/// The whole choice, cut when there are many.
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

/// Edits (insert, delete, replace, swap of neighbours) between two words, if
/// they are no more than `most`: the optimal string alignment distance, looked
/// at only along the diagonal.
fn distance(a: &[char], b: &[char], most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let far = most + 1;
    let mut before_last = vec![far; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).map(|j| j.min(far)).collect();
    let mut row = vec![far; b.len() + 1];
    for (i, x) in a.iter().enumerate() {
        let (start, end) = (i.saturating_sub(most), (i + most + 1).min(b.len()));
        // What the band touches beyond itself must not hold an older row.
        row[start] = if start == 0 { (i + 1).min(far) } else { far };
        let mut nearest = row[start];
        for j in start..end {
            let y = b[j];
            let mut best = (last[j] + usize::from(*x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == y {
                best = best.min(before_last[j - 1] + 1);
            }
            row[j + 1] = best.min(far);
            nearest = nearest.min(best);
        }
        if let Some(beyond) = row.get_mut(end + 1) {
            *beyond = far;
        }
        if nearest >= far {
            return None;
        }
        std::mem::swap(&mut before_last, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last.last().copied().filter(|&edits| edits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The textbook's table, all of it.
    fn whole_distance(a: &[char], b: &[char]) -> usize {
        let mut table = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = match (i, j) {
                    (0, n) | (n, 0) => n,
                    _ => {
                        let cost = usize::from(a[i - 1] != b[j - 1]);
                        let mut best = (table[i - 1][j - 1] + cost)
                            .min(table[i - 1][j] + 1)
                            .min(table[i][j - 1] + 1);
                        if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                            best = best.min(table[i - 2][j - 2] + 1);
                        }
                        best
                    }
                };
            }
        }
        table[a.len()][b.len()]
    }

    proptest::proptest! {
        #[test]
        fn the_band_agrees_with_the_whole_table(a in "[abc]{0,9}", b in "[abc]{0,9}", most in 0..4_usize) {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            let whole = whole_distance(&a, &b);
            proptest::prop_assert_eq!(distance(&a, &b, most), (whole <= most).then_some(whole));
        }
    }

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_does_not() {
        let known = ["prompt", "width", "max_parallel"];
        assert_eq!(nearest("promt", known), Some("prompt"));
        assert_eq!(nearest("wdith", known), Some("width"));
        assert_eq!(nearest("maxParallel", known), Some("max_parallel"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("Width", known), Some("width"));
        assert_eq!(nearest("b", ["a"]), None);
    }
}
