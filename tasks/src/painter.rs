//! A landscape painter: words in, pixels out, no weights and no network.
//!
//! [`Scene::from_prompt`] finds in a prompt the places, the hour, the manner and
//! the things it knows; [`paint`] decides a composition from the seed and paints
//! it from back to front, in linear light:
//!
//! ```text
//! words → Scene → Plan ─┬─ sky:    gradient, sun or moon, clouds, stars
//!                       ├─ land:   heights → what each pixel sees → shaded ground
//!                       ├─ things: trees, houses, boats, over the land they stand on
//!                       ├─ light:  water (mirrors all of the above), beams, rain, glow
//!                       └─ finish: bloom, tone, style, grain
//! ```
//!
//! The same scene, size and seed give the same bytes on every machine and with
//! any number of threads. Knows no engine, no files and no clock.

mod bloom;
mod brush;
mod buildings;
mod clouds;
mod craft;
mod crew;
mod draft;
mod field;
mod finish;
mod frame;
mod ground;
mod manner;
mod maths;
mod noise;
mod palette;
mod placing;
mod plan;
mod prompt;
mod props;
mod relief;
mod scene;
mod sketch;
mod sky;
mod towers;
mod trees;
mod view;
mod water;
mod weather;
mod words;

use std::ops::ControlFlow;

use image::RgbImage;

pub use prompt::Understood;
pub use scene::{Hue, Land, Scene, Style, Thing, Time, Wish};
pub use sketch::Sketch;

use crew::{Crew, Part};
use field::{Field, covered};
use frame::{Ink, Pixel, SKY, WATER};
use ground::{Ground, haze};
use maths::{Rgb, lerp};
use plan::Plan;
use water::Water;

/// The smallest side of a picture.
pub const MIN_SIDE: u32 = 16;
/// The largest side of a picture.
pub const MAX_SIDE: u32 = 4096;

/// The size of a picture, and what decides its composition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Another seed, another picture of the same scene.
    pub seed: u64,
}

/// What the painter is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Gradient, sun, clouds, stars.
    Sky,
    /// Ground.
    Land,
    /// What stands on it.
    Things,
    /// Water, beams, weather.
    Light,
    /// Tone and style.
    Finish,
}

impl Stage {
    /// What people may read: `painting the sky`.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Sky => "painting the sky",
            Self::Land => "shaping the land",
            Self::Things => "placing things",
            Self::Light => "letting light fall",
            Self::Finish => "finishing the picture",
        }
    }

    /// Where the stage begins and ends, as shares of the whole work.
    #[must_use]
    pub fn span(self) -> (f32, f32) {
        match self {
            Self::Sky => (0.0, 0.22),
            Self::Land => (0.22, 0.62),
            Self::Things => (0.62, 0.75),
            Self::Light => (0.75, 0.9),
            Self::Finish => (0.9, 1.0),
        }
    }
}

/// Paints a scene with as many threads as there are cores, eight at most.
///
/// `on_stage` hears how far each stage is, from 0 to 1, at least every few rows;
/// when it answers `Break`, the picture is dropped and the answer is `None`.
/// Sides are clamped to [`MIN_SIDE`]`..=`[`MAX_SIDE`].
pub fn paint(
    scene: &Scene,
    canvas: &Canvas,
    on_stage: &mut dyn FnMut(Stage, f32) -> ControlFlow<()>,
) -> Option<RgbImage> {
    paint_showing(scene, canvas, on_stage, &mut |_| {})
}

/// [`paint`], which shows what there is of the picture after each stage.
pub fn paint_showing(
    scene: &Scene,
    canvas: &Canvas,
    on_stage: &mut dyn FnMut(Stage, f32) -> ControlFlow<()>,
    on_sketch: &mut dyn FnMut(&Sketch<'_>),
) -> Option<RgbImage> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    begin(threads, scene, canvas, on_stage, on_sketch)
}

