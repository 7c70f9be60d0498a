//! Which ground is seen through which pixel.
//!
//! ```text
//!      eye ·──────────────────────────── horizon
//!           \ \  \   slice k-1   slice k
//!            \  \   \   |          /\       rows between the old skyline and
//!             \   \    \|   ___   /  \      slice k's top now show the ground
//!   ___________\____\___|__/   \_/    \__   between slices k-1 and k
//! ```
//! Heights are taken on slices ever farther away, one sample a column; each
//! slice, near to far, shows what rises above the skyline so far. Skylines are
//! kept as fractions of a row and at two places in each column, so edges come
//! out smooth although every pixel's ground is shaded but once or twice.

use super::Stage;
use super::crew::{Crew, Part};
use super::maths::{floor, index, lerp, sin, smooth};
use super::noise::wave;
use super::relief::Relief;
use super::view::View;

/// What a pixel shows: up to two grounds, as slice numbers with a share each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hit {
    pub(super) slice: [f32; 2],
    pub(super) share: [f32; 2],
}

/// Heights on slices, and who sees them.
#[derive(Debug)]
pub(super) struct Field {
    /// Columns sampled beyond each edge, for shadows from outside.
    margin: usize,
    columns: usize,
    /// Distances of the slices.
    pub(super) far: Vec<f32>,
    /// Ground (or the bed below water), and the height below which the key
    /// light is blocked.
    cells: Vec<(f32, f32)>,
    pub(super) hits: Vec<Hit>,
    swell: f32,
    salt: u32,
}

/// A place on the ground.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) z: f32,
    /// How fast the ground rises towards +x and +z.
    pub(super) rise: (f32, f32),
    /// Ground height; below `y` where water stands.
    pub(super) bed: f32,
    /// 1 in the light, 0 in a shadow.
    pub(super) lit: f32,
}

impl Field {
    /// Measures the ground and looks at it. `light` is the way to the sun, as a
    /// slope to the side: its sign is the side, its size the tangent of its height.
    pub(super) fn survey(
        relief: &Relief,
        view: &View,
        light: f32,
        focus: Option<(f32, f32)>,
        crew: &mut Crew<'_>,
    ) -> Option<Self> {
        let margin = view.width / 8 + 2;
        let columns = view.width + 2 * margin;
        let far = slices(view, focus);
        let mut field = Self {
            margin,
            columns,
            cells: Vec::new(),
            far,
            hits: vec![Hit::default(); view.width * view.height],
            swell: relief.swell,
            salt: relief.salt,
        };
        let mut cells = vec![(0.0, 0.0); field.far.len() * columns];
        let measured = crew.pieces(
            Part(Stage::Land, 0.0, 0.3),
            &mut cells,
            columns,
            |k, row| {
                let z = field.far[k];
                let grain = view.grain(z);
                for (c, cell) in row.iter_mut().enumerate() {
                    cell.0 = relief.ground(field.across(view, c as f32) * z, z, grain);
                }
                cast_shadows(row, light, grain);
            },
        );
        if measured.is_break() {
            return None;
        }
        field.cells = cells;
        field.look(view, relief.has_water(), crew)?;
        Some(field)
    }

    /// The slope to the side of grid column `c`.
    fn across(&self, view: &View, c: f32) -> f32 {
        (c - self.margin as f32 + 0.5 - view.middle) / view.focal
    }

    fn look(&mut self, view: &View, wet: bool, crew: &mut Crew<'_>) -> Option<()> {
        let subs = view.width * 2;
        let bottom = view.height as f32;
        let mut skyline = vec![bottom; subs];
        let mut before = vec![bottom; subs];
        let slices = self.far.len();
        for k in 0..slices {
            let z = self.far[k];
            let scale = view.focal / z;
            let row = &self.cells[k * self.columns..(k + 1) * self.columns];
            for sub in 0..subs {
                let px = sub / 2;
                let c = px + self.margin;
                let side = if sub % 2 == 0 {
                    row[c - 1].0
                } else {
                    row[c + 1].0
                };
                let mut h = lerp(row[c].0, side, 0.25);
                if wet && h < 0.0 {
                    h = h.max(self.water(self.across(view, c as f32) * z, z));
                }
                let y = view.horizon - (h - view.eye) * scale;
                let (top, old) = (skyline[sub], before[sub]);
                before[sub] = y;
                if y < top {
                    skyline[sub] = y.max(0.0);
                    reveal(&mut self.hits, view, px, k, (y, top, old));
                }
            }
            if k % 64 == 0
                && crew
                    .report(Stage::Land, 0.3 + 0.2 * k as f32 / slices as f32)
                    .is_break()
            {
                return None;
            }
        }
        // The last sliver below the horizon belongs to what lies farthest.
        for (sub, top) in skyline.iter().enumerate() {
            if *top > view.horizon && view.horizon < bottom {
                reveal(
                    &mut self.hits,
                    view,
                    sub / 2,
                    slices - 1,
                    (view.horizon, *top, *top),
                );
            }
        }
        Some(())
    }

