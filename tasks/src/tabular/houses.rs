//! The table to try things out with: a thousand made-up houses and what they cost.
//!
//! Nothing here was ever measured. Prices follow a rule that a plain sum of the
//! columns cannot express (the price of a square metre falls off with distance,
//! what age takes away a good energy class partly gives back, a garden is worth
//! more in town), with noise of 5 % on top. The energy class follows age and
//! heating, with some chance. It is the same table every time.

use super::table::{Cells, Column, Table};

/// The column that is asked for unless another is named.
pub(crate) const TARGET: &str = "price";
const ROWS: usize = 1000;
/// Any other number would make another table.
const SEED: u64 = 0x05ee_d0f4_05e5;

/// Makes the table.
pub(crate) fn table() -> Table {
    let mut chance = fastrand::Rng::with_seed(SEED);
    let houses: Vec<House> = (0..ROWS).map(|_| House::build(&mut chance)).collect();
    let number = |name: &str, of: fn(&House) -> f64| Column {
        name: name.to_owned(),
        cells: Cells::Numbers(houses.iter().map(of).collect()),
    };
    let text = |name: &str, of: fn(&House) -> &str| Column {
        name: name.to_owned(),
        cells: Cells::Texts(houses.iter().map(|house| of(house).to_owned()).collect()),
    };
    Table::new(vec![
        number("area_m2", |house| house.area),
        number("rooms", |house| house.rooms),
        number("age_years", |house| house.age),
        number("distance_km", |house| house.distance),
        text("heating", |house| house.heating),
        text(
            "garden",
            |house| if house.garden { "true" } else { "false" },
        ),
        text("energy_class", |house| house.energy_class),
        number(TARGET, |house| house.price),
    ])
}

struct House {
    area: f64,
    rooms: f64,
    age: f64,
    distance: f64,
    heating: &'static str,
    garden: bool,
    energy_class: &'static str,
    price: f64,
}

impl House {
    fn build(chance: &mut fastrand::Rng) -> Self {
        let area = (40.0 + 180.0 * libm::pow(chance.f64(), 1.5)).round();
        let rooms = (area / 28.0 + 2.0 * chance.f64()).round().max(1.0);
        let age = (90.0 * chance.f64()).round();
        let distance = (300.0 * chance.f64()).round() / 10.0;
        let heating = ["gas", "district", "heat pump"][chance.usize(..3)];
        let garden = chance.f64() < 0.2 + distance / 50.0;
        let modern = if heating == "heat pump" { 25.0 } else { 0.0 };
        let wear = age - modern + 12.0 * bell(chance);
        let (energy_class, thrift) = if wear < 10.0 {
            ("A", 1.0)
        } else if wear < 30.0 {
            ("B", 0.7)
        } else if wear < 55.0 {
            ("C", 0.3)
        } else {
            ("D", 0.0)
        };
        let square_metre = 2000.0 + 5000.0 * libm::exp(-distance / 9.0);
        let worn = 1.0 - 0.45 * (age / 90.0) * (1.0 - 0.6 * thrift);
        let outside = if garden {
            60_000.0 * libm::exp(-distance / 12.0)
        } else {
            0.0
        };
        let price = (area * square_metre * worn + outside) * (1.0 + 0.05 * bell(chance));
        Self {
            area,
            rooms,
            age,
            distance,
            heating,
            garden,
            energy_class,
            price: (price / 100.0).round() * 100.0,
        }
    }
}

/// Nearly a normal number, by the sum of twelve even ones.
fn bell(chance: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| chance.f64()).sum::<f64>() - 6.0
}
