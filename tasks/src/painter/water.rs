//! Water: it mirrors what stands behind it, glitters under the light, breaks on shores.

use super::field::Spot;
use super::frame::{Ink, Pixel};
use super::ground::Light;
use super::maths::{Rgb, clamp01, exp, index, lerp, smooth, v3};
use super::noise::{fbm, value, wave};
use super::palette::Palette;
use super::sky::{Body, Sky};
use super::view::View;

/// Paints the water of one picture.
#[derive(Debug)]
pub(super) struct Water<'a> {
    pub(super) view: &'a View,
    pub(super) palette: &'a Palette,
    pub(super) sky: &'a Sky,
    pub(super) light: &'a Light,
    pub(super) salt: u32,
    /// 0 a mirror, 1 open sea.
    pub(super) rough: f32,
    /// White water along the shores and on crests, 0 to 1.
    pub(super) foam: f32,
    /// 0 where the sun stands behind the land.
    pub(super) sunny: f32,
    /// The picture so far, without water.
    pub(super) pixels: &'a [Pixel],
    pub(super) inks: &'a [Ink],
}

impl Water<'_> {
    /// The colour of the water at a spot seen through a pixel.
    pub(super) fn color(&self, s: &Spot, px: usize, row: usize) -> Rgb {
        let (column, line) = (px as f32 + 0.5, row as f32 + 0.5);
        let grain = self.view.grain(s.z);
        let (a, e) = self.view.slope(column, line);
        let slopes = self.slopes(s, grain);
        // At a flat angle nearly all is mirror; facing slopes show the depth.
        let facing = clamp01(-e + 0.55 * slopes.1 + 0.02);
        let mirror = 0.06 + 0.88 * exp(-facing * 4.2);
        let depth = (s.y - s.bed).max(0.0);
        let body = self
            .palette
            .shallow
            .mix(self.palette.deep, smooth(0.0, 3.2, depth));
        let sunlight = self.light.key * (0.30 * self.light.way.y.max(0.15)) + self.light.ambient;
        let body = body * (sunlight * 0.9 + v3(0.25, 0.25, 0.25));
        let shown = self.mirrored(column, line, slopes);
        let mut color = body.mix(shown, mirror);
        color += self.glitter(s, a, e, grain, slopes);
        if self.foam > 0.0 {
            let white = self.surf(s, depth, grain);
            let foam = self.light.on(v3(0.88, 0.91, 0.93), v3(0.0, 1.0, 0.0), 0.8)
                + self.palette.horizon * 0.12;
            color = color.mix(foam, white);
        }
        color
    }

    /// How the surface leans, towards +x and towards the eye.
    fn slopes(&self, s: &Spot, grain: f32) -> (f32, f32) {
        let mut sum = (-s.rise.0 * 0.25, s.rise.1 * 0.42);
        let stretch = grain * s.z / self.view.eye.max(1.0);
        for (i, (size, strength)) in
            (0u32..).zip([(9.0, 0.05), (3.1, 0.085), (0.95, 0.12), (0.3, 0.11)])
        {
            // Small waves average out at a distance, though never quite.
            let keep = smooth(size * 5.0, size * 0.6, stretch);
            if keep <= 0.02 {
                continue;
            }
            let salt = self.salt ^ (i * 77 + 5);
            let n = wave(s.x / (size * 2.1), s.z / size, salt);
            let m = wave(s.x / (size * 1.5) + 9.0, s.z / size * 0.8, salt ^ 1);
            sum.0 += strength * keep * m * self.rough;
            sum.1 += strength * keep * n * self.rough;
        }
        // Far away, streaks of wind instead of single waves.
        let streak = fbm(
            s.x / (stretch * 6.0 + 14.0),
            s.z / (stretch * 2.2 + 5.0),
            3,
            self.salt ^ 71,
        );
        sum.1 += 0.05 * streak * self.rough * smooth(1.5, 12.0, stretch);
        sum
    }

    /// What the surface mirrors: the first thing met on the way up from the shore.
    fn mirrored(&self, column: f32, line: f32, slopes: (f32, f32)) -> Rgb {
        let view = self.view;
        let below = line - view.horizon;
        let reach = (below * 2.4 + 0.012 * view.focal).min(0.30 * view.focal);
        let x = column + slopes.0 * reach * 1.1;
        let y = view.horizon - below + slopes.1 * reach * 1.7;
        let px = index(x, view.width);
        let top = y.min(view.horizon - 1.0);
        let parallax = 2.0 * view.focal * view.eye;
        // A mirrored thing appears lower than its twin by `parallax / z` rows.
        let span = (parallax / 18.0).min(view.height as f32 * 0.8);
        let steps = 26.0;
        let mut best: Option<(f32, usize)> = None;
        let mut i = 0.0;
        while i <= steps {
            let t = i / steps;
            let shift = span * t * t;
            let row = top + shift;
            i += 1.0;
            if row < 0.0 || row >= view.height as f32 {
                continue;
            }
            let at = index(row, view.height) * view.width + px;
            let ink = &self.inks[at];
            let z = if ink.alpha > 0.5 {
                ink.z
            } else {
                self.pixels[at].z
            };
            if z <= 0.0 || z > 1e6 {
                continue;
            }
            let want = parallax / z;
            let step = span * ((i / steps) * (i / steps) - t * t) + 1.0;
            if (want - shift).abs() <= step && best.is_none_or(|(zz, _)| z < zz) {
                best = Some((z, at));
            }
        }
        if let Some((_, at)) = best {
            let ink = &self.inks[at];
            let under = self.pixels[at].color * (1.0 - ink.alpha) + ink.color;
            return under * 0.92;
        }
        if top >= 0.0 {
            let at = index(top, view.height) * view.width + px;
            if self.pixels[at].z > 1e6 && self.inks[at].alpha < 0.5 {
                let seen = self.pixels[at].color;
                // The disc itself is left to the glitter.
                return seen.map(|c| c.min(1.6));
            }
        }
        self.sky.air(self.palette, x, top).map(|c| c.min(1.4))
    }

    /// The path of light below sun or moon.
    fn glitter(&self, s: &Spot, a: f32, e: f32, grain: f32, slopes: (f32, f32)) -> Rgb {
        let sky = self.sky;
        if self.sunny <= 0.0 {
            return v3(0.0, 0.0, 0.0);
        }
        let (sa, se) = self.view.slope(sky.luminary.at.0, sky.luminary.at.1);
        if se > 0.9 {
            return v3(0.0, 0.0, 0.0);
        }
        let down = -e;
        let width = 0.022 + (0.16 + 0.22 * self.rough) * down;
        let off = (a - sa + slopes.0 * 0.8) / width;
        let path = exp(-off * off);
        if path < 0.01 {
            return v3(0.0, 0.0, 0.0);
        }
        let stretch = grain * s.z / self.view.eye.max(1.0);
        let size = (stretch * 1.1).max(0.55);
        let facet = fbm(s.x / (size * 1.9), s.z / size, 3, self.salt ^ 81);
        let spark = smooth(0.05, 0.42, facet + 0.35 * (path - 0.6));
        let even = 0.30 * smooth(0.35, 0.0, down);
        let strength = match sky.luminary.body {
            Body::Sun => 0.62,
            Body::Moon => 0.55,
            Body::Crescent => 0.35,
            Body::Hidden => 0.05,
        };
        let fade = exp(-(down - se).abs() * 0.9);
        let disc = self.palette.disc * 0.5 + self.palette.glow;
        disc * (path * (even + spark) * strength * self.sunny * fade)
    }

    /// White water: bands along the shore, crests in a storm.
    fn surf(&self, s: &Spot, depth: f32, grain: f32) -> f32 {
        let lace = fbm(s.x / 2.6, s.z / 3.4, 4, self.salt ^ 61);
        let wander = 0.55 * wave(s.x / 11.0, s.z / 15.0, self.salt ^ 62);
        let edge = smooth(0.75, 0.05, depth + 0.45 * lace + 0.35 * wander);
        let line = depth * 1.5 + wander * 1.4;
        let band = exp(-(line - 2.0) * (line - 2.0) * 5.0) * smooth(0.0, 0.25, lace + 0.12);
        let mut white = (edge + 0.75 * band) * smooth(3.4, 1.2, depth);
        let crest = smooth(0.35, 0.95, s.y) * smooth(0.05, 0.35, lace + 0.15);
        white = white.max(crest * smooth(0.5, 1.0, self.foam));
        let caps = smooth(
            0.74,
            0.92,
            value(s.x / 3.0, s.z / 1.3, self.salt ^ 63) + 0.25 * lace,
        );
        let distant = smooth(1.2, 0.2, grain);
        white = white.max(caps * lerp(0.0, 0.55, smooth(0.6, 1.0, self.foam)) * distant);
        clamp01(white) * clamp01(self.foam * 1.4)
    }
}
