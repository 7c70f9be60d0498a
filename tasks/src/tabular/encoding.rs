//! How cells become numbers that a network can learn from.
//!
//! ```text
//! area 84.0, heating "gas", garden "true"   ─▶   -0.21 | 0 1 0 | 1
//!                                                number  one of three, one of two
//! ```
//!
//! Everything an [`Encoding`] knows it learned from the training rows alone:
//! what is held out must not even move a mean. It travels with the model.

use std::collections::BTreeSet;

use aquatint_engine::task::TaskError;
use serde::{Deserialize, Serialize};

use super::table::{Cells, Column, Table, invalid_data, quoted, short};
use super::target::{Answers, Kind};

/// The most values a text column may have to be learned from.
pub(crate) const MAX_VALUES: usize = 20;
/// The longest such value, in bytes; the longest name of a class, too.
pub(crate) const MAX_VALUE_BYTES: usize = 200;
/// The most numbers a row may become.
pub(crate) const MAX_WIDTH: usize = 512;
/// A number so many deviations from the mean tells no more than one less far
/// away, and must not overflow single precision.
const MAX_DEVIATIONS: f64 = 1e4;

/// What a model was taught of its table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Encoding {
    pub(crate) features: Vec<Feature>,
    pub(crate) target: Target,
    /// Columns that were left out on purpose: rows may have them, nobody looks.
    pub(crate) ignored: Vec<String>,
}

/// A column that is learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Feature {
    pub(crate) name: String,
    pub(crate) scale: Scale,
}

/// How a column's cells become numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Scale {
    /// Less the mean, over the deviation.
    Number(Standard),
    /// A one in the value's place, zeros elsewhere.
    Category { values: Vec<String> },
}

/// The column that is predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Target {
    Regression { name: String, standard: Standard },
    Classification { name: String, classes: Vec<String> },
}

/// Mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Standard {
    #[serde(with = "exact")]
    pub(crate) mean: f64,
    #[serde(with = "exact")]
    pub(crate) deviation: f64,
}

/// Rows of numbers, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) values: Vec<f32>,
}

/// What becomes of a text that was not among the training rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// Zeros: the held-out part may hold such a one, and is judged all the same.
    Blank,
    /// An error that names it.
    Refuse,
}

impl Encoding {
    /// Learns from the rows `training` of a table; no other row is looked at,
    /// except for the classes' names.
    ///
    /// # Errors
    /// Fatal, class `invalid_data`, naming the column that cannot be learned from.
    pub(crate) fn fit(
        table: &Table,
        target: &str,
        answers: &Answers,
        training: &[usize],
        ignored: &[String],
    ) -> Result<Self, TaskError> {
        let columns = table
            .columns()
            .iter()
            .filter(|column| column.name != target);
        let features: Vec<Feature> = columns
            .map(|column| Feature::fit(column, training))
            .collect::<Result<_, _>>()?;
        if features.is_empty() {
            return Err(invalid_data(format!(
                "there is no column besides `{target}`; give at least one to predict it from"
            )));
        }
        let encoding = Self {
            target: Target::fit(target, answers, training)?,
            features,
            ignored: ignored.to_vec(),
        };
        if encoding.width() > MAX_WIDTH {
            return Err(invalid_data(format!(
                "the columns become {} numbers a row, and {MAX_WIDTH} are learned from at most; name text columns in `ignore`",
                encoding.width()
            )));
        }
        Ok(encoding)
    }

    /// How many numbers each column becomes.
    pub(crate) fn widths(&self) -> Vec<usize> {
        self.features
            .iter()
            .map(|feature| feature.scale.width())
            .collect()
    }

    /// How many numbers a row becomes.
    pub(crate) fn width(&self) -> usize {
        self.widths().iter().sum()
    }

    /// Turns the rows named by `rows` into numbers.
    ///
    /// # Errors
    /// Fatal, class `invalid_data`, naming a column that is missing, unknown or of another kind
    /// than the model was trained on, or a value it does not know.
    pub(crate) fn encode(
        &self,
        table: &Table,
        rows: &[usize],
        unseen: Unseen,
    ) -> Result<Matrix, TaskError> {
        self.check_names(table)?;
        let width = self.width();
        let mut values = vec![0.0; rows.len() * width];
        let mut first = 0;
        for feature in &self.features {
            let column = table.column(&feature.name).expect("its name was checked");
            let cells = values[..].chunks_exact_mut(width).zip(rows);
            match (&feature.scale, &column.cells) {
                (Scale::Number(standard), Cells::Numbers(numbers)) => {
                    for (into, row) in cells {
                        into[first] = standard.reduce(numbers[*row]);
                    }
                }
                (Scale::Category { values: known }, Cells::Texts(texts)) => {
                    for (into, row) in cells {
                        match known.binary_search(&texts[*row]) {
                            Ok(place) => into[first + place] = 1.0,
                            Err(_) if unseen == Unseen::Blank => {}
                            Err(_) => {
                                return Err(unknown_value(&feature.name, &texts[*row], known));
                            }
                        }
                    }
                }
                (Scale::Number(_), Cells::Texts(texts)) => {
                    return Err(wrong_kind(&feature.name, "text", &texts[0], "numbers"));
                }
                (Scale::Category { .. }, Cells::Numbers(numbers)) => {
                    let number = numbers[0].to_string();
                    return Err(wrong_kind(&feature.name, "a number", &number, "text"));
                }
            }
            first += feature.scale.width();
        }
        Ok(Matrix {
            rows: rows.len(),
            width,
            values,
        })
    }

