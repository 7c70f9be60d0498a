//! What is to be predicted: a number, or one of a few classes.

use std::collections::BTreeSet;

use aquatint_engine::task::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::table::{Cells, Table, invalid_data, quoted, short};

/// The most classes a target may have.
pub(crate) const MAX_CLASSES: usize = 50;

/// What a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number.
    Regression,
    /// One of a few classes.
    Classification,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Regression => "regression",
            Kind::Classification => "classification",
        }
    }
}

/// The right answers, by row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answers {
    Numbers(Vec<f64>),
    /// Each row's place in `names`, which are sorted.
    Classes {
        names: Vec<String>,
        of_row: Vec<u32>,
    },
}

impl Answers {
    /// Reads the target column. Without `stated`, texts are classes and numbers are numbers.
    ///
    /// # Errors
    /// Fatal: class `invalid_input` when there is no such column or it cannot be
    /// read as `stated`; `invalid_data` when its classes are too few, too many or too long.
    pub(crate) fn of(table: &Table, target: &str, stated: Option<Kind>) -> Result<Self, TaskError> {
        let refuse = |why| Err(TaskError::fatal("invalid_input", why));
        let Some(column) = table.column(target) else {
            return refuse(format!(
                "`target`: there is no column `{}`; there are {}",
                short(target),
                table.names()
            ));
        };
        match (&column.cells, stated) {
            (Cells::Numbers(numbers), None | Some(Kind::Regression)) => {
                Ok(Answers::Numbers(numbers.clone()))
            }
            (Cells::Texts(_), Some(Kind::Regression)) => refuse(format!(
                "`task`: `{target}` holds text, which is no number to predict; leave `task` out, or say `classification`"
            )),
            (Cells::Texts(texts), None | Some(Kind::Classification)) => {
                classes(target, texts.iter().map(String::as_str))
            }
            (Cells::Numbers(numbers), Some(Kind::Classification)) => {
                let texts: Vec<String> = numbers.iter().map(f64::to_string).collect();
                classes(target, texts.iter().map(String::as_str))
            }
        }
    }

    /// The answers of these rows, in their order.
    pub(crate) fn of_rows(&self, rows: &[usize]) -> Self {
        match self {
            Answers::Numbers(numbers) => {
                Answers::Numbers(rows.iter().map(|row| numbers[*row]).collect())
            }
            Answers::Classes { names, of_row } => Answers::Classes {
                names: names.clone(),
                of_row: rows.iter().map(|row| of_row[*row]).collect(),
            },
        }
    }
}

fn classes<'a>(
    target: &str,
    texts: impl Iterator<Item = &'a str> + Clone,
) -> Result<Answers, TaskError> {
    let names: BTreeSet<&str> = texts.clone().collect();
    if names.len() < 2 {
        return Err(invalid_data(format!(
            "`{target}` is {} in every row; there is nothing to tell apart",
            quoted(names.into_iter())
        )));
    }
    if names.len() > MAX_CLASSES {
        return Err(invalid_data(format!(
            "`{target}` has {} classes; {MAX_CLASSES} are told apart at most: is it another column that is wanted?",
            names.len()
        )));
    }
    if let Some(long) = names
        .iter()
        .find(|name| name.len() > super::encoding::MAX_VALUE_BYTES)
    {
        return Err(invalid_data(format!(
            "`{target}` has a class of {} bytes (`{}`); {} are allowed",
            long.len(),
            short(long),
            super::encoding::MAX_VALUE_BYTES
        )));
    }
    let names: Vec<&str> = names.into_iter().collect();
    let place = |text| {
        names
            .binary_search(&text)
            .expect("it was gathered from these")
    };
    let of_row = texts.map(|text| u32::try_from(place(text)).expect("50 at most"));
    Ok(Answers::Classes {
        of_row: of_row.collect(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    })
}
