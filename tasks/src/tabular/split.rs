//! Which rows are learned from, and which are held out to judge by.

use aquatint_engine::task::TaskError;

use super::table::invalid_data;
use super::target::Answers;

/// Fewer rows than this teach nothing that a held-out part could confirm.
pub(crate) const MIN_ROWS: usize = 10;

/// Two lists of rows without a row in common, covering all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) training: Vec<usize>,
    pub(crate) test: Vec<usize>,
}

/// Draws `fraction` of the rows for the test.
///
/// Classes are drawn from one by one, so that each keeps its share in both
/// parts as far as it has rows; a class with a single row is learned from.
///
/// # Errors
/// Fatal, class `invalid_data`, when there are too few rows.
pub(crate) fn split(
    answers: &Answers,
    fraction: f64,
    chance: &mut fastrand::Rng,
) -> Result<Split, TaskError> {
    let groups: Vec<Vec<usize>> = match answers {
        Answers::Numbers(numbers) => vec![(0..numbers.len()).collect()],
        Answers::Classes { names, of_row } => {
            let mut groups = vec![Vec::new(); names.len()];
            for (row, class) in of_row.iter().enumerate() {
                groups[*class as usize].push(row);
            }
            groups
        }
    };
    let rows: usize = groups.iter().map(Vec::len).sum();
    if rows < MIN_ROWS {
        return Err(invalid_data(format!(
            "there are {rows} rows; give at least {MIN_ROWS}, some of which are held out to judge the model by"
        )));
    }
    let mut split = Split {
        training: Vec::new(),
        test: Vec::new(),
    };
    for mut group in groups {
        chance.shuffle(&mut group);
        let held_out = share(group.len(), fraction).min(group.len().saturating_sub(1));
        split.test.extend_from_slice(&group[..held_out]);
        split.training.extend_from_slice(&group[held_out..]);
    }
    if split.test.is_empty() {
        return Err(invalid_data(format!(
            "`test_fraction` {fraction} of {rows} rows holds out none; give more rows, or a larger fraction"
        )));
    }
    // In the order of the table, whatever order they were drawn in.
    split.training.sort_unstable();
    split.test.sort_unstable();
    Ok(split)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of at most 100,000 rows"
)]
fn share(rows: usize, fraction: f64) -> usize {
    (rows as f64 * fraction).round() as usize
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_row_is_in_one_part_and_the_seed_decides_which() {
        let answers = Answers::Numbers(vec![0.0; 103]);
        let with = |seed| split(&answers, 0.2, &mut fastrand::Rng::with_seed(seed)).unwrap();
        let parts = with(1);
        assert_eq!((parts.training.len(), parts.test.len()), (82, 21));
        let mut all = [&parts.training[..], &parts.test[..]].concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
        assert_eq!(parts, with(1));
        assert_ne!(parts, with(2));
    }

    #[test]
    fn every_class_is_learned_from_and_keeps_its_share() {
        let mut of_row = vec![0; 80];
        of_row.extend([1; 20]);
        of_row.push(2);
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let answers = Answers::Classes {
            names,
            of_row: of_row.clone(),
        };
        let parts = split(&answers, 0.25, &mut fastrand::Rng::with_seed(0)).unwrap();
        let count =
            |rows: &[usize], class| rows.iter().filter(|row| of_row[**row] == class).count();
        assert_eq!([0, 1, 2].map(|class| count(&parts.test, class)), [20, 5, 0]);
        assert_eq!(
            [0, 1, 2].map(|class| count(&parts.training, class)),
            [60, 15, 1]
        );
    }

    #[test]
    fn too_few_rows_are_refused() {
        let answers = Answers::Numbers(vec![0.0; 9]);
        let error = split(&answers, 0.5, &mut fastrand::Rng::with_seed(0)).unwrap_err();
        assert!(error.message.contains("9 rows"), "{error}");
    }
}
