//! What is in the air between the land and the eye: rain, snow, a lighthouse's beams.

use super::maths::{Rgb, clamp01, exp, floor, smooth, v3};
use super::noise::{cell, fbm};
use super::plan::Plan;
use super::props::Kind;
use super::scene::{Style, Time};

/// The air of one picture.
#[derive(Debug)]
pub(super) struct Weather<'a> {
    plan: &'a Plan,
    beams: Vec<Beam>,
    rain: Rgb,
}

/// Light that leaves a lamp to both sides.
#[derive(Debug, Clone, Copy)]
struct Beam {
    at: (f32, f32),
    way: (f32, f32),
    z: f32,
    color: Rgb,
}

impl<'a> Weather<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let shows = match plan.time {
            Time::Dusk | Time::Night | Time::Storm => 1.0,
            Time::Sunset => 0.4,
            Time::Dawn | Time::Day | Time::GoldenHour => 0.0,
        };
        let strength = shows * (0.5 + 0.35 * plan.mist + if plan.rain { 0.15 } else { 0.0 });
        let color = if plan.style == Style::Neon {
            v3(0.4, 1.0, 1.3)
        } else {
            v3(1.0, 0.86, 0.55)
        };
        let beams = plan
            .props
            .iter()
            .filter(|prop| prop.kind == Kind::Lighthouse && strength > 0.0)
            .map(|prop| {
                let at = plan
                    .view
                    .project(v3(prop.x, prop.y + prop.size * 0.83, prop.z));
                let side = if at.0 > plan.view.middle { -1.0 } else { 1.0 };
                let way = v3(side, -0.10, 0.0).unit();
                Beam {
                    at,
                    way: (way.x, way.y),
                    z: prop.z,
                    color: color * strength,
                }
            })
            .collect();
        let p = &plan.palette;
        Self {
            plan,
            beams,
            rain: (p.horizon * 0.6 + p.ambient * 0.8 + v3(0.02, 0.02, 0.02)).saturate(0.5),
        }
    }

    /// A pixel's light with the air before it.
    pub(super) fn over(&self, x: usize, y: usize, z: f32, light: Rgb) -> Rgb {
        let mut out = light;
        let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
        for beam in &self.beams {
            out += self.beam(beam, px, py, z);
        }
        if self.plan.rain {
            let k = self.streaks(px, py);
            out = out.mix(self.rain, k) + self.rain * (0.35 * k);
        }
        if self.plan.snow {
            let k = self.flakes(px, py);
            out = out.mix(
                self.plan.palette.ambient * 1.1 + self.plan.palette.key * 0.42,
                k,
            );
        }
        out
    }

    fn beam(&self, beam: &Beam, px: f32, py: f32, z: f32) -> Rgb {
        let f = self.plan.view.focal;
        let (dx, dy) = ((px - beam.at.0) / f, (py - beam.at.1) / f);
        let along = dx * beam.way.0 + dy * beam.way.1;
        let off = dy * beam.way.0 - dx * beam.way.1;
        // The beam behind the lamp points away from the eye: shorter and fainter.
        let (run, reach, share) = if along > 0.0 {
            (along, 0.62, 1.0)
        } else {
            (-along, 0.28, 0.55)
        };
        let wide = 0.006 + 0.075 * run;
        let t = off / wide;
        if t.abs() > 2.2 || (z > 0.0 && z < beam.z * 0.97) {
            return v3(0.0, 0.0, 0.0);
        }
        let body = exp(-t * t * 1.6) * exp(-run / reach);
        let dust = 0.86 + 0.3 * fbm(dx * 9.0, dy * 9.0, 3, self.plan.salt ^ 3);
        beam.color * (body * share * dust)
    }

    fn streaks(&self, px: f32, py: f32) -> f32 {
        let unit = self.plan.view.unit().max(0.25);
        let mut sum = 0.0;
        for (layer, (across, long, strength)) in
            (0u32..).zip([(5.0, 26.0, 0.16), (9.0, 44.0, 0.20), (17.0, 80.0, 0.26)])
        {
            let salt = self.plan.salt ^ (layer * 313 + 9);
            // Wind slants it.
            let (x, y) = ((px + py * 0.20) / (across * unit), py / (long * unit));
            let column = floor(x);
            let y = y + 7.0 * cell(column, 0, salt);
            let row = floor(y);
            if cell(column, row, salt ^ 1) > 0.34 {
                continue;
            }
            let (u, v) = (x - column as f32, y - row as f32);
            let middle = 0.25 + 0.5 * cell(column, row, salt ^ 2);
            let line = smooth(0.9 / across / unit.min(1.0) * 1.2, 0.0, (u - middle).abs());
            sum += strength * line * v * smooth(1.0, 0.9, v);
        }
        clamp01(sum)
    }

    fn flakes(&self, px: f32, py: f32) -> f32 {
        let unit = self.plan.view.unit().max(0.25);
        let mut clear = 1.0;
        for (layer, (size, r, strength)) in (0u32..).zip([
            (9.0, 0.8, 0.55),
            (15.0, 1.2, 0.70),
            (29.0, 2.0, 0.80),
            (70.0, 4.4, 0.55),
        ]) {
            let salt = self.plan.salt ^ (layer * 131 + 77);
            let size = size * unit;
            let (x, y) = ((px + 0.15 * py) / size, py / size);
            let (i, j) = (floor(x), floor(y));
            if cell(i, j, salt) > 0.5 {
                continue;
            }
            let reach = r * unit / size * 1.4;
            let place = |n: f32| reach + (1.0 - 2.0 * reach) * n;
            let dx = (x - i as f32 - place(cell(i, j, salt ^ 1))) * size;
            let dy = (y - j as f32 - place(cell(i, j, salt ^ 2))) * size;
            let d = (dx * dx + dy * dy).sqrt();
            let r = r * unit * (0.6 + 0.5 * cell(i, j, salt ^ 3));
            clear *= 1.0 - strength * smooth(r * 1.3 + 0.4, r * 0.3, d);
        }
        1.0 - clear
    }
}
