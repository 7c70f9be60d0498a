//! Tables well and badly written.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::tabular::table::Cells;
use serde_json::json;

fn list(value: &Value) -> Vec<Map<String, Value>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn ignoring(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn refused(text: &str) -> String {
    let error = csv(text.as_bytes(), &[]).unwrap_err();
    assert_eq!(error.class, "invalid_data");
    error.message
}

#[test]
fn csv_gives_numbers_and_texts_however_it_is_written() {
    let text = "\u{feff}size ,\"what, exactly\" , sold\r\n 1.5 ,\"a \"\"b\"\", c\",true\r\n-2e3,d,false\r\n";
    let table = csv(text.as_bytes(), &[]).unwrap();
    assert_eq!(table.names(), "`size`, `what, exactly`, `sold`");
    let cells: Vec<&Cells> = table.columns().iter().map(|column| &column.cells).collect();
    let texts = |texts: [&str; 2]| Cells::Texts(texts.map(str::to_owned).to_vec());
    assert_eq!(*cells[0], Cells::Numbers(vec![1.5, -2000.0]));
    assert_eq!(*cells[1], texts(["a \"b\", c", "d"]));
    assert_eq!(*cells[2], texts(["true", "false"]));
}

#[test]
fn a_mistake_in_csv_is_told_with_its_line_column_and_value() {
    let table = [
        ("a,b\n1,2\n3\n", vec!["line 3", "1 values", "2 columns"]),
        ("a,b\n1,2\n3,\n", vec!["line 3", "`b`", "no value"]),
        (
            "a,b\n1,2\n3,x\n5,6\n",
            vec!["line 3", "`b`", "`x`", "numbers"],
        ),
        (
            "a,b\n1,2\n3,NaN\n5,6\n",
            vec!["line 3", "`NaN`", "no finite number"],
        ),
        (
            "a,b\n1,2\n3,1e999\n5,6\n",
            vec!["line 3", "`1e999`", "no finite number"],
        ),
        ("a,b\n1,2\n3,1e200\n", vec!["line 3", "`b`", "1e200"]),
        ("a,b\n1,x\n3,7\n5,y\n", vec!["line 3", "`7`", "text"]),
        ("a,a\n1,2\n", vec!["line 1", "two columns", "`a`"]),
        ("a,\n1,2\n", vec!["line 1", "no name"]),
        ("", vec!["line 1"]),
        // A line break within quotes: the record begins on line 3.
        ("a,b\n1,2\n\"\n\n\",2\n\n4,oops\n", vec!["line 3", "`a`"]),
    ];
    for (text, wanted) in table {
        let message = refused(text);
        for word in wanted {
            assert!(message.contains(word), "{text:?}: {message}: {word}");
        }
    }
    let error = csv(b"a,b\n1,2\n3,\xff\n", &[]).unwrap_err();
    assert!(
        error.message.contains("line 3") && error.message.contains("UTF-8"),
        "{error}"
    );
}

#[test]
fn a_mistake_in_rows_is_told_with_its_place() {
    let table = [
        (
            json!([{ "a": 1 }, { "a": null }]),
            "rows[1]: `a` has no value",
        ),
        (json!([{ "a": 1 }, {}]), "rows[1]: `a` has no value"),
        (
            json!([{ "a": 1 }, { "a": 2, "b": 3 }]),
            "rows[0]: `b` has no value",
        ),
        (
            json!([{ "a": 1 }, { "a": "x" }, { "a": 3 }]),
            "rows[1]: `a` is `x`",
        ),
        (json!([{ "a": [1] }]), "rows[0]: `a` is a list"),
        (json!([{ "": 1 }]), "no name"),
    ];
    for (rows_given, wanted) in table {
        let error = rows(&list(&rows_given), &[]).unwrap_err();
        assert!(error.message.contains(wanted), "{error}: {wanted}");
    }
}

#[test]
fn what_is_ignored_may_be_anything_but_must_be_there() {
    let given = list(&json!([{ "a": 1, "note": null }, { "a": 2, "note": ["x"] }]));
    let table = rows(&given, &ignoring(&["note"])).unwrap();
    assert_eq!(table.names(), "`a`");
    let text = "a,note\n1,\n2,7\n3,x\n";
    let table = csv(text.as_bytes(), &ignoring(&["note"])).unwrap();
    assert_eq!((table.names().as_str(), table.rows()), ("`a`", 3));
    let error = csv(text.as_bytes(), &ignoring(&["nota"])).unwrap_err();
    assert!(
        error.message.contains("`nota`") && error.message.contains("`note`"),
        "{error}"
    );
}

#[test]
fn more_columns_and_cells_than_are_read_are_refused_in_the_header() {
    let wide: Vec<String> = (0..=MAX_COLUMNS).map(|at| format!("c{at}")).collect();
    let error = csv(wide.join(",").as_bytes(), &[]).unwrap_err();
    assert_eq!(error.class, "too_large");
    let row: Map<String, Value> = wide.iter().map(|name| (name.clone(), json!(1))).collect();
    assert_eq!(rows(&[row], &[]).unwrap_err().class, "too_large");
}
