//! What stands on the land: kinds of things, and how they get onto the picture.

use super::brush::Brush;
use super::crew::{Crew, Part};
use super::frame::{Ink, Pixel};
use super::maths::Rgb;
use super::plan::Plan;
use super::{Stage, buildings, craft, towers, trees};

/// A kind of thing that stands somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pine,
    Tree,
    Palm,
    Cactus,
    Rock,
    Tuft,
    House,
    Lighthouse,
    Church,
    Castle,
    Windmill,
    Block,
    Bridge,
    Tent,
    Boat,
    Balloon,
    Bird,
    Campfire,
    Fence,
    Fall,
}

/// One thing at one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prop {
    pub(super) kind: Kind,
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) z: f32,
    /// Metres high, or across for what is wider than high.
    pub(super) size: f32,
    /// Half the width, where it is not a share of the size.
    pub(super) width: f32,
    /// -1 to 1: which way it leans or looks.
    pub(super) turn: f32,
    pub(super) salt: u32,
    pub(super) hue: Option<Rgb>,
}

/// Lays every thing over the land, far ones first.
pub(super) fn draw(
    plan: &Plan,
    pixels: &[Pixel],
    inks: &mut [Ink],
    crew: &mut Crew<'_>,
) -> Option<()> {
    let width = plan.view.width;
    // Bands small enough to stop soon, large enough not to ask everybody too often.
    let rows = (8192 / width).clamp(1, 8);
    let flow = crew.pieces(
        Part(Stage::Things, 0.0, 1.0),
        inks,
        width * rows,
        |n, band| {
            let mut brush = Brush {
                plan,
                pixels,
                band,
                first_row: n * rows,
            };
            for prop in &plan.props {
                prop.draw(&mut brush);
            }
        },
    );
    flow.is_continue().then_some(())
}

impl Prop {
    fn draw(&self, brush: &mut Brush<'_>) {
        let stand = brush.stand(self.x, self.y, self.z);
        let r = self.size.max(self.width) * 5.0;
        if !brush.reaches(&stand, [-r, -r, r, r]) {
            return;
        }
        if let Some(half) = self.footing() {
            buildings::footing(brush, &stand, half);
        }
        match self.kind {
            Kind::Pine => trees::pine(brush, &stand, self),
            Kind::Tree => trees::tree(brush, &stand, self),
            Kind::Palm => trees::palm(brush, &stand, self),
            Kind::Cactus => trees::cactus(brush, &stand, self),
            Kind::Rock => trees::rock(brush, &stand, self),
            Kind::Tuft => trees::tuft(brush, &stand, self),
            Kind::House => buildings::house(brush, &stand, self),
            Kind::Lighthouse => towers::lighthouse(brush, &stand, self),
            Kind::Church => buildings::church(brush, &stand, self),
            Kind::Castle => towers::castle(brush, &stand, self),
            Kind::Windmill => buildings::windmill(brush, &stand, self),
            Kind::Block => towers::block(brush, &stand, self),
            Kind::Bridge => buildings::bridge(brush, &stand, self),
            Kind::Tent => buildings::tent(brush, &stand, self),
            Kind::Boat => craft::boat(brush, &stand, self),
            Kind::Balloon => craft::balloon(brush, &stand, self),
            Kind::Bird => craft::bird(brush, &stand, self),
            Kind::Campfire => craft::campfire(brush, &stand, self),
            Kind::Fence => craft::fence(brush, &stand, self),
            Kind::Fall => craft::fall(brush, &stand, self),
        }
    }
}

impl Prop {
    /// Half the width of the shadow at its foot.
    fn footing(&self) -> Option<f32> {
        match self.kind {
            Kind::Pine => Some(self.size * 0.16),
            Kind::Tree => Some(self.size * 0.26),
            Kind::Palm | Kind::Cactus => Some(self.size * 0.08),
            Kind::House | Kind::Tent => Some(self.size * 0.95),
            Kind::Church => Some(self.size * 0.42),
            Kind::Windmill => Some(self.size * 0.22),
            Kind::Rock => Some(self.size),
            Kind::Tuft
            | Kind::Lighthouse
            | Kind::Castle
            | Kind::Block
            | Kind::Bridge
            | Kind::Boat
            | Kind::Balloon
            | Kind::Bird
            | Kind::Campfire
            | Kind::Fence
            | Kind::Fall => None,
        }
    }
}
