//! What holds for every kind of network.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::tabular::architecture::ModelKind;
use crate::tabular::encoding::single;

const KINDS: [ModelKind; 3] = [ModelKind::Linear, ModelKind::Mlp, ModelKind::Transformer];

fn network(kind: ModelKind) -> Network {
    let shape = Shape {
        columns: vec![1, 3, 1],
        outputs: 2,
    };
    Network::fresh(kind.architecture(), shape, &mut fastrand::Rng::with_seed(5)).unwrap()
}

fn rows(count: usize) -> Tensor {
    let mut chance = fastrand::Rng::with_seed(9);
    let values = (0..count * 5).map(|_| single(chance.f64() - 0.5)).collect();
    tensor(Matrix {
        rows: count,
        width: 5,
        values,
    })
    .unwrap()
}

fn answers(network: &Network, rows: &Tensor) -> Vec<Vec<f32>> {
    network.forward(rows).unwrap().to_vec2().unwrap()
}

/// Operations without a gradient would leave a part as it began, and nothing would tell.
#[test]
fn every_tensor_learns() {
    for kind in KINDS {
        let network = network(kind);
        let loss = network
            .forward(&rows(4))
            .unwrap()
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap();
        let gradients = loss.backward().unwrap();
        for (name, tensor) in network.tensors() {
            let gradient = gradients
                .get(tensor)
                .unwrap_or_else(|| panic!("{kind:?}: {name}"));
            // Query, key and value lie in one tensor, and each must learn.
            let parts = if name.contains(".ask.weight") { 3 } else { 1 };
            for part in gradient.chunk(parts, 0).unwrap() {
                let size = part.abs().unwrap().sum_all().unwrap();
                let size: f32 = size.to_scalar().unwrap();
                assert!(size > 1e-6, "{kind:?}: {name} has a gradient of {size}");
            }
        }
    }
}

#[test]
fn a_row_is_answered_by_itself_whatever_stands_beside_it() {
    for kind in KINDS {
        let network = network(kind);
        let rows = rows(7);
        let together = answers(&network, &rows);
        for (row, answer) in together.iter().enumerate() {
            let alone = answers(&network, &rows.narrow(0, row, 1).unwrap());
            for (alone, together) in alone[0].iter().zip(answer) {
                assert!((alone - together).abs() < 1e-5, "{kind:?}");
            }
        }
    }
}

#[test]
fn every_number_of_a_row_counts() {
    for kind in KINDS {
        let network = network(kind);
        let before = answers(&network, &rows(1));
        for at in 0..5 {
            let mut values: Vec<f32> = rows(1).flatten_all().unwrap().to_vec1().unwrap();
            values[at] += 1.0;
            let moved = tensor(Matrix {
                rows: 1,
                width: 5,
                values,
            })
            .unwrap();
            assert_ne!(answers(&network, &moved), before, "{kind:?}: number {at}");
        }
    }
}

#[test]
fn what_is_listed_is_what_there_is() {
    for kind in KINDS {
        let network = network(kind);
        let listed = network.architecture.parameters(&network.shape);
        let listed: BTreeMap<_, _> = listed.into_iter().map(|one| (one.name, one.dims)).collect();
        let there = network
            .tensors()
            .map(|(name, tensor)| (name.to_owned(), tensor.dims().to_vec()));
        assert_eq!(listed, there.collect());
        let numbers: usize = listed
            .values()
            .map(|dims| dims.iter().product::<usize>())
            .sum();
        assert_eq!(network.count(), numbers);
    }
}
