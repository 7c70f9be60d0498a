//! A table as it was given: named columns of numbers or of texts. Nothing is learned from it yet.

use aquatint_engine::task::TaskError;

/// The most rows a table may have.
pub(crate) const MAX_ROWS: usize = 100_000;
/// The most columns.
pub(crate) const MAX_COLUMNS: usize = 256;
/// The most cells: some 64 MB while a table is read.
pub(crate) const MAX_CELLS: usize = 2_000_000;
/// The longest name of a column, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 100;
/// Numbers beyond this, either way, are taken for mistakes; their squares would not fit a metric.
const MAX_MAGNITUDE: f64 = 1e15;

/// Columns of one length.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: usize,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) cells: Cells,
}

/// What a column holds; `true` and `false` are texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cells {
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

/// One cell while its column's kind is not known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Number(f64),
    Text(String),
    Missing,
}

/// Where rows stood, so that a mistake can be found again.
#[derive(Debug)]
pub(super) enum Places {
    /// In a list: `rows[3]`.
    List,
    /// In a file: `line 5`, by row.
    Lines(Vec<u64>),
}

impl Places {
    fn of(&self, row: usize) -> String {
        match self {
            Places::List => format!("rows[{row}]"),
            Places::Lines(lines) => format!("line {}", lines[row]),
        }
    }
}

impl Table {
    /// Puts columns of one length together.
    pub(super) fn new(columns: Vec<Column>) -> Self {
        let rows = columns.first().map_or(0, |column| column.cells.len());
        debug_assert!(columns.iter().all(|column| column.cells.len() == rows));
        Self { columns, rows }
    }

    /// Decides for each column what it holds.
    ///
    /// # Errors
    /// Fatal, class `invalid_data`: the first cell that is missing, of another
    /// kind than its column, or no finite number, with its place.
    pub(super) fn from_cells(
        columns: Vec<(String, Vec<Cell>)>,
        places: &Places,
    ) -> Result<Self, TaskError> {
        let columns = columns.into_iter().map(|(name, cells)| {
            let cells = decide(&name, cells, places)?;
            Ok(Column { name, cells })
        });
        Ok(Self::new(columns.collect::<Result<_, TaskError>>()?))
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns' names for people: `` `a`, `b` ``.
    pub(crate) fn names(&self) -> String {
        quoted(self.columns.iter().map(|column| column.name.as_str()))
    }
}

impl Cells {
    pub(crate) fn len(&self) -> usize {
        match self {
            Cells::Numbers(numbers) => numbers.len(),
            Cells::Texts(texts) => texts.len(),
        }
    }
}

fn decide(name: &str, cells: Vec<Cell>, places: &Places) -> Result<Cells, TaskError> {
    let count = |of: fn(&Cell) -> bool| cells.iter().filter(|cell| of(cell)).count();
    let numbers = count(|cell| matches!(cell, Cell::Number(_)));
    let texts = count(|cell| matches!(cell, Cell::Text(_)));
    if numbers >= texts {
        let number = |(row, cell)| match cell {
            Cell::Number(number) if number.is_finite() && number.abs() <= MAX_MAGNITUDE => {
                Ok(number)
            }
            Cell::Number(number) => Err(invalid_data(format!(
                "{}: `{name}` is {number:e}; numbers from -{MAX_MAGNITUDE:e} to {MAX_MAGNITUDE:e} can be learned from",
                places.of(row)
            ))),
            Cell::Text(text) => Err(odd_one_out(&places.of(row), name, &text, "numbers")),
            Cell::Missing => Err(missing(&places.of(row), name)),
        };
        let numbers = cells.into_iter().enumerate().map(number);
        Ok(Cells::Numbers(numbers.collect::<Result<_, _>>()?))
    } else {
        let text = |(row, cell)| match cell {
            Cell::Text(text) => Ok(text),
            Cell::Number(number) => {
                let number = number.to_string();
                Err(odd_one_out(&places.of(row), name, &number, "text"))
            }
            Cell::Missing => Err(missing(&places.of(row), name)),
        };
        let texts = cells.into_iter().enumerate().map(text);
        Ok(Cells::Texts(texts.collect::<Result<_, _>>()?))
    }
}

fn odd_one_out(place: &str, name: &str, value: &str, others: &str) -> TaskError {
    let value = short(value);
    // `NaN` and `inf` are what programs write where a number went wrong.
    let what = match value.parse::<f64>() {
        Ok(number) if !number.is_finite() => ", which is no finite number,",
        Ok(_) | Err(_) => "",
    };
    invalid_data(format!(
        "{place}: `{name}` is `{value}`{what} where other rows have {others}; mend the row, or name the column in `ignore`"
    ))
}

fn missing(place: &str, name: &str) -> TaskError {
    invalid_data(format!(
        "{place}: `{name}` has no value; fill it in, leave the row out, or name the column in `ignore`"
    ))
}

/// A fatal error about the data itself.
pub(crate) fn invalid_data(message: impl Into<String>) -> TaskError {
    TaskError::fatal("invalid_data", message)
}

/// A value for a message: one line of 60 bytes at most.
pub(crate) fn short(text: &str) -> String {
    let cut = text.floor_char_boundary(60);
    let clean = text[..cut].replace(char::is_control, " ");
    if cut < text.len() {
        format!("{clean}…")
    } else {
        clean
    }
}

/// Names for a message, the first twenty.
pub(crate) fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(|name| format!("`{}`", short(name))).collect();
    if names.len() > 20 {
        let more = names.len() - 20;
        names.truncate(20);
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}
