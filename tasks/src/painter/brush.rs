//! Draws shapes that stand at a place in the world, over a band of rows.
//!
//! A shape is two functions of local metres (`u` to the right of its foot, `v`
//! above it): how far a point lies outside of it, and its colour. Edges are as
//! soft as one pixel, whatever the size.

use super::frame::{Ink, Pixel, WATER};
use super::ground::Light;
use super::maths::{Rgb, clamp01, exp, floor};
use super::plan::Plan;

/// A foot on the ground, seen by the eye.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stand {
    /// The foot's pixel.
    pub(super) at: (f32, f32),
    /// Pixels a metre.
    pub(super) scale: f32,
    pub(super) z: f32,
    /// The colour of the air before it, and how much of that there is.
    air: Rgb,
    veil: f32,
}

/// A box in local metres: left, foot, right, top.
pub(super) type Extent = [f32; 4];

/// A band of the picture under the brush.
#[derive(Debug)]
pub(super) struct Brush<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pixels: &'a [Pixel],
    pub(super) band: &'a mut [Ink],
    pub(super) first_row: usize,
}

impl Brush<'_> {
    pub(super) fn light(&self) -> Light {
        self.plan.light
    }

    /// Whether lamps and windows are lit.
    pub(super) fn dark(&self) -> bool {
        self.plan.time.is_dark()
    }

    pub(super) fn stand(&self, x: f32, y: f32, z: f32) -> Stand {
        let view = &self.plan.view;
        let at = view.project(super::maths::v3(x, y, z));
        Stand {
            at,
            scale: view.focal / z,
            z,
            air: self.plan.haze_color(at.0, at.1),
            veil: self.plan.veil(y + 2.0, z),
        }
    }

    /// Whether any part of the box lies on this band.
    pub(super) fn reaches(&self, stand: &Stand, extent: Extent) -> bool {
        let [left, foot, right, top] = extent;
        let width = self.plan.view.width;
        let rows = self.band.len() / width.max(1);
        let s = stand.scale;
        stand.at.1 - foot * s >= self.first_row as f32 - 1.0
            && stand.at.1 - top * s <= (self.first_row + rows) as f32 + 1.0
            && stand.at.0 + right * s >= -1.0
            && stand.at.0 + left * s <= width as f32 + 1.0
    }

    /// Fills what lies inside `outside(u, v) < 0` within the box.
    pub(super) fn fill(
        &mut self,
        stand: &Stand,
        extent: Extent,
        outside: impl Fn(f32, f32) -> f32,
        paint: impl Fn(f32, f32) -> Rgb,
    ) {
        let s = stand.scale;
        self.each(stand, extent, |u, v| {
            let cover = clamp01(0.5 - outside(u, v) * s);
            (cover > 0.0).then(|| (paint(u, v), cover))
        });
    }

    /// Lays `look(u, v)`, a colour and how much it covers, over the box.
    pub(super) fn each(
        &mut self,
        stand: &Stand,
        extent: Extent,
        look: impl Fn(f32, f32) -> Option<(Rgb, f32)>,
    ) {
        if !self.reaches(stand, extent) {
            return;
        }
        let [left, foot, right, top] = extent;
        let view = &self.plan.view;
        let s = stand.scale;
        let width = view.width;
        let rows = self.band.len() / width;
        let clip = |x: f32, end: usize| usize::try_from(floor(x)).unwrap_or(0).min(end);
        let (x0, x1) = (
            clip(stand.at.0 + left * s - 1.0, width),
            clip(stand.at.0 + right * s + 2.0, width),
        );
        let down = self.first_row as f32;
        let (y0, y1) = (
            clip(stand.at.1 - top * s - 1.0 - down, rows),
            clip(stand.at.1 - foot * s + 2.0 - down, rows),
        );
        for y in y0..y1 {
            let row = self.first_row + y;
            let v = (stand.at.1 - (row as f32 + 0.5)) / s;
            for x in x0..x1 {
                let ground = self.pixels[row * width + x].z;
                // Water hides nothing that floats; ground hides what stands behind.
                if ground != WATER && ground < stand.z * 0.985 - 0.3 {
                    continue;
                }
                let u = (x as f32 + 0.5 - stand.at.0) / s;
                let Some((color, cover)) = look(u, v) else {
                    continue;
                };
                let color = color.mix(stand.air, stand.veil);
                let ink = &mut self.band[y * width + x];
                ink.color = ink.color * (1.0 - cover) + color * cover;
                ink.alpha = ink.alpha * (1.0 - cover) + cover;
                if cover > 0.5 {
                    ink.z = stand.z;
                }
            }
        }
    }

    /// A soft round light added around a point, in local metres.
    pub(super) fn glow(&mut self, stand: &Stand, (u, v): (f32, f32), reach: f32, color: Rgb) {
        let light = color;
        let extent = [u - reach, v - reach, u + reach, v + reach];
        if !self.reaches(stand, extent) {
            return;
        }
        let s = stand.scale;
        let width = self.plan.view.width;
        let rows = self.band.len() / width;
        let clip = |x: f32, end: usize| usize::try_from(floor(x)).unwrap_or(0).min(end);
        let x0 = clip(stand.at.0 + (u - reach) * s, width);
        let x1 = clip(stand.at.0 + (u + reach) * s + 1.0, width);
        let down = self.first_row as f32;
        let y0 = clip(stand.at.1 - (v + reach) * s - down, rows);
        let y1 = clip(stand.at.1 - (v - reach) * s + 1.0 - down, rows);
        for y in y0..y1 {
            let dv = (stand.at.1 - ((self.first_row + y) as f32 + 0.5)) / s - v;
            for x in x0..x1 {
                let du = (x as f32 + 0.5 - stand.at.0) / s - u;
                let d = (du * du + dv * dv).sqrt() / reach;
                let ground = self.pixels[(self.first_row + y) * width + x].z;
                let hidden = ground != WATER && ground < stand.z * 0.97 - 1.0;
                if d < 1.0 && !hidden {
                    let k = exp(-d * 5.0) * (1.0 - d);
                    let ink = &mut self.band[y * width + x];
                    // Light adds to what shines through: alpha stays.
                    ink.color += light * (k * (1.0 - stand.veil));
                }
            }
        }
    }
}

