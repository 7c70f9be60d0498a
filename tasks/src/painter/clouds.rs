//! Clouds: sheets that run to the horizon, heaps with flat feet, storm ceilings.

use super::maths::{Rgb, clamp01, exp, smooth};
use super::noise::{Dice, fbm, wave};
use super::palette::Palette;
use super::sky::Sky;
use super::view::View;

/// How the clouds of a picture look.
#[derive(Debug, Clone)]
pub(super) struct Clouds {
    pub(super) kind: Kind,
    /// Share of the sky, 0 to 1.
    pub(super) cover: f32,
    pub(super) salt: u32,
    heaps: Vec<Heap>,
}

/// A family of clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Broken layers lit from the side or from below.
    Sheet,
    /// Fair-weather heaps.
    Heap,
    /// A dark ceiling.
    Ceiling,
}

/// One heap, in slopes: middle, foot, half its width, its height.
#[derive(Debug, Clone, Copy)]
struct Heap {
    x: f32,
    foot: f32,
    half: f32,
    tall: f32,
}

impl Clouds {
    pub(super) fn new(kind: Kind, cover: f32, view: &View, seed: u64) -> Self {
        let mut dice = Dice::new(seed, "clouds");
        let salt = dice.salt();
        let mut heaps = Vec::new();
        if kind == Kind::Heap {
            let wide = view.width as f32 / view.focal;
            let top = (view.horizon / view.focal).max(0.2);
            let count = 3.0 + cover * 9.0 * wide.min(3.0);
            let mut i = 0.0;
            while i < count {
                let depth = dice.range(0.0, 1.0);
                let foot = top * (0.14 + 0.66 * depth * depth);
                let half = (0.05 + 0.20 * depth) * dice.range(0.7, 1.35);
                heaps.push(Heap {
                    x: dice.range(-0.58, 0.58) * wide,
                    foot,
                    half,
                    tall: half * dice.range(0.42, 0.72),
                });
                i += 1.0;
            }
            heaps.sort_by(|a, b| a.foot.total_cmp(&b.foot));
        }
        Self {
            kind,
            cover,
            salt,
            heaps,
        }
    }

    /// The colour of the clouds at a pixel and how much of the sky they hide.
    pub(super) fn color(
        &self,
        sky: &Sky,
        p: &Palette,
        column: f32,
        row: f32,
        behind: Rgb,
    ) -> (Rgb, f32) {
        let (a, e) = sky.view.slope(column, row);
        if e < 0.0 {
            return (behind, 0.0);
        }
        match self.kind {
            Kind::Sheet => self.sheet(sky, p, a, e, behind),
            Kind::Heap => self.heap(sky, p, a, e, behind),
            Kind::Ceiling => self.ceiling(sky, p, a, e, behind),
        }
    }

    fn sheet(&self, sky: &Sky, p: &Palette, a: f32, e: f32, behind: Rgb) -> (Rgb, f32) {
        let (sa, se) = sky.view.slope(sky.luminary.at.0, sky.luminary.at.1);
        // Seen on a plane overhead: small and close-set towards the horizon.
        let away = 1.0 / (e + 0.11);
        let (x, y) = (a * away * 0.62, away * 1.15);
        let salt = self.salt;
        let (wx, wy) = (
            wave(x * 0.9, y * 0.9, salt ^ 1),
            wave(x * 0.9, y * 0.9, salt ^ 2),
        );
        let (x, y) = (x + 0.42 * wx, y + 0.42 * wy);
        let body = fbm(x, y, 6, salt ^ 3) + 0.30 * wave(x * 0.35, y * 0.35, salt ^ 4);
        let threshold = 0.34 - 0.62 * self.cover;
        let depth = body - threshold;
        let cover = smooth(0.0, 0.30, depth) * smooth(0.0, 0.07, e) * 0.96;
        if cover <= 0.0 {
            return (behind, 0.0);
        }
        // One look towards the light tells the bright edge from the dark belly.
        let toward = (
            (sa - a) * 0.5,
            (1.0 / (se.max(0.0) + 0.11) - away).clamp(-3.0, 3.0) * 0.08 + 0.10,
        );
        let other = fbm(x + toward.0 * 0.6, y + toward.1, 4, salt ^ 3)
            + 0.30 * wave(x * 0.35, y * 0.35, salt ^ 4);
        let facing = clamp01(0.48 + 1.5 * (body - other));
        let (da, de) = (a - sa, e - se);
        let near = exp(-(da * da * 0.8 + de * de * 1.6).sqrt() * 1.5);
        let thick = smooth(0.05, 0.55, depth);
        let light = clamp01(facing * (1.0 - 0.45 * thick)) * (0.35 + 0.95 * near);
        let rim = (1.0 - thick) * near * 0.35;
        let color = p.cloud_dark.mix(p.cloud_lit, clamp01(light)) + p.glow * rim * 0.6;
        (color.mix(behind, smooth(0.26, 0.0, e) * 0.65), cover)
    }

