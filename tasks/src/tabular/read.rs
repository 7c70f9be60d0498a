//! Reads tables that others made: lists of objects, and CSV with a header line.
//!
//! A mistake is told with its line, its column and its value. Columns named in
//! `ignore` are left out before anything is checked, so they may hold anything.

use std::collections::HashSet;

use aquatint_engine::task::TaskError;
use serde_json::{Map, Value};

use super::table::{
    Cell, MAX_CELLS, MAX_COLUMNS, MAX_NAME_BYTES, MAX_ROWS, Places, Table, invalid_data, quoted,
    short,
};

/// The largest CSV file.
pub(crate) const MAX_CSV_BYTES: u64 = 32 * 1024 * 1024;

/// Reads a list of objects; a column is whatever any of them names.
///
/// # Errors
/// Fatal: class `invalid_data` with the row and column, or `too_large`.
pub(crate) fn rows(rows: &[Map<String, Value>], ignore: &[String]) -> Result<Table, TaskError> {
    let mut names: Vec<&str> = Vec::new();
    let mut known: HashSet<&str> = HashSet::new();
    for row in rows {
        for name in row.keys() {
            if known.insert(name) {
                names.push(name);
                check_name(name, "rows")?;
                check_size(rows.len(), names.len())?;
            }
        }
    }
    check_size(rows.len(), names.len())?;
    check_ignored(ignore, &names)?;
    let columns = names.into_iter().filter(|name| !ignored(ignore, name));
    let columns = columns.map(|name| {
        let cells = rows.iter().enumerate();
        let cells = cells.map(|(i, row)| cell(i, name, row.get(name)));
        Ok((name.to_owned(), cells.collect::<Result<_, TaskError>>()?))
    });
    Table::from_cells(columns.collect::<Result<_, TaskError>>()?, &Places::List)
}

fn cell(row: usize, name: &str, value: Option<&Value>) -> Result<Cell, TaskError> {
    let kind = match value {
        None | Some(Value::Null) => return Ok(Cell::Missing),
        Some(Value::Number(number)) => {
            return Ok(Cell::Number(number.as_f64().unwrap_or(f64::NAN)));
        }
        Some(Value::Bool(bool)) => return Ok(Cell::Text(bool.to_string())),
        Some(Value::String(text)) => return Ok(Cell::Text(text.clone())),
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    };
    Err(invalid_data(format!(
        "rows[{row}]: `{name}` is {kind}; give a number, a text, true or false, or name the column in `ignore`"
    )))
}

/// Reads comma-separated values in UTF-8 whose first line names the columns.
///
/// # Errors
/// As [`rows`], with the line where a list has an index.
pub(crate) fn csv(bytes: &[u8], ignore: &[String]) -> Result<Table, TaskError> {
    if bytes.len() as u64 > MAX_CSV_BYTES {
        return Err(too_large(format!(
            "the CSV has {} bytes; {MAX_CSV_BYTES} are read at most",
            bytes.len()
        )));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let names: Vec<String> = {
        let header = reader.headers().map_err(|error| broken(&error))?;
        header.iter().map(str::to_owned).collect()
    };
    for (at, name) in names.iter().enumerate() {
        check_name(name, "line 1")?;
        if names[..at].contains(name) {
            return Err(invalid_data(format!(
                "line 1: two columns are called `{name}`; give each a name of its own"
            )));
        }
    }
    if names.is_empty() {
        return Err(invalid_data(
            "line 1: the CSV is empty; begin with a line that names the columns",
        ));
    }
    check_size(0, names.len())?;
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    check_ignored(ignore, &known)?;
    let kept: Vec<usize> = (0..names.len())
        .filter(|at| !ignored(ignore, &names[*at]))
        .collect();
    let mut columns = vec![Vec::new(); kept.len()];
    let mut lines = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| broken(&error))?
    {
        lines.push(record.position().map_or(0, csv::Position::line));
        check_size(lines.len(), names.len())?;
        for (column, at) in columns.iter_mut().zip(&kept) {
            column.push(parsed(&record[*at]));
        }
    }
    let names = kept.iter().map(|at| names[*at].clone());
    Table::from_cells(names.zip(columns).collect(), &Places::Lines(lines))
}

fn parsed(text: &str) -> Cell {
    if text.is_empty() {
        return Cell::Missing;
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Cell::Number(number),
        Ok(_) | Err(_) => Cell::Text(text.to_owned()),
    }
}

fn broken(error: &csv::Error) -> TaskError {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            invalid_data(format!(
                "line {line}: {len} values where the header names {expected_len} columns; values that hold a comma stand in quotes"
            ))
        }
        csv::ErrorKind::Utf8 { pos, .. } => {
            let line = pos.as_ref().map_or(1, csv::Position::line);
            invalid_data(format!("line {line}: is not UTF-8; save the file as UTF-8"))
        }
        // The kinds are open to additions; what is left is about writing and seeking.
        _ => invalid_data(format!("the CSV cannot be read: {error}")),
    }
}

fn check_name(name: &str, place: &str) -> Result<(), TaskError> {
    if name.is_empty() {
        return Err(invalid_data(format!("{place}: a column has no name")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(invalid_data(format!(
            "{place}: the column `{}` has a name of {} bytes; {MAX_NAME_BYTES} are allowed",
            short(name),
            name.len()
        )));
    }
    Ok(())
}

/// A table that is there already, less what is ignored.
///
/// # Errors
/// Fatal, class `invalid_input`, when there is no such column.
pub(crate) fn without(table: &Table, ignore: &[String]) -> Result<Table, TaskError> {
    let names: Vec<&str> = table
        .columns()
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    check_ignored(ignore, &names)?;
    let kept = table
        .columns()
        .iter()
        .filter(|column| !ignored(ignore, &column.name));
    Ok(Table::new(kept.cloned().collect()))
}

fn check_ignored(ignore: &[String], names: &[&str]) -> Result<(), TaskError> {
    match ignore.iter().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(TaskError::fatal(
            "invalid_input",
            format!(
                "`ignore`: there is no column `{}`; there are {}",
                short(unknown),
                quoted(names.iter().copied())
            ),
        )),
    }
}

fn ignored(ignore: &[String], name: &str) -> bool {
    ignore.iter().any(|ignored| ignored == name)
}

fn check_size(rows: usize, columns: usize) -> Result<(), TaskError> {
    if rows > MAX_ROWS || columns > MAX_COLUMNS || rows.saturating_mul(columns) > MAX_CELLS {
        return Err(too_large(format!(
            "the data has {rows} rows or more and {columns} columns; at most {MAX_ROWS} rows, {MAX_COLUMNS} columns and {MAX_CELLS} cells are read"
        )));
    }
    Ok(())
}

fn too_large(message: String) -> TaskError {
    TaskError::fatal("too_large", message)
}

#[cfg(test)]
mod tests;