    /// The height of open water: waves near by, flat far away.
    pub(super) fn water(&self, x: f32, z: f32) -> f32 {
        if self.swell <= 0.0 {
            return 0.0;
        }
        let calm = smooth(900.0, 60.0, z);
        if calm <= 0.0 {
            return 0.0;
        }
        let warp = 4.0 * wave(x / 23.0, z / 17.0, self.salt ^ 91);
        let long = sin(0.33 * (z + 0.35 * x) * 0.55 + warp * 0.35);
        let crest = 1.0 - long.abs() * 2.0;
        let chop = wave(x / 5.0, z / 3.2, self.salt ^ 92);
        self.swell * calm * (0.55 * crest + 0.35 * long + 0.4 * chop)
    }

    /// The place a pixel column sees on a slice.
    pub(super) fn spot(&self, view: &View, px: usize, slice: f32, wet: bool) -> Spot {
        let last = self.far.len() - 2;
        let k = index(slice, last + 1);
        let t = (slice - k as f32).clamp(0.0, 1.0);
        let (z0, z1) = (self.far[k], self.far[k + 1]);
        let z = lerp(z0, z1, t);
        let c = px + self.margin;
        let a = k * self.columns + c;
        let b = a + self.columns;
        let across = self.across(view, c as f32);
        let x = across * z;
        let at = |i: usize, dx: isize, zz: f32| {
            let i = i.wrapping_add_signed(dx);
            let h = self.cells[i].0;
            if wet && h < 0.0 {
                h.max(self.water(x + dx as f32 * view.grain(zz), zz))
            } else {
                h
            }
        };
        let bed = lerp(self.cells[a].0, self.cells[b].0, t);
        let (ya, yb) = (at(a, 0, z0), at(b, 0, z1));
        let y = lerp(ya, yb, t);
        let side = lerp(
            at(a, 1, z0) - at(a, -1, z0),
            at(b, 1, z1) - at(b, -1, z1),
            t,
        );
        let rise_x = side * 0.5 / view.grain(z);
        // The slope away from the eye, taken across the slices around each end
        // and blended, or every slice would show as a facet.
        let before = k.saturating_sub(1);
        let after = (k + 2).min(last + 1);
        let (zb, za) = (self.far[before], self.far[after]);
        let (yp, yn) = (
            at(before * self.columns + c, 0, zb),
            at(after * self.columns + c, 0, za),
        );
        let away = lerp((yb - yp) / (z1 - zb), (yn - ya) / (za - z0), t);
        let rise_z = away - rise_x * across;
        let ceiling = lerp(self.cells[a].1, self.cells[b].1, t);
        let soft = 0.15 + view.grain(z) * 2.5;
        Spot {
            x,
            y,
            z,
            rise: (rise_x, rise_z),
            bed,
            lit: smooth(soft, -soft, ceiling - y),
        }
    }
}

/// Distances: even steps of proportion, finer where something is to be looked at.
fn slices(view: &View, focus: Option<(f32, f32)>) -> Vec<f32> {
    let h = view.height as f32;
    let drop = (h - view.horizon).max(h * 0.05);
    let near = (view.focal * view.eye / drop * 0.5).clamp(0.5, 60.0);
    let end = (4.0 * view.focal * view.eye).clamp(16_000.0, 60_000.0);
    let budget = (1.15 * view.focal).clamp(240.0, 1500.0);
    let step = libm::powf(end / near, 1.0 / budget);
    let mut far = Vec::new();
    let mut z = near;
    while z < end {
        far.push(z);
        let fine = focus.is_some_and(|(a, b)| z > a && z < b);
        z *= if fine { 1.0 + (step - 1.0) * 0.4 } else { step };
    }
    far.push(end);
    far
}

/// Writes into each cell the height below which the light does not reach it.
fn cast_shadows(row: &mut [(f32, f32)], light: f32, grain: f32) {
    let fall = light.abs().max(0.02) * grain;
    let mut ceiling = f32::MIN;
    let mut cast = |cell: &mut (f32, f32)| {
        cell.1 = ceiling - fall;
        ceiling = (ceiling - fall).max(cell.0);
    };
    if light > 0.0 {
        row.iter_mut().rev().for_each(&mut cast);
    } else {
        row.iter_mut().for_each(&mut cast);
    }
}

/// Marks the rows from `y` down to `top` in one half of a column with slice `k`.
fn reveal(hits: &mut [Hit], view: &View, px: usize, k: usize, (y, top, old): (f32, f32, f32)) {
    let first = floor(y.max(0.0));
    let last = floor(top.min(view.height as f32) - 1e-4);
    for row in first..=last {
        let r = row as f32;
        let (a, b) = (r.max(y), (r + 1.0).min(top));
        let share = (b - a) * 0.5;
        if share <= 0.0 {
            continue;
        }
        let back = if old > y + 1e-6 {
            (((a + b) * 0.5 - y) / (old - y)).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let slice = (k as f32 - back).max(0.0);
        let Ok(row) = usize::try_from(row) else {
            continue;
        };
        let hit = &mut hits[row * view.width + px];
        let near = |s: f32| (slice - s).abs() < 3.0 + 0.004 * slice;
        let slot = usize::from(hit.share[0] > 0.0 && !near(hit.slice[0]));
        let total = hit.share[slot] + share;
        hit.slice[slot] = (hit.slice[slot] * hit.share[slot] + slice * share) / total;
        hit.share[slot] = total;
    }
}

/// The colour of a pixel is `share`s of what it hits; the rest is sky.
pub(super) fn covered(hit: &Hit) -> f32 {
    (hit.share[0] + hit.share[1]).min(1.0)
}
