//! What the ground is made of and how light falls on it.

use super::field::Spot;
use super::maths::{Rgb, V3, clamp01, exp, floor, lerp, sin, smooth, v3};
use super::noise::{cell, fbm, value, wave};
use super::palette::Palette;
use super::relief::Relief;
use super::view::View;

/// What covers the plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    Grass,
    Sand,
    Snow,
    /// Bare, dry rock.
    Rock,
    /// Streets and quays.
    Stone,
    /// Needles and moss under trees.
    Litter,
}

/// The materials of a picture, before any light falls on them.
#[derive(Debug, Clone)]
pub(super) struct Soil {
    pub(super) cover: Cover,
    pub(super) grass: Rgb,
    pub(super) woods: Rgb,
    pub(super) rock: (Rgb, Rgb),
    pub(super) sand: Rgb,
    pub(super) snow: Rgb,
    /// Above this height snow lies.
    pub(super) snowline: f32,
    /// Below this height distant slopes carry woods; zero for bare ones.
    pub(super) treeline: f32,
    /// Whether snow lies on trees and roofs.
    pub(super) snowy: bool,
    /// How plain the layers of the rock are, 0 to 1.
    pub(super) strata: f32,
    pub(super) flowers: Option<[Rgb; 3]>,
    /// Fields in different greens on the slopes.
    pub(super) crops: bool,
    pub(super) path: bool,
    /// Spray where rock meets the sea.
    pub(super) surf: bool,
    /// A glowing molten top above this height.
    pub(super) lava: f32,
    /// Lines of light every so many metres.
    pub(super) grid: bool,
}

/// Where light comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Light {
    /// The way to it.
    pub(super) way: V3,
    pub(super) key: Rgb,
    pub(super) ambient: Rgb,
    pub(super) bounce: Rgb,
}

impl Light {
    /// What a matt surface sends back.
    pub(super) fn on(&self, albedo: Rgb, normal: V3, lit: f32) -> Rgb {
        let direct = clamp01(normal.dot(self.way) * 0.92 + 0.08) * lit;
        let up = 0.5 + 0.5 * normal.y;
        albedo
            * (self.key * (1.25 * direct)
                + self.ambient * (0.35 + 0.65 * up)
                + self.bounce * (1.0 - up))
    }
}

/// Shades the ground of one picture.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) view: &'a View,
    pub(super) relief: &'a Relief,
    pub(super) soil: &'a Soil,
    pub(super) light: &'a Light,
}

