//! Model files: kept, damaged and forged.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::tabular::architecture::ModelKind;
use crate::tabular::encoding::{Feature, Unseen};
use crate::tabular::read;
use crate::tabular::table::Table;
use crate::testing::Bench;
use proptest::prelude::*;
use serde_json::{Value, json};

fn model(kind: ModelKind) -> Model {
    let encoding = Encoding {
        features: vec![
            Feature {
                name: "size".to_owned(),
                scale: Scale::Number(Standard {
                    mean: 0.1 + 0.2,
                    deviation: 1.0 / 3.0,
                }),
            },
            Feature {
                name: "kind".to_owned(),
                scale: Scale::Category {
                    values: vec!["a".to_owned(), "b".to_owned()],
                },
            },
        ],
        target: Target::Regression {
            name: "price".to_owned(),
            standard: Standard {
                mean: 12.3,
                deviation: 4.5,
            },
        },
        ignored: vec!["id".to_owned()],
    };
    let shape = Shape {
        columns: encoding.widths(),
        outputs: 1,
    };
    let mut chance = fastrand::Rng::with_seed(1);
    let network = Network::fresh(kind.architecture(), shape, &mut chance).unwrap();
    Model { encoding, network }
}

fn some_rows() -> Table {
    read::csv(b"size,kind\n1,a\n-2.5,b\n0.3,a\n", &[]).unwrap()
}

/// The same file with another description, or other tensors' headers.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    [
        &length[..],
        &header,
        &bytes[8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap()..],
    ]
    .concat()
}

fn with_manifest(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_header(bytes, |header| {
        let text = header["__metadata__"][KEY].as_str().unwrap();
        let mut manifest: Value = serde_json::from_str(text).unwrap();
        change(&mut manifest);
        header["__metadata__"][KEY] = json!(manifest.to_string());
    })
}

fn refused(bytes: &[u8]) -> String {
    let error = load("m.safetensors", bytes).unwrap_err();
    assert_eq!(
        (
            error.class.as_str(),
            error.message.contains("`m.safetensors`")
        ),
        ("invalid_model", true)
    );
    error.message
}

#[test]
fn a_model_answers_the_same_once_it_was_stored() {
    let bench = Bench::new();
    for kind in [ModelKind::Linear, ModelKind::Mlp, ModelKind::Transformer] {
        let model = model(kind);
        let bytes = save(&model).unwrap();
        let loaded = load("m", &bytes).unwrap();
        let answers = |model: &Model| {
            model
                .predict(&bench.ctx, &some_rows(), &[0, 1, 2], Unseen::Refuse)
                .unwrap()
        };
        assert_eq!(answers(&model), answers(&loaded), "{kind:?}");
        assert_eq!(save(&loaded).unwrap(), bytes, "{kind:?}");
    }
}

#[test]
fn a_file_cut_short_or_too_long_is_refused_wherever_it_ends() {
    let bytes = save(&model(ModelKind::Linear)).unwrap();
    for length in 0..bytes.len() {
        refused(&bytes[..length]);
    }
    refused(&[&bytes[..], &[0]].concat());
    refused(b"<!doctype html><title>not found</title>");
}

#[test]
fn sizes_that_are_claimed_and_not_there_allocate_nothing() {
    let bytes = save(&model(ModelKind::Linear)).unwrap();
    let mut header = bytes.clone();
    header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(&header);
    let huge = with_header(&bytes, |header| {
        header["output.weight"]["shape"] = json!([1_u64 << 40, 1_u64 << 40]);
    });
    refused(&huge);
    let huge = with_header(&bytes, |header| {
        header["output.weight"]["data_offsets"] = json!([0, 1_u64 << 60]);
    });
    refused(&huge);
    let large = vec![0; usize::try_from(MAX_BYTES).unwrap() + 1];
    assert!(refused(&large).contains("bytes"));
}