/// How far `(u, v)` lies outside a convex shape given counter-clockwise.
pub(super) fn convex(points: &[(f32, f32)], u: f32, v: f32) -> f32 {
    let mut out = f32::MIN;
    for (i, &(ax, ay)) in points.iter().enumerate() {
        let (bx, by) = points[(i + 1) % points.len()];
        let (dx, dy) = (bx - ax, by - ay);
        let length = (dx * dx + dy * dy).sqrt().max(1e-6);
        out = out.max(((u - ax) * dy - (v - ay) * dx) / length);
    }
    out
}

/// How far `(u, v)` lies outside a box.
pub(super) fn slab([left, foot, right, top]: Extent, u: f32, v: f32) -> f32 {
    (left - u).max(u - right).max(foot - v).max(v - top)
}

/// How far `(u, v)` lies outside a thick line from `a` to `b`, `r` wide at each end.
pub(super) fn limb(a: (f32, f32), b: (f32, f32), r: (f32, f32), u: f32, v: f32) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let t = clamp01(((u - a.0) * dx + (v - a.1) * dy) / (dx * dx + dy * dy).max(1e-9));
    let (px, py) = (u - a.0 - dx * t, v - a.1 - dy * t);
    (px * px + py * py).sqrt() - (r.0 + (r.1 - r.0) * t)
}

/// How far `(u, v)` lies outside an ellipse, near its edge.
pub(super) fn oval(center: (f32, f32), r: (f32, f32), u: f32, v: f32) -> f32 {
    let (x, y) = ((u - center.0) / r.0, (v - center.1) / r.1);
    ((x * x + y * y).sqrt() - 1.0) * r.0.min(r.1)
}