impl Ground<'_> {
    /// The colour of a spot, before the air between it and the eye.
    pub(super) fn color(&self, s: &Spot) -> Rgb {
        let grain = self.view.grain(s.z);
        let salt = self.relief.salt;
        let steep = {
            let (a, b) = s.rise;
            1.0 - 1.0 / (1.0 + a * a + b * b).sqrt()
        };
        // Texture at three sizes; each fades out before it would flicker.
        let fine = self.texture(s, 0.22, grain);
        let medium = self.texture(s, 1.9, grain);
        let coarse = wave(s.x / 26.0, s.z / 26.0, salt ^ 103);
        let (albedo, rough) = self.albedo(s, steep, fine, medium, coarse);
        // Roughness tilts the surface; the same noise serves as slope.
        let bump = rough * 0.9;
        let normal = v3(
            -s.rise.0 + bump * (medium * 0.9 + fine * 0.7),
            1.0,
            -s.rise.1 + bump * (0.8 * fine - 0.6 * medium),
        )
        .unit();
        let hollow = 1.0 - 0.25 * clamp01(-medium) * rough;
        let mut color = self.light.on(albedo, normal, s.lit) * hollow;
        if self.soil.grid {
            color = color * 0.55 + self.lines(s, grain);
        }
        if s.y > self.soil.lava {
            let crack = smooth(0.22, 0.0, wave(s.x / 60.0, s.z / 60.0, salt ^ 5).abs());
            color += v3(3.0, 0.7, 0.08) * (crack * smooth(0.0, 260.0, s.y - self.soil.lava));
        }
        color
    }

    fn texture(&self, s: &Spot, size: f32, grain: f32) -> f32 {
        let fade = smooth(size * 0.8, size * 0.2, grain);
        if fade <= 0.0 {
            return 0.0;
        }
        let (x, z) = (s.x + 0.31 * s.y, s.z + 0.73 * s.y);
        fade * fbm(x / size, z / size, 3, self.relief.salt ^ 101) * 1.4
    }

    /// The paint of a spot and how rough it is.
    fn albedo(&self, s: &Spot, steep: f32, fine: f32, medium: f32, coarse: f32) -> (Rgb, f32) {
        let soil = self.soil;
        let (mut color, mut rough) = match soil.cover {
            Cover::Grass => self.meadow(s, fine, medium, coarse),
            Cover::Litter => (
                soil.grass.mix(soil.woods, 0.5 + 0.4 * coarse) * (0.85 + 0.5 * fine + 0.3 * medium),
                0.45,
            ),
            Cover::Sand => {
                let ripple = self.ripples(s);
                (
                    soil.sand * (0.96 + 0.10 * coarse + 0.10 * fine + 0.06 * ripple),
                    0.10,
                )
            }
            Cover::Snow => (soil.snow * (0.97 + 0.05 * coarse + 0.03 * fine), 0.10),
            Cover::Rock => self.rock(s, medium),
            Cover::Stone => (
                v3(0.16, 0.16, 0.17) * (0.9 + 0.3 * medium + 0.2 * fine),
                0.15,
            ),
        };
        let far = smooth(380.0, 900.0, s.z);
        if soil.treeline > 0.0 && far > 0.0 && soil.cover != Cover::Sand {
            let tops = self.canopy(s);
            let limit = soil.treeline
                * (1.0 + 0.25 * wave(s.x / 300.0, s.z / 300.0, self.relief.salt ^ 107));
            let woods = far
                * smooth(limit * 1.12, limit * 0.80, s.y)
                * smooth(0.72, 0.45, steep)
                * smooth(-0.42, -0.12, coarse + 0.2);
            color = color.mix(soil.woods * (0.75 + 0.65 * tops), woods);
            rough = lerp(rough, 0.75, woods);
        }
        // Steep ground is rock whatever grows on the flat.
        let bare_from = match soil.cover {
            Cover::Sand => 0.42,
            Cover::Snow => 0.30,
            Cover::Rock => 0.0,
            Cover::Grass | Cover::Stone | Cover::Litter => 0.16,
        };
        let bare = smooth(
            bare_from,
            bare_from + 0.16,
            steep + 0.10 * coarse + 0.05 * medium,
        );
        let high = smooth(soil.treeline.max(60.0), soil.treeline.max(60.0) * 2.4, s.y)
            * f32::from(soil.cover != Cover::Sand);
        let bare = bare.max(high * 0.85);
        if bare > 0.0 {
            let (rock, rock_rough) = self.rock(s, medium);
            color = color.mix(rock, bare);
            rough = lerp(rough, rock_rough, bare);
        }
        if soil.snowline < 20_000.0 {
            let ragged =
                0.22 * soil.snowline * fbm(s.x / 420.0, s.z / 420.0, 4, self.relief.salt ^ 109);
            let above = smooth(
                -0.12,
                0.16,
                (s.y + ragged - soil.snowline) / soil.snowline.max(40.0),
            );
            let lies = above * smooth(0.66, 0.30, steep - 0.10 * above + 0.14 * coarse);
            color = color.mix(soil.snow, lies);
            rough = lerp(rough, 0.12, lies);
        }
        if self.relief.has_water() {
            (color, rough) = self.strand(s, color, rough, steep, medium);
        }
        if soil.path {
            let middle = self.relief.river(s.z) * 0.55;
            let width = 1.0 + 0.12 * fine;
            let d = (s.x - middle).abs() + 0.5 * medium;
            let on = smooth(width + 0.35, width - 0.25, d) * smooth(500.0, 160.0, s.z);
            let earth = soil.sand.mix(v3(0.20, 0.13, 0.08), 0.45) * (0.85 + 0.3 * fine);
            color = color.mix(earth, on * 0.9);
        }
        (color, rough)
    }

    fn meadow(&self, s: &Spot, fine: f32, medium: f32, coarse: f32) -> (Rgb, f32) {
        let soil = self.soil;
        let dry = clamp01(0.5 + 0.9 * coarse + 0.25 * medium);
        let mut color = soil
            .grass
            .mix(soil.grass * v3(1.55, 1.16, 0.75), dry * 0.75);
        if soil.crops && s.z > 60.0 {
            color = color.mix(self.fields(s, color), smooth(60.0, 150.0, s.z));
        }
        color = color * (0.92 + 0.42 * fine + 0.22 * medium);
        if let Some(flowers) = soil.flowers {
            color = self.blooms(s, color, &flowers, coarse);
        }
        (color, 0.32)
    }

    /// Patches of crops with furrows and hedges.
    fn fields(&self, s: &Spot, grass: Rgb) -> Rgb {
        let salt = self.relief.salt;
        let (u, v) = (
            s.x / 95.0 + 0.35 * wave(s.x / 210.0, s.z / 210.0, salt ^ 1),
            s.z / 150.0 + 0.35 * wave(s.x / 190.0, s.z / 190.0, salt ^ 2),
        );
        let (i, j) = (floor(u), floor(v));
        let (fu, fv) = (u - i as f32, v - j as f32);
        let kind = cell(i, j, salt ^ 3);
        let tone = if kind < 0.35 {
            grass
        } else if kind < 0.6 {
            grass * v3(0.70, 0.92, 0.72)
        } else if kind < 0.8 {
            grass.mix(v3(0.52, 0.40, 0.13), 0.62)
        } else {
            grass * v3(1.3, 1.22, 0.85)
        };
        let edge = fu.min(1.0 - fu).min(fv.min(1.0 - fv));
        let hedge = smooth(0.022, 0.008, edge);
        let furrow = 1.0 + 0.08 * sin(fu * 60.0) * smooth(1.2, 0.3, self.view.grain(s.z));
        (tone * furrow).mix(self.soil.woods, hedge * 0.8)
    }

    /// Flower heads: crisp near by, a tint far away.
    fn blooms(&self, s: &Spot, grass: Rgb, flowers: &[Rgb; 3], coarse: f32) -> Rgb {
        let salt = self.relief.salt;
        let patch = smooth(
            -0.25,
            0.35,
            fbm(s.x / 9.0, s.z / 14.0, 3, salt ^ 121) + 0.2 * coarse,
        );
        let pick = |n: f32| flowers[usize::from(n > 0.45) + usize::from(n > 0.8)];
        let drift = clamp01(0.5 + 1.2 * wave(s.x / 7.0, s.z / 12.0, salt ^ 122));
        let tint = pick(drift);
        let grain = self.view.grain(s.z);
        let size = 0.11;
        let far = smooth(size * 0.25, size * 0.9, grain);
        let mut color = grass.mix(tint, far * patch * 0.42);
        if far < 1.0 {
            let (i, j) = (floor(s.x / size), floor(s.z / (size * 3.4)));
            if cell(i, j, salt ^ 123) < 0.55 * patch {
                let dx = s.x / size - i as f32 - 0.3 - 0.4 * cell(i, j, salt ^ 125);
                let dz = s.z / (size * 3.4) - j as f32 - 0.3 - 0.4 * cell(i, j, salt ^ 126);
                let head = smooth(0.42, 0.22, (dx * dx + dz * dz).sqrt());
                let paint = pick(clamp01(drift + 0.5 * (cell(i, j, salt ^ 124) - 0.5)));
                color = color.mix(paint * 1.15, head * (1.0 - far));
            }
        }
        color
    }

    fn rock(&self, s: &Spot, medium: f32) -> (Rgb, f32) {
        let salt = self.relief.salt;
        let (a, b) = self.soil.rock;
        let size = (self.view.grain(s.z) * 30.0).clamp(6.0, 260.0);
        let stain = fbm(
            (s.x + 0.4 * s.y) / size,
            (s.z - 0.7 * s.y) / size,
            4,
            salt ^ 131,
        );
        let mut color = a.mix(b, clamp01(0.5 + 1.1 * stain));
        if self.soil.strata > 0.0 {
            let dip =
                s.y + 0.05 * s.x + 2.4 * wave(s.x / 34.0, s.z / 34.0, salt ^ 132) + 0.9 * medium;
            // Bands too thin to tell apart give way to broader ones.
            let grain = self.view.grain(s.z);
            let near = smooth(1.6, 0.5, grain);
            let broad = value(dip * 0.035, 9.5, salt ^ 137);
            let thick = lerp(
                lerp(0.5, broad, smooth(14.0, 5.0, grain)),
                value(dip * 0.34, 0.5, salt ^ 133),
                near,
            );
            let thin = value(dip * 1.7, 4.5, salt ^ 134);
            let band = 0.58 + 0.62 * thick + 0.38 * (thin - 0.5) * smooth(0.5, 0.15, grain);
            let warm = a.mix(b * v3(1.15, 1.0, 0.86), smooth(0.35, 0.65, thick));
            color = color.mix(warm * band, self.soil.strata);
        }
        // Thin upright joints break the face.
        let bend = 1.6 * wave(s.x / 9.0, (s.y + s.z) / 12.0, salt ^ 135);
        let joint = wave((s.x - 0.5 * s.z) / 1.9 + bend, s.y / 11.0, salt ^ 136).abs();
        let cracks = smooth(0.07, 0.0, joint) * smooth(0.9, 0.25, self.view.grain(s.z));
        (color * (1.0 - 0.30 * cracks) * (1.0 + 0.30 * medium), 0.85)
    }

    /// Tree tops seen from afar: lit heads, dark gaps.
    fn canopy(&self, s: &Spot) -> f32 {
        let size = (self.view.grain(s.z) * 3.2).max(7.0);
        let n = value(
            s.x / size,
            (s.z * 0.35 + s.y * 1.2) / size,
            self.relief.salt ^ 141,
        );
        let m = value(s.x / size * 0.37, s.z / size * 0.2, self.relief.salt ^ 142);
        0.65 * n + 0.35 * m
    }

    fn ripples(&self, s: &Spot) -> f32 {
        let fade = smooth(0.30, 0.06, self.view.grain(s.z));
        if fade <= 0.0 {
            return 0.0;
        }
        let warp = 2.2 * wave(s.x / 3.5, s.z / 3.5, self.relief.salt ^ 151);
        fade * sin(9.0 * (s.z * 0.8 + s.x * 0.35) + 2.4 * warp)
    }

    /// The wet edge: sand or dark rock, and spray where surf breaks.
    fn strand(&self, s: &Spot, color: Rgb, rough: f32, steep: f32, medium: f32) -> (Rgb, f32) {
        let soil = self.soil;
        // From afar a strand is too thin to see.
        let flat = smooth(0.10, 0.04, steep) * smooth(320.0, 120.0, s.z);
        let sandy = matches!(soil.cover, Cover::Sand | Cover::Grass | Cover::Litter);
        let shore = if sandy { soil.sand } else { color };
        let beach =
            smooth(0.9, 0.35, s.y + 0.3 * medium) * flat * f32::from(soil.cover != Cover::Snow);
        let mut out = color.mix(shore * (0.9 + 0.2 * medium), beach);
        let wet = smooth(0.55, 0.05, s.y) * flat
            + smooth(4.5, 0.5, s.y + 1.5 * medium) * (1.0 - flat) * f32::from(soil.surf);
        out = out * (1.0 - 0.48 * clamp01(wet));
        if soil.surf && steep > 0.05 {
            let lift = 0.9 + 3.2 * fbm(s.x / 7.0, s.z / 9.0, 4, self.relief.salt ^ 161);
            let spray = smooth(lift, lift * 0.25, s.y) * smooth(0.0, 0.4, lift);
            out = out.mix(v3(0.85, 0.88, 0.90), clamp01(spray) * 0.85);
        }
        (out, rough)
    }

    /// The grid of a neon plain, and bright contour lines on its slopes.
    fn lines(&self, s: &Spot, grain: f32) -> Rgb {
        let step = if s.z < 500.0 { 6.0 } else { 60.0 };
        let line = |x: f32, width: f32| {
            let f = x / step - floor(x / step) as f32;
            let d = f.min(1.0 - f) * step;
            smooth(width * 1.6, width * 0.5, d) * exp(-width / (step * 0.22))
        };
        let dz = grain * s.z / self.view.eye.max(1.0);
        let a = line(s.x, (grain * 0.9).max(0.05));
        let b = line(s.z, (dz * 0.8).max(0.08));
        let contour = 0.5
            * line(s.y * 0.5, (grain * 0.8).max(0.05))
            * smooth(0.1, 0.6, s.rise.0.abs() + s.rise.1.abs());
        v3(0.10, 0.85, 1.1) * (0.75 * a.max(b) * smooth(2600.0, 200.0, s.z))
            + v3(0.9, 0.12, 0.8) * contour
    }
}

/// How much of the air's colour covers what is `z` metres away and `y` high.
pub(super) fn haze(palette: &Palette, thickness: f32, y: f32, z: f32) -> f32 {
    let low = 0.35 + 0.65 * exp(-y.max(0.0) / 900.0);
    1.0 - exp(-palette.haze * thickness * low * z / 1000.0)
}