    fn heap(&self, sky: &Sky, p: &Palette, a: f32, e: f32, behind: Rgb) -> (Rgb, f32) {
        let (sa, _) = sky.view.slope(sky.luminary.at.0, sky.luminary.at.1);
        let side = if sa > a { 1.0 } else { -1.0 };
        let mut out = behind;
        let mut veil = 1.0;
        for (i, heap) in (0u32..).zip(&self.heaps) {
            let (u, v) = ((a - heap.x) / heap.half, (e - heap.foot) / heap.tall);
            if u.abs() > 1.5 || !(-0.5..1.6).contains(&v) {
                continue;
            }
            let salt = self.salt.wrapping_add(i * 131);
            let depth = density(u, v, 6, salt);
            let cover = smooth(0.0, 0.22, depth) * 0.97;
            if cover <= 0.0 {
                continue;
            }
            let above = density(u + side * 0.11, v + 0.20, 4, salt);
            let light = clamp01(0.62 + 0.95 * (depth - above)) * smooth(-0.25, 0.75, v + 0.35);
            let belly = smooth(0.40, -0.10, v) * 0.55;
            let color = p
                .cloud_dark
                .mix(p.cloud_lit, clamp01(light * (1.15 - belly)));
            let distant = smooth(0.30, 0.02, heap.foot) * 0.60;
            out = out.mix(color.mix(behind, distant), cover);
            veil *= 1.0 - cover;
        }
        let wisps = self.wisps(a, e);
        let high = p.cloud_lit.mix(behind, 0.35);
        (out.mix(high, wisps * veil), 1.0 - veil * (1.0 - wisps))
    }

    /// Thin feathers high up.
    fn wisps(&self, a: f32, e: f32) -> f32 {
        let (x, y) = (a * 1.5 + e * 1.2, e * 7.0 - a * 1.4);
        let w = wave(x * 0.8, y * 0.5, self.salt ^ 17);
        let n = fbm(x + 0.6 * w, y + 0.9 * w, 4, self.salt ^ 18);
        smooth(0.08, 0.75, n) * 0.42 * smooth(0.15, 0.4, e)
    }

    fn ceiling(&self, sky: &Sky, p: &Palette, a: f32, e: f32, behind: Rgb) -> (Rgb, f32) {
        let away = 1.0 / (e + 0.16);
        let (x, y) = (a * away * 0.9, away * 1.3);
        let salt = self.salt;
        let (wx, wy) = (
            wave(x * 0.8, y * 0.8, salt ^ 1),
            wave(x * 0.8 + 5.0, y * 0.8, salt ^ 2),
        );
        let (x, y) = (x + 0.7 * wx, y + 0.5 * wy);
        let body = fbm(x, y, 6, salt ^ 3);
        let under = fbm(x + 0.10, y - 0.16, 4, salt ^ 3);
        let relief = clamp01(0.42 + 0.95 * (body - under) + 0.40 * body);
        let (sa, _) = sky.view.slope(sky.luminary.at.0, sky.luminary.at.1);
        let gap = exp(-(a - sa) * (a - sa) * 5.0 - e * 5.0);
        let color = p
            .cloud_dark
            .mix(p.cloud_lit, clamp01(relief * relief * 1.25 + 0.22 * gap));
        let cover = smooth(-0.42, 0.05, body + 0.35 * (self.cover - 0.5)) * smooth(0.0, 0.10, e);
        (color.mix(behind, smooth(0.20, 0.0, e) * 0.75), cover * 0.98)
    }
}

/// How deep inside a heap a place lies; negative outside. `v` counts from its flat foot.
fn density(u: f32, v: f32, octaves: u32, salt: u32) -> f32 {
    let lump = 0.30 * wave(u * 1.6, v * 0.4, salt ^ 1);
    let dome = 1.0 - u * u - (v - 0.12 - lump).max(0.0) * 1.05;
    let foot = smooth(-0.22, 0.10, v + 0.06 * wave(u * 5.0, 0.0, salt ^ 3));
    let mut puff = 0.0;
    let (mut x, mut y, mut strength) = (u * 2.2, v * 1.5, 0.5);
    for i in 0..octaves {
        puff += strength * (0.55 - 1.3 * wave(x, y, salt.wrapping_add(i + 9)).abs());
        strength *= 0.52;
        (x, y) = (1.6 * x - 1.2 * y + 3.1, 1.2 * x + 1.6 * y + 1.7);
    }
    (0.62 * dome - 0.30 + 0.75 * puff) * foot - 0.35 * (1.0 - foot)
}
