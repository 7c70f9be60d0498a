//! From light to a picture: bloom, tone, the hand of a style, grain.

use image::RgbImage;

use super::Stage;
use super::bloom::Bloom;
use super::crew::{Crew, Part};
use super::frame::Pixel;
use super::manner::Manner;
use super::maths::{Rgb, byte, clamp01, index, lerp, smooth, v3};
use super::noise::cell;
use super::plan::Plan;
use super::scene::Style;
use super::weather::Weather;

/// Turns linear light into bytes.
pub(super) fn finish(
    plan: &Plan,
    colors: &[Rgb],
    pixels: &[Pixel],
    crew: &mut Crew<'_>,
) -> Option<RgbImage> {
    let (width, height) = (plan.view.width, plan.view.height);
    let bloom = Bloom::new(colors, (width, height), plan.view.unit(), crew)?;
    let weather = Weather::new(plan);
    let tone = Tone::new(plan.style);
    let strength = if plan.style == Style::Neon { 1.15 } else { 1.0 };
    let mut toned = vec![Rgb::default(); width * height];
    let flow = crew.pieces(
        Part(Stage::Finish, 0.1, 0.5),
        &mut toned,
        width,
        |y, row| {
            for (x, out) in row.iter_mut().enumerate() {
                let at = y * width + x;
                let light =
                    weather.over(x, y, pixels[at].z, colors[at] + bloom.at(x, y) * strength);
                *out = tone.of(light * corner(plan, x, y));
            }
        },
    );
    if flow.is_break() {
        return None;
    }
    let manner = Manner::new(plan, pixels, &toned);
    let mut bytes = vec![0u8; width * height * 3];
    let flow = crew.pieces(
        Part(Stage::Finish, 0.5, 1.0),
        &mut bytes,
        width * 3,
        |y, row| {
            let iy = i32::try_from(y).unwrap_or(0);
            for (x, out) in row.chunks_exact_mut(3).enumerate() {
                let ix = i32::try_from(x).unwrap_or(0);
                let color = manner.color(x, y);
                // Two dice make a triangle of noise: skies show no bands.
                let grain = cell(ix, iy, plan.salt) + cell(ix, iy, plan.salt ^ 1) - 1.0;
                for (o, c) in out.iter_mut().zip([color.x, color.y, color.z]) {
                    *o = byte(c * 255.0 + 0.5 + grain * manner.grain());
                }
            }
        },
    );
    if flow.is_break() {
        return None;
    }
    RgbImage::from_raw(
        u32::try_from(width).ok()?,
        u32::try_from(height).ok()?,
        bytes,
    )
}

/// Light to the levels of a screen, in the colours of a style: without what a finished picture has besides.
pub(super) struct Tone {
    curve: Curve,
    style: Style,
}

impl Tone {
    pub(super) fn new(style: Style) -> Self {
        Self {
            curve: Curve::new(),
            style,
        }
    }

    pub(super) fn of(&self, light: Rgb) -> Rgb {
        grade(self.style, shoulder(light).map(|c| self.curve.level(c)))
    }
}

/// Corners a little darker, so that the eye stays inside.
fn corner(plan: &Plan, x: usize, y: usize) -> f32 {
    let depth = match plan.style {
        Style::Noir => 0.62,
        Style::Sepia => 0.45,
        Style::Pastel | Style::Watercolor | Style::Woodcut => 0.10,
        Style::Plain | Style::Neon | Style::Autumn | Style::Winter | Style::Oil => 0.34,
    };
    let u = x as f32 / plan.view.width as f32 - 0.5;
    let v = y as f32 / plan.view.height as f32 - 0.5;
    1.0 - depth * smooth(0.16, 0.72, u * u + v * v)
}

/// The colours of a style, on screen levels from 0 to 1.
fn grade(style: Style, c: Rgb) -> Rgb {
    let contrast = |x: f32, k: f32| clamp01(lerp(x, x * x * (3.0 - 2.0 * x), k));
    match style {
        Style::Plain | Style::Oil | Style::Neon => c.map(|x| contrast(x, 0.18)),
        Style::Watercolor => c.saturate(1.05).map(|x| clamp01(0.06 + x * 0.98)),
        Style::Autumn => (c * v3(1.04, 1.0, 0.93)).map(|x| contrast(x, 0.2)),
        Style::Winter => (c.saturate(0.88) * v3(0.97, 1.0, 1.04)).map(|x| contrast(x, 0.15)),
        Style::Pastel => c
            .saturate(0.95)
            .map(|x| clamp01(0.14 + 0.85 * x))
            .mix(v3(0.98, 0.93, 0.92), 0.14),
        Style::Noir => {
            let grey = clamp01(c.x * 0.42 + c.y * 0.46 + c.z * 0.12);
            let hard = contrast(contrast(grey, 0.9), 0.4);
            v3(hard, hard, hard * 0.985)
        }
        Style::Sepia => {
            let grey = contrast(clamp01(c.x * 0.36 + c.y * 0.50 + c.z * 0.14), 0.35);
            v3(0.13, 0.085, 0.05).mix(v3(0.97, 0.90, 0.76), grey)
        }
        Style::Woodcut => c,
    }
}

/// Bright colours bend towards white instead of being cut off.
fn shoulder(c: Rgb) -> Rgb {
    let grey = c.luma();
    let over = (grey - 1.0).max(0.0);
    let pale = over / (over + 1.6);
    c.mix(v3(grey, grey, grey), pale * 0.7).map(|x| {
        let x = x.max(0.0);
        if x < 0.6 {
            x
        } else {
            0.6 + 0.4 * ((x - 0.6) / (x - 0.2))
        }
    })
}

/// Linear light to screen levels from 0 to 1, from a table.
struct Curve(Vec<f32>);

impl Curve {
    fn new() -> Self {
        let level = |i: u16| {
            let root = f32::from(i) / 2048.0;
            let c = root * root;
            if c <= 0.003_130_8 {
                12.92 * c
            } else {
                1.055 * libm::powf(c, 1.0 / 2.4) - 0.055
            }
        };
        Self((0u16..=2048).map(level).collect())
    }

    fn level(&self, c: f32) -> f32 {
        let at = clamp01(c).sqrt() * 2048.0;
        let i = index(at, 2048);
        lerp(self.0[i], self.0[i + 1], at - i as f32)
    }
}