#[test]
fn tensors_that_do_not_fit_the_description_are_refused() {
    let bytes = save(&model(ModelKind::Mlp)).unwrap();
    let turned = with_header(&bytes, |header| {
        let shape = &mut header["hidden.0.weight"]["shape"];
        *shape = json!([shape[1], shape[0]]);
    });
    assert!(refused(&turned).contains("`hidden.0.weight` is F32 [3, 64] where F32 [64, 3]"));
    let renamed = with_header(&bytes, |header| {
        let header = header.as_object_mut().unwrap();
        let tensor = header.remove("hidden.0.weight").unwrap();
        header.insert("hidden.9.weight".to_owned(), tensor);
    });
    assert!(refused(&renamed).contains("`hidden.0.weight`"));
    let integers = with_header(&bytes, |header| {
        header["hidden.0.weight"]["dtype"] = json!("I32");
    });
    assert!(refused(&integers).contains("I32"));
    let wider = with_manifest(&bytes, |manifest| {
        manifest["architecture"]["hidden"] = json!([64, 65]);
    });
    assert!(refused(&wider).contains("where F32"));
    let deeper = with_manifest(&bytes, |manifest| {
        manifest["architecture"]["hidden"] = json!([64]);
    });
    assert!(refused(&deeper).contains("tensors"));
}

#[test]
fn descriptions_that_training_would_not_write_are_refused() {
    let bytes = save(&model(ModelKind::Mlp)).unwrap();
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 12] = [
        ("format 2", |m| m["format"] = json!(2)),
        ("cannot be read", |m| {
            m["architecture"]["model"] = json!("oracle");
        }),
        ("cannot be read", |m| m["surprise"] = json!(1)),
        ("beyond", |m| {
            m["architecture"]["hidden"] = json!([1_u64 << 50]);
        }),
        (
            "beyond",
            |m| m["architecture"] = json!({ "model": "transformer", "width": 32, "heads": 5, "layers": 1, "feed_forward": 8 }),
        ),
        (
            "beyond",
            |m| m["architecture"] = json!({ "model": "transformer", "width": 32, "heads": 0, "layers": 1, "feed_forward": 8 }),
        ),
        ("0 columns", |m| m["encoding"]["features"] = json!([])),
        ("two columns `size`", |m| {
            m["encoding"]["features"][1]["name"] = json!("size");
        }),
        ("deviation inf", |m| {
            m["encoding"]["target"]["standard"]["deviation"] = json!("inf");
        }),
        ("mean NaN", |m| {
            m["encoding"]["features"][0]["scale"]["mean"] = json!("NaN");
        }),
        ("values of `kind`", |m| {
            m["encoding"]["features"][1]["scale"]["values"] = json!(["b", "a"]);
        }),
        ("values of `price`", |m| {
            m["encoding"]["target"] =
                json!({ "kind": "classification", "name": "price", "classes": ["only"] });
        }),
    ];
    for (wanted, change) in changes {
        let message = refused(&with_manifest(&bytes, change));
        assert!(message.contains(wanted), "{message}: {wanted}");
    }
    let bare = with_header(&bytes, |header| {
        header["__metadata__"] = json!({ "format": "pt" });
    });
    assert!(refused(&bare).contains(KEY));
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let mut bytes = save(&model(ModelKind::Linear)).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused(&bytes).contains("no finite number"));
}

proptest! {
    /// Whatever a disk or a stranger does to a file: it is refused, or it can be asked.
    #[test]
    fn no_damage_makes_a_panic(at in 0_usize..4000, byte: u8, length in 1_usize..20) {
        let mut bytes = save(&model(ModelKind::Linear)).unwrap();
        let at = at % bytes.len();
        let end = (at + length).min(bytes.len());
        bytes[at..end].fill(byte);
        if let Ok(model) = load("m", &bytes) {
            let _ = model.predict(&Bench::new().ctx, &some_rows(), &[0, 1, 2], Unseen::Blank);
        }
    }
}