    fn check_names(&self, table: &Table) -> Result<(), TaskError> {
        let lacking = self.features.iter().map(|feature| feature.name.as_str());
        let lacking: Vec<&str> = lacking
            .filter(|name| table.column(name).is_none())
            .collect();
        if !lacking.is_empty() {
            return Err(invalid_data(format!(
                "the rows lack what the model was trained on: {}",
                quoted(lacking.into_iter())
            )));
        }
        let known = |name: &str| {
            name == self.target.name()
                || self.features.iter().any(|feature| feature.name == name)
                || self.ignored.iter().any(|ignored| ignored == name)
        };
        let names = table.columns().iter().map(|column| column.name.as_str());
        let unknown: Vec<&str> = names.filter(|name| !known(name)).collect();
        if !unknown.is_empty() {
            return Err(invalid_data(format!(
                "the model was not trained on {}; it takes {}",
                quoted(unknown.into_iter()),
                quoted(self.features.iter().map(|feature| feature.name.as_str()))
            )));
        }
        Ok(())
    }
}

fn unknown_value(name: &str, value: &str, known: &[String]) -> TaskError {
    invalid_data(format!(
        "`{name}` is `{}`, which the model was not trained on; it knows {}",
        short(value),
        quoted(known.iter().map(String::as_str))
    ))
}

fn wrong_kind(name: &str, is: &str, value: &str, wanted: &str) -> TaskError {
    invalid_data(format!(
        "`{name}` is {is} (`{}`); the model was trained on {wanted} there",
        short(value)
    ))
}

impl Feature {
    fn fit(column: &Column, training: &[usize]) -> Result<Self, TaskError> {
        let scale = match &column.cells {
            Cells::Numbers(numbers) => {
                Scale::Number(Standard::of(training.iter().map(|row| numbers[*row])))
            }
            Cells::Texts(texts) => {
                let values: BTreeSet<&str> =
                    training.iter().map(|row| texts[*row].as_str()).collect();
                check_values(&column.name, &values)?;
                Scale::Category {
                    values: values.into_iter().map(str::to_owned).collect(),
                }
            }
        };
        Ok(Self {
            name: column.name.clone(),
            scale,
        })
    }
}

fn check_values(name: &str, values: &BTreeSet<&str>) -> Result<(), TaskError> {
    if values.len() > MAX_VALUES {
        return Err(invalid_data(format!(
            "`{name}` has {} different texts; columns with up to {MAX_VALUES} can be learned from: name it in `ignore`",
            values.len()
        )));
    }
    match values.iter().find(|value| value.len() > MAX_VALUE_BYTES) {
        None => Ok(()),
        Some(long) => Err(invalid_data(format!(
            "`{name}` holds a text of {} bytes; up to {MAX_VALUE_BYTES} can be learned from: name it in `ignore`",
            long.len()
        ))),
    }
}

impl Scale {
    fn width(&self) -> usize {
        match self {
            Scale::Number(_) => 1,
            Scale::Category { values } => values.len(),
        }
    }
}

impl Target {
    fn fit(name: &str, answers: &Answers, training: &[usize]) -> Result<Self, TaskError> {
        let name = name.to_owned();
        match answers {
            Answers::Numbers(numbers) => {
                let standard = Standard::of(training.iter().map(|row| numbers[*row]));
                if standard.deviation == 0.0 {
                    return Err(invalid_data(format!(
                        "`{name}` is {} in every row that is learned from; there is nothing to predict",
                        standard.mean
                    )));
                }
                Ok(Target::Regression { name, standard })
            }
            Answers::Classes { names, .. } => {
                let classes = names.clone();
                Ok(Target::Classification { name, classes })
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Target::Regression { name, .. } | Target::Classification { name, .. } => name,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Target::Regression { .. } => Kind::Regression,
            Target::Classification { .. } => Kind::Classification,
        }
    }

    /// How many numbers a network gives for a row.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Target::Regression { .. } => 1,
            Target::Classification { classes, .. } => classes.len(),
        }
    }
}

impl Standard {
    /// A deviation of nought, where all numbers are one (or differ by rounding), stays nought.
    #[expect(clippy::cast_precision_loss, reason = "at most 100,000 rows")]
    pub(crate) fn of(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let count = numbers.clone().count().max(1) as f64;
        let mean = numbers.clone().sum::<f64>() / count;
        let variance = numbers.map(|number| (number - mean).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt();
        let rounding = mean.abs().max(f64::MIN_POSITIVE) * 1e-12;
        Self {
            mean,
            deviation: if deviation > rounding { deviation } else { 0.0 },
        }
    }

    /// What a network sees of a number: nothing, where every training row had the same.
    pub(crate) fn reduce(&self, number: f64) -> f32 {
        if self.deviation == 0.0 {
            return 0.0;
        }
        single(((number - self.mean) / self.deviation).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS))
    }

    /// The number that a network means.
    pub(crate) fn restore(&self, reduced: f64) -> f64 {
        self.mean + reduced * self.deviation
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "networks are of single precision"
)]
pub(crate) fn single(number: f64) -> f32 {
    number as f32
}

/// Numbers as texts: a JSON reader may miss the last bit of a number, and then a model
/// that was stored would not quite be the one that was judged.
mod exact {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands out references"
    )]
    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
