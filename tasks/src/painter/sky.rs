//! The sky: gradient, sun and moon, stars, and what hangs among them.

use super::clouds::Clouds;
use super::maths::{BLACK, Rgb, clamp01, exp, floor, sin, smooth, v3};
use super::noise::{cell, fbm, value, wave};
use super::palette::Palette;
use super::view::View;

/// Sun or moon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Sun,
    Moon,
    Crescent,
    /// Light without a disc: overcast, or told to stay away.
    Hidden,
}

/// Where the light of the picture stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Luminary {
    pub(super) body: Body,
    /// Its middle, in pixels.
    pub(super) at: (f32, f32),
    /// Its radius, in pixels.
    pub(super) radius: f32,
}

/// Everything above the horizon.
#[derive(Debug, Clone)]
pub(super) struct Sky {
    pub(super) view: View,
    pub(super) salt: u32,
    pub(super) luminary: Luminary,
    pub(super) clouds: Option<Clouds>,
    /// 0 none, 1 a clear night.
    pub(super) stars: f32,
    pub(super) aurora: bool,
    pub(super) rainbow: bool,
    /// A lightning bolt, as points in pixels with a width.
    pub(super) bolts: Vec<[f32; 5]>,
    /// Horizontal gaps in the sun's disc.
    pub(super) neon: bool,
}

impl Sky {
    /// The colour of the air around a pixel: no disc, no clouds, no stars.
    pub(super) fn air(&self, p: &Palette, column: f32, row: f32) -> Rgb {
        self.air_with(p, column, row, 1.0)
    }

    /// [`Sky::air`] with a share of the glow around the sun.
    pub(super) fn air_with(&self, p: &Palette, column: f32, row: f32, glow: f32) -> Rgb {
        let (a, e) = self.view.slope(column, row);
        let top = (self.view.horizon / self.view.focal).max(0.25);
        let t = clamp01(e / top);
        let (sa, se) = self.view.slope(self.luminary.at.0, self.luminary.at.1);
        let beside = smooth(0.0, 0.75, (a - sa).abs());
        let low = p.horizon.mix(p.counter, beside * 0.85);
        let mut sky = if t < 0.42 {
            low.mix(p.middle, smooth(-0.12, 0.42, t) * 1.08 - 0.08)
        } else {
            p.middle.mix(p.zenith, smooth(0.30, 1.05, t) * 1.06 - 0.06)
        };
        let (da, de) = (a - sa, e.max(0.0) - se);
        let d = (da * da + de * de).sqrt();
        let reach = p.glow_reach;
        sky += p.glow * glow * (0.42 * exp(-d / (0.30 * reach)) + 0.30 * exp(-d / (0.09 * reach)));
        // Low light spreads along the horizon.
        let along = exp(-da.abs() / (0.55 * reach)) * exp(-e.max(0.0) / 0.10);
        sky += p.glow * glow * (0.28 * along * smooth(0.5, 0.05, se));
        sky
    }

    /// The colour of a pixel of the sky.
    pub(super) fn color(&self, p: &Palette, column: f32, row: f32) -> Rgb {
        let (a, e) = self.view.slope(column, row);
        let mut sky = self.air(p, column, row);
        let haze = smooth(0.0, 0.22, e);
        if self.stars > 0.0 {
            sky += self.starlight(column, row) * (self.stars * haze);
        }
        if self.aurora {
            sky += self.curtains(a, e);
        }
        if self.rainbow {
            sky = self.bow(sky, column, row);
        }
        let disc = self.disc(p, column, row);
        match &self.clouds {
            Some(clouds) => {
                let (cloud, cover) = clouds.color(self, p, column, row, sky);
                let veil = 1.0 - cover;
                sky = sky.mix(cloud, cover) + disc * (veil * veil);
            }
            None => sky += disc,
        }
        if !self.bolts.is_empty() {
            sky += self.flash(column, row);
        }
        sky
    }

    fn disc(&self, p: &Palette, column: f32, row: f32) -> Rgb {
        let (dx, dy) = (column - self.luminary.at.0, row - self.luminary.at.1);
        let r = self.luminary.radius;
        let d = (dx * dx + dy * dy).sqrt();
        if d > r * 1.6 + 2.0 {
            return BLACK;
        }
        let inside = clamp01(r - d + 0.5);
        match self.luminary.body {
            Body::Hidden => BLACK,
            Body::Sun => {
                let v = dy / r;
                let gaps = if self.neon && v > -0.1 {
                    let s = v * 5.5;
                    let f = s - floor(s) as f32;
                    smooth(0.12 + 0.3 * v, 0.22 + 0.3 * v, f)
                } else {
                    1.0
                };
                let tint = if self.neon {
                    p.disc.mix(v3(1.4, 0.08, 0.45), smooth(-0.9, 0.6, v))
                } else {
                    p.disc
                };
                tint * (inside * gaps * (0.75 + 0.25 * smooth(r, r * 0.6, d)))
            }
            Body::Moon | Body::Crescent => {
                let (u, v) = (dx / r, dy / r);
                let seas = smooth(-0.05, 0.35, fbm(u * 1.6 + 3.0, v * 1.6, 4, self.salt ^ 7));
                let dust = 0.08 * value(u * 9.0, v * 9.0, self.salt);
                let face = 0.95 - 0.34 * seas + dust - 0.12 * (u * u + v * v);
                let lit = if self.luminary.body == Body::Crescent {
                    let (ox, oy) = (dx - r * 0.46, dy + r * 0.20);
                    let shade = (ox * ox + oy * oy).sqrt() - r * 0.93;
                    0.02 + 0.98 * smooth(-0.03 * r - 0.7, 0.03 * r + 0.7, shade)
                } else {
                    1.0
                };
                p.disc * (face * inside * lit)
            }
        }
    }

