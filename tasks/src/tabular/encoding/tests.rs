//! What an encoding learns, from which rows, and what it refuses.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::tabular::read;

/// Four rows to learn from, and two that are held out.
const TABLE: &str =
    "n,text,same,y\n1,a,7,10\n3,b,7,20\n1,a,7,10\n3,b,7,20\n500,c,8,9000\n-500,a,7,-9000\n";

fn table(text: &str) -> Table {
    read::csv(text.as_bytes(), &[]).unwrap()
}

fn fitted(text: &str) -> Encoding {
    let table = table(text);
    let answers = Answers::of(&table, "y", None).unwrap();
    Encoding::fit(&table, "y", &answers, &[0, 1, 2, 3], &["note".to_owned()]).unwrap()
}

fn refused(text: &str) -> String {
    let table = table(text);
    let all: Vec<usize> = (0..table.rows()).collect();
    let error = fitted(TABLE)
        .encode(&table, &all, Unseen::Refuse)
        .unwrap_err();
    assert_eq!(error.class, "invalid_data");
    error.message
}

#[test]
fn the_held_out_part_moves_nothing() {
    let other = TABLE
        .replace("500,c,8,9000", "-1,q,3,4")
        .replace("-500,a,7,-9000", "77,z,7,8");
    assert_eq!(fitted(TABLE), fitted(&other));
    let learned = TABLE.replace("3,b,7,20\n1", "4,b,7,20\n1");
    assert_ne!(fitted(TABLE), fitted(&learned));
}

#[test]
fn cells_become_deviations_and_ones() {
    let encoding = fitted(TABLE);
    assert_eq!(encoding.widths(), [1, 2, 1]);
    let encoded = encoding
        .encode(&table(TABLE), &[1, 4], Unseen::Blank)
        .unwrap();
    // A mean of 2 and a deviation of 1; `c` is new; what never varied says nothing.
    assert_eq!(encoded.values, [1.0, 0.0, 1.0, 0.0, 498.0, 0.0, 0.0, 0.0]);
    let Target::Regression { standard, .. } = encoding.target else {
        panic!("numbers are regression");
    };
    assert_eq!((standard.mean, standard.deviation), (15.0, 5.0));
    assert_eq!(standard.restore(-1.0), 10.0);
}

#[test]
fn whatever_does_not_fit_the_model_is_named() {
    assert!(refused("n,text\n1,a\n").contains("lack what the model was trained on: `same`"));
    let unknown = refused("n,text,same,more\n1,a,7,1\n");
    assert!(
        unknown.contains("`more`") && unknown.contains("`n`, `text`, `same`"),
        "{unknown}"
    );
    let value = refused("n,text,same\n1,a,7\n1,x,7\n");
    assert!(
        value.contains("`text` is `x`") && value.contains("`a`, `b`"),
        "{value}"
    );
    assert!(refused("n,text,same\nmany,a,7\n").contains("`n` is text (`many`)"));
    assert!(refused("n,text,same\n1,2,7\n").contains("`text` is a number (`2`)"));
}

#[test]
fn the_target_and_what_was_ignored_may_be_there() {
    let with = table("n,text,same,y,note\n1,a,7,1,x\n");
    let without = table("n,text,same\n1,a,7\n");
    let encode = |table| fitted(TABLE).encode(table, &[0], Unseen::Refuse).unwrap();
    assert_eq!(encode(&with), encode(&without));
}

#[test]
fn columns_that_cannot_be_learned_from_are_named() {
    let ids: String = (0..30).map(|row| format!("id {row},{row}\n")).collect();
    let cases = [
        (format!("name,y\n{ids}"), "`name` has 30 different texts"),
        (
            format!("t,y\n{},1\nb,2\n", "a".repeat(300)),
            "`t` holds a text of 300 bytes",
        ),
        ("y\n1\n2\n".to_owned(), "no column besides `y`"),
        ("a,y\n1,3\n2,3\n".to_owned(), "`y` is 3 in every row"),
    ];
    for (text, wanted) in cases {
        let table = table(&text);
        let answers = Answers::of(&table, "y", None).unwrap();
        let all: Vec<usize> = (0..table.rows()).collect();
        let error = Encoding::fit(&table, "y", &answers, &all, &[]).unwrap_err();
        assert!(error.message.contains(wanted), "{error}: {wanted}");
    }
}

#[test]
fn targets_are_read_as_they_are_or_as_is_said() {
    let table = table("a,n,t\n1,0,x\n2,1,y\n");
    let of = |target, stated| Answers::of(&table, target, stated);
    assert_eq!(of("n", None).unwrap(), Answers::Numbers(vec![0.0, 1.0]));
    let classes = |names: [&str; 2]| Answers::Classes {
        names: names.map(str::to_owned).to_vec(),
        of_row: vec![0, 1],
    };
    assert_eq!(
        of("n", Some(Kind::Classification)).unwrap(),
        classes(["0", "1"])
    );
    assert_eq!(of("t", None).unwrap(), classes(["x", "y"]));
    let error = of("t", Some(Kind::Regression)).unwrap_err();
    assert!(error.message.contains("`t` holds text"), "{error}");
    let error = of("z", None).unwrap_err();
    assert!(
        error.message.contains("`z`") && error.message.contains("`a`, `n`, `t`"),
        "{error}"
    );
}

#[test]
fn too_many_classes_or_one_alone_are_refused() {
    let numbers: String = (0..60).map(|row| format!("{row}\n")).collect();
    let many = table(&format!("y\n{numbers}"));
    let error = Answers::of(&many, "y", Some(Kind::Classification)).unwrap_err();
    assert!(error.message.contains("60 classes"), "{error}");
    let error = Answers::of(&table("y\nx\nx\n"), "y", None).unwrap_err();
    assert!(error.message.contains("`x` in every row"), "{error}");
}

#[test]
fn numbers_are_kept_to_the_last_bit() {
    let mut chance = fastrand::Rng::with_seed(3);
    for _ in 0..10_000 {
        let any = f64::from_bits(chance.u64(..));
        let mean = if any.is_finite() { any } else { 0.1 };
        let standard = Standard {
            mean,
            deviation: chance.f64(),
        };
        let json = serde_json::to_string(&standard).unwrap();
        assert_eq!(serde_json::from_str::<Standard>(&json).unwrap(), standard);
    }
}
