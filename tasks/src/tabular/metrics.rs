//! How good answers are, and how good one has to be to be worth anything.
//!
//! A *baseline* knows the target and no features: the mean of the training
//! rows, or the shares of their classes. What does not beat it has learned nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far answers are from the truth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Metrics {
    /// Of a number, in the target's own unit.
    Regression {
        /// Mean squared error.
        mse: f64,
        /// Mean absolute error.
        mae: f64,
        /// The share of the variance that is explained, 1 at best, 0 for always
        /// answering the mean; null where the truth does not vary.
        r2: Option<f64>,
    },
    /// Of a class.
    Classification {
        /// The share of rows whose likeliest class is the true one.
        accuracy: f64,
        /// The mean of -ln of the probability given to the true class.
        log_loss: f64,
        /// The F1 scores of the classes, averaged without regard to their sizes;
        /// a class that neither occurs nor is answered does not count.
        f1_macro: f64,
    },
}

/// A probability of nought would cost infinitely much.
const LEAST_PROBABILITY: f64 = 1e-15;

/// Judges numbers. Both lists are of one length, and not empty.
#[expect(clippy::cast_precision_loss, reason = "at most 100,000 rows")]
pub(crate) fn regression(answered: &[f64], truth: &[f64]) -> Metrics {
    let count = truth.len() as f64;
    let mean = truth.iter().sum::<f64>() / count;
    let off = || {
        answered
            .iter()
            .zip(truth)
            .map(|(answer, truth)| answer - truth)
    };
    let residual: f64 = off().map(|off| off * off).sum();
    let total: f64 = truth.iter().map(|truth| (truth - mean).powi(2)).sum();
    Metrics::Regression {
        mse: residual / count,
        mae: off().map(f64::abs).sum::<f64>() / count,
        r2: (total > 0.0).then(|| 1.0 - residual / total),
    }
}

/// Judges probabilities: `classes` of them for each row of `truth`, which is not empty.
#[expect(clippy::cast_precision_loss, reason = "at most 100,000 rows")]
pub(crate) fn classification(probabilities: &[f64], classes: usize, truth: &[u32]) -> Metrics {
    let mut loss = 0.0;
    let mut tally = vec![Tally::default(); classes];
    for (row, truth) in probabilities.chunks_exact(classes).zip(truth) {
        let truth = *truth as usize;
        loss -= row[truth].clamp(LEAST_PROBABILITY, 1.0).ln();
        let answer = likeliest(row);
        tally[truth].true_rows += 1.0;
        tally[answer].answered += 1.0;
        if answer == truth {
            tally[truth].right += 1.0;
        }
    }
    let rows = truth.len() as f64;
    let scores: Vec<f64> = tally.iter().filter_map(Tally::f1).collect();
    Metrics::Classification {
        accuracy: tally.iter().map(|tally| tally.right).sum::<f64>() / rows,
        log_loss: loss / rows,
        f1_macro: scores.iter().sum::<f64>() / scores.len() as f64,
    }
}

/// The place of the largest number; the first of equals.
pub(crate) fn likeliest(row: &[f64]) -> usize {
    let mut best = 0;
    for (place, probability) in row.iter().enumerate() {
        if *probability > row[best] {
            best = place;
        }
    }
    best
}

#[derive(Debug, Clone, Default)]
struct Tally {
    true_rows: f64,
    answered: f64,
    right: f64,
}

impl Tally {
    fn f1(&self) -> Option<f64> {
        let either = self.true_rows + self.answered;
        (either > 0.0).then(|| 2.0 * self.right / either)
    }
}

/// What always answering the training rows' mean would come to.
#[expect(clippy::cast_precision_loss, reason = "at most 100,000 rows")]
pub(crate) fn mean_baseline(training: &[f64], truth: &[f64]) -> Metrics {
    let mean = training.iter().sum::<f64>() / training.len() as f64;
    regression(&vec![mean; truth.len()], truth)
}

/// What always answering the shares of the training rows' classes would come to.
#[expect(clippy::cast_precision_loss, reason = "at most 100,000 rows")]
pub(crate) fn share_baseline(training: &[u32], classes: usize, truth: &[u32]) -> Metrics {
    let mut shares = vec![0.0; classes];
    for class in training {
        shares[*class as usize] += 1.0 / training.len() as f64;
    }
    classification(&shares.repeat(truth.len()), classes, truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn numbers_are_judged_as_the_textbook_says() {
        let Metrics::Regression { mse, mae, r2 } = regression(&[2.0, 4.0, 7.0], &[1.0, 4.0, 10.0])
        else {
            panic!("numbers are regression");
        };
        // Off by 1, 0 and -3; the truth varies by 16 + 1 + 25 around 5.
        assert!(near(mse, 10.0 / 3.0) && near(mae, 4.0 / 3.0));
        assert!(r2.is_some_and(|r2| near(r2, 1.0 - 10.0 / 42.0)), "{r2:?}");
    }

    #[test]
    fn a_truth_that_does_not_vary_has_no_share_to_explain() {
        let judged = regression(&[1.0, 2.0], &[3.0, 3.0]);
        assert_eq!(
            judged,
            Metrics::Regression {
                mse: 2.5,
                mae: 1.5,
                r2: None
            }
        );
    }

    #[test]
    fn the_mean_explains_nothing_of_its_own_rows() {
        let Metrics::Regression { r2, .. } = mean_baseline(&[1.0, 5.0], &[1.0, 5.0]) else {
            panic!("numbers are regression");
        };
        assert_eq!(r2, Some(0.0));
    }

    #[test]
    fn classes_are_judged_as_the_textbook_says() {
        let probabilities = [0.7, 0.2, 0.1, 0.4, 0.5, 0.1, 0.6, 0.3, 0.1];
        let Metrics::Classification {
            accuracy,
            log_loss,
            f1_macro,
        } = classification(&probabilities, 3, &[0, 1, 1])
        else {
            panic!("probabilities are classification");
        };
        assert!(near(accuracy, 2.0 / 3.0));
        let loss = -(0.7_f64.ln() + 0.5_f64.ln() + 0.3_f64.ln()) / 3.0;
        assert!(near(log_loss, loss), "{log_loss}");
        // Both classes that occur: precision 1/2 and recall 1, and the other way round.
        assert!(near(f1_macro, 2.0 / 3.0), "{f1_macro}");
    }

    #[test]
    fn certainty_of_the_wrong_class_costs_much_but_not_everything() {
        let judged = classification(&[1.0, 0.0], 2, &[1]);
        let Metrics::Classification { log_loss, .. } = judged else {
            panic!("probabilities are classification");
        };
        assert!(log_loss > 30.0 && log_loss.is_finite());
    }

    #[test]
    fn the_share_baseline_answers_the_most_frequent_class() {
        let judged = share_baseline(&[0, 0, 0, 1], 2, &[0, 1]);
        let Metrics::Classification {
            accuracy, log_loss, ..
        } = judged
        else {
            panic!("shares are classification");
        };
        assert!(near(accuracy, 0.5));
        assert!(near(log_loss, -(0.75_f64.ln() + 0.25_f64.ln()) / 2.0));
    }
}