    fn starlight(&self, column: f32, row: f32) -> Rgb {
        let unit = self.view.unit().max(0.4);
        let mut sum = BLACK;
        // A band of faint light across the sky.
        let (a, e) = self.view.slope(column, row);
        let across = e - 0.42 - 0.55 * a - 0.10 * wave(a * 3.0, e * 3.0, self.salt ^ 3);
        let band = exp(-across * across * 26.0);
        if band > 0.02 {
            let dust = smooth(-0.35, 0.55, fbm(a * 5.0, e * 5.0, 5, self.salt ^ 4));
            sum += v3(0.050, 0.055, 0.085) * (band * dust);
        }
        for (layer, size) in [(1u32, 7.0), (2, 17.0), (3, 41.0)] {
            let size = size * unit;
            let (gx, gy) = (column / size, row / size);
            let (ix, iy) = (floor(gx), floor(gy));
            let salt = self.salt ^ (layer * 7919);
            let luck = cell(ix, iy, salt);
            let share = 0.30 + 0.35 * band;
            if luck > share {
                continue;
            }
            let sx = (ix as f32 + 0.2 + 0.6 * cell(ix, iy, salt ^ 1)) * size;
            let sy = (iy as f32 + 0.2 + 0.6 * cell(ix, iy, salt ^ 2)) * size;
            let r = unit * (0.42 + 0.20 * layer as f32).max(0.45);
            let d2 = ((column - sx) * (column - sx) + (row - sy) * (row - sy)) / (r * r);
            if d2 > 9.0 {
                continue;
            }
            let power = cell(ix, iy, salt ^ 3);
            let warm = cell(ix, iy, salt ^ 4);
            let tint = v3(0.8 + 0.2 * warm, 0.88, 1.05 - 0.25 * warm);
            sum += tint * (exp(-d2) * (0.12 + 1.1 * power * power * power) * layer as f32 * 0.55);
        }
        sum
    }

    fn curtains(&self, a: f32, e: f32) -> Rgb {
        let mut sum = BLACK;
        for i in 0u8..3 {
            let n = f32::from(i);
            let salt = self.salt ^ (0x51 + u32::from(i));
            let fold = 0.10 * wave(a * 1.6 + n * 5.0, 0.3, salt)
                + 0.035 * wave(a * 6.0 + n, 1.3, salt)
                + 0.012 * sin(a * 21.0 + n * 2.0);
            let base = 0.17 + 0.085 * n + fold;
            let h = e - base;
            if h < -0.05 {
                continue;
            }
            let bend = a + 0.22 * fold;
            let rays = 0.45
                + 0.45 * wave(bend * 26.0, n, salt ^ 1)
                + 0.25 * wave(bend * 70.0, n, salt ^ 2);
            let strength = 0.35 + 0.75 * clamp01(0.5 + wave(a * 2.1 + n * 9.0, 7.0, salt ^ 3));
            let up = exp(-h.max(0.0) / (0.10 + 0.05 * rays));
            let glow = smooth(-0.035, 0.012, h) * up * rays.max(0.08) * strength;
            let tint = v3(0.05, 0.95, 0.42)
                .mix(v3(0.42, 0.18, 0.85), smooth(0.03, 0.26, h))
                .mix(v3(0.12, 0.70, 0.75), 0.25 * n);
            sum += tint * (glow * (0.75 - 0.14 * n));
        }
        sum
    }

    fn bow(&self, sky: Rgb, column: f32, row: f32) -> Rgb {
        let f = self.view.focal;
        let width = self.view.width as f32;
        let center = width - self.luminary.at.0;
        let radius = 0.46 * f.min(1.6 * self.view.horizon);
        let (dx, dy) = (column - center, row - (self.view.horizon + 0.06 * f));
        let d = ((dx * dx + dy * dy).sqrt() - radius) / (0.030 * f);
        let mut out = sky;
        for (at, spread, strength) in [(d, 1.0, 0.5), (-(d - 5.2) * 0.8, 1.2, 0.14)] {
            let t = 0.5 - at * 0.5 / spread;
            if !(-0.3..=1.3).contains(&t) {
                continue;
            }
            let hump = |c: f32, w: f32| exp(-(t - c) * (t - c) / (w * w));
            let light = v3(
                hump(0.18, 0.20) + 0.35 * hump(1.0, 0.16),
                hump(0.46, 0.20),
                hump(0.80, 0.20),
            );
            out += light * (strength * smooth(-0.3, 0.1, t) * smooth(1.3, 0.9, t) * 0.62);
        }
        out
    }

    fn flash(&self, column: f32, row: f32) -> Rgb {
        let unit = self.view.unit();
        let mut nearest = f32::MAX;
        let mut width = 1.0;
        for &[x0, y0, x1, y1, w] in &self.bolts {
            let (dx, dy) = (x1 - x0, y1 - y0);
            let t = clamp01(((column - x0) * dx + (row - y0) * dy) / (dx * dx + dy * dy).max(1e-6));
            let (px, py) = (x0 + dx * t - column, y0 + dy * t - row);
            let d = (px * px + py * py).sqrt() - w;
            if d < nearest {
                (nearest, width) = (d, w);
            }
        }
        let core = smooth(0.8, -0.8, nearest);
        let near = nearest.max(0.0) / unit;
        let halo = 0.30 * exp(-near / 9.0) + 0.22 * exp(-near / 60.0);
        v3(0.75, 0.82, 1.0) * (halo * clamp01(width + 0.3)) + v3(3.2, 3.2, 3.6) * core
    }
}