/// [`paint`] with a given number of threads, which never shows in the picture.
pub fn paint_with(
    threads: usize,
    scene: &Scene,
    canvas: &Canvas,
    on_stage: &mut dyn FnMut(Stage, f32) -> ControlFlow<()>,
) -> Option<RgbImage> {
    begin(threads, scene, canvas, on_stage, &mut |_| {})
}

fn begin(
    threads: usize,
    scene: &Scene,
    canvas: &Canvas,
    on_stage: &mut dyn FnMut(Stage, f32) -> ControlFlow<()>,
    on_sketch: &mut dyn FnMut(&Sketch<'_>),
) -> Option<RgbImage> {
    let canvas = Canvas {
        width: canvas.width.clamp(MIN_SIDE, MAX_SIDE),
        height: canvas.height.clamp(MIN_SIDE, MAX_SIDE),
        seed: canvas.seed,
    };
    let plan = Plan::new(scene, &canvas);
    let mut crew = Crew::new(threads, on_stage);
    Painting {
        plan: &plan,
        pixels: vec![Pixel::default(); plan.view.width * plan.view.height],
    }
    .run(&mut crew, on_sketch)
}

struct Painting<'a> {
    plan: &'a Plan,
    pixels: Vec<Pixel>,
}

impl Painting<'_> {
    fn run(
        mut self,
        crew: &mut Crew<'_>,
        on_sketch: &mut dyn FnMut(&Sketch<'_>),
    ) -> Option<RgbImage> {
        let plan = self.plan;
        let mut show = |color: &dyn Fn(usize) -> Rgb| on_sketch(&Sketch { plan, color });
        let light = {
            let way = plan.light.way;
            way.x.signum() * way.y / way.x.abs().max(0.1)
        };
        self.sky(crew)?;
        show(&|at| self.pixels[at].color);
        let field = Field::survey(&plan.relief, &plan.view, light, plan.focus, crew)?;
        self.land(&field, crew)?;
        show(&|at| self.pixels[at].color);
        let inks = self.things(crew)?;
        show(&|at| self.pixels[at].color * (1.0 - inks[at].alpha) + inks[at].color);
        let colors = self.light(&field, &inks, crew)?;
        show(&|at| colors[at]);
        drop((field, inks));
        finish::finish(plan, &colors, &self.pixels, crew)
    }

    fn sky(&mut self, crew: &mut Crew<'_>) -> Option<()> {
        let (plan, width) = (self.plan, self.plan.view.width);
        // A little below the horizon too: land may lie lower at the edges.
        let last = plan.view.horizon + 2.0;
        let flow = crew.pieces(
            Part(Stage::Sky, 0.0, 1.0),
            &mut self.pixels,
            width,
            |y, row| {
                let line = y as f32 + 0.5;
                for (x, pixel) in row.iter_mut().enumerate() {
                    pixel.z = SKY;
                    if line < last {
                        pixel.color = plan.sky.color(&plan.palette, x as f32 + 0.5, line);
                    }
                }
            },
        );
        flow.is_continue().then_some(())
    }

    fn land(&mut self, field: &Field, crew: &mut Crew<'_>) -> Option<()> {
        let plan = self.plan;
        let view = &plan.view;
        let wet = plan.relief.has_water();
        let ground = Ground {
            view,
            relief: &plan.relief,
            soil: &plan.soil,
            light: &plan.light,
        };
        let flow = crew.pieces(
            Part(Stage::Land, 0.5, 1.0),
            &mut self.pixels,
            view.width,
            |y, row| {
                for (x, pixel) in row.iter_mut().enumerate() {
                    let hit = &field.hits[y * view.width + x];
                    if hit.share[0] <= 0.0 {
                        continue;
                    }
                    let mut sum = pixel.color * (1.0 - covered(hit));
                    for (slice, share) in hit.slice.into_iter().zip(hit.share) {
                        if share <= 0.0 {
                            continue;
                        }
                        let spot = field.spot(view, x, slice, wet);
                        if wet && spot.bed < 0.0 {
                            if share >= 0.5 {
                                pixel.z = WATER;
                            }
                            continue;
                        }
                        let air = plan.haze_color(x as f32 + 0.5, y as f32);
                        let veil = plan.veil(spot.y, spot.z);
                        sum += ground.color(&spot).mix(air, veil) * share;
                        if share >= 0.5 {
                            pixel.z = spot.z;
                        }
                    }
                    pixel.color = sum;
                }
            },
        );
        flow.is_continue().then_some(())
    }

    fn things(&mut self, crew: &mut Crew<'_>) -> Option<Vec<Ink>> {
        let mut inks = vec![Ink::default(); self.pixels.len()];
        props::draw(self.plan, &self.pixels, &mut inks, crew)?;
        Some(inks)
    }

    /// Adds the water, and lays things over the land.
    fn light(&self, field: &Field, inks: &[Ink], crew: &mut Crew<'_>) -> Option<Vec<Rgb>> {
        let plan = self.plan;
        let view = &plan.view;
        let wet = plan.relief.has_water();
        let water = Water {
            view,
            palette: &plan.palette,
            sky: &plan.sky,
            light: &plan.light,
            salt: plan.salt,
            rough: plan.rough,
            foam: plan.foam,
            sunny: self.sunny(inks),
            pixels: &self.pixels,
            inks,
        };
        let mut colors = vec![Rgb::default(); self.pixels.len()];
        let flow = crew.pieces(
            Part(Stage::Light, 0.0, 1.0),
            &mut colors,
            view.width,
            |y, row| {
                for (x, out) in row.iter_mut().enumerate() {
                    let at = y * view.width + x;
                    let hit = &field.hits[at];
                    let mut sum = self.pixels[at].color;
                    if wet && inks[at].alpha < 0.999 {
                        for (slice, share) in hit.slice.into_iter().zip(hit.share) {
                            if share <= 0.0 {
                                continue;
                            }
                            let spot = field.spot(view, x, slice, true);
                            if spot.bed >= 0.0 {
                                continue;
                            }
                            let air = plan.haze_color(x as f32 + 0.5, y as f32);
                            // Water mirrors the air already: less of it lies before.
                            let veil = lerp(0.0, plan.veil(spot.y, spot.z), 0.6);
                            sum += water.color(&spot, x, y).mix(air, veil) * share;
                        }
                    }
                    *out = sum * (1.0 - inks[at].alpha) + inks[at].color;
                }
            },
        );
        flow.is_continue().then_some(colors)
    }

    /// How much of the sun's or moon's disc is seen.
    fn sunny(&self, inks: &[Ink]) -> f32 {
        let view = &self.plan.view;
        let (x, y) = self.plan.sky.luminary.at;
        if y < 0.0 || x < 0.0 || x >= view.width as f32 {
            return 1.0;
        }
        let at = maths::index(y, view.height) * view.width + maths::index(x, view.width);
        if self.pixels[at].z == SKY && inks[at].alpha < 0.5 {
            1.0
        } else {
            0.25
        }
    }
}

impl Plan {
    /// The colour distance fades into, at a pixel.
    fn haze_color(&self, column: f32, row: f32) -> Rgb {
        let low = self.view.horizon - 0.02 * self.view.focal;
        // Land stands before the sun: its air glows less than the sky's.
        let air = self.sky.air_with(&self.palette, column, row.min(low), 0.4);
        air.map(|c| c.min(1.1))
    }

    /// How much of what is seen at a place is air.
    fn veil(&self, y: f32, z: f32) -> f32 {
        let clear = 1.0 - haze(&self.palette, self.air, y, z);
        1.0 - clear * (1.0 - 0.62 * self.mist * plan::mist_at(y, z))
    }
}
