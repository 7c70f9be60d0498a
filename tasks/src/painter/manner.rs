//! The hand of a style over a finished view: washes, strokes, cut lines.

use super::frame::{Pixel, SKY, WATER};
use super::maths::{BLACK, Rgb, clamp01, floor, index, lerp, smooth, v3};
use super::noise::{cell, fbm, value, wave};
use super::plan::Plan;
use super::scene::Style;

/// Applies one style to screen colours from 0 to 1.
#[derive(Debug)]
pub(super) struct Manner<'a> {
    plan: &'a Plan,
    pixels: &'a [Pixel],
    toned: &'a [Rgb],
}

impl<'a> Manner<'a> {
    pub(super) fn new(plan: &'a Plan, pixels: &'a [Pixel], toned: &'a [Rgb]) -> Self {
        Self {
            plan,
            pixels,
            toned,
        }
    }

    /// How strong the grain is, in levels of 255.
    pub(super) fn grain(&self) -> f32 {
        match self.plan.style {
            Style::Noir => 8.0,
            Style::Sepia => 6.0,
            Style::Woodcut => 1.0,
            Style::Plain
            | Style::Neon
            | Style::Pastel
            | Style::Autumn
            | Style::Winter
            | Style::Watercolor
            | Style::Oil => 1.7,
        }
    }

    /// The colour of a pixel.
    pub(super) fn color(&self, x: usize, y: usize) -> Rgb {
        match self.plan.style {
            Style::Watercolor => self.watercolor(x, y),
            Style::Oil => self.oil(x, y),
            Style::Woodcut => self.woodcut(x, y),
            Style::Plain
            | Style::Neon
            | Style::Noir
            | Style::Pastel
            | Style::Autumn
            | Style::Winter
            | Style::Sepia => self.toned[y * self.plan.view.width + x],
        }
    }

    fn at(&self, x: f32, y: f32) -> Rgb {
        let view = &self.plan.view;
        self.toned[index(y, view.height) * view.width + index(x, view.width)]
    }

    /// Kuwahara's filter: of four squares around a place, the most even one
    /// gives its mean. Detail melts, edges stay.
    fn melted(&self, x: f32, y: f32, radius: f32) -> (Rgb, f32) {
        let step = radius / 3.0;
        let mut best = (BLACK, f32::MAX);
        for (sx, sy) in [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)] {
            let (mut sum, mut square, mut luma) = (BLACK, 0.0, 0.0);
            for j in 0u8..4 {
                for i in 0u8..4 {
                    let c = self.at(x + sx * step * f32::from(i), y + sy * step * f32::from(j));
                    let l = c.luma();
                    sum += c;
                    luma += l;
                    square += l * l;
                }
            }
            let mean = luma / 16.0;
            let variance = square / 16.0 - mean * mean;
            if variance < best.1 {
                best = (sum * (1.0 / 16.0), variance);
            }
        }
        best
    }

    fn watercolor(&self, x: usize, y: usize) -> Rgb {
        let view = &self.plan.view;
        let unit = view.unit();
        let salt = self.plan.salt;
        let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
        let (nx, ny) = (px / unit, py / unit);
        // A wet edge wanders.
        let sway = 2.6 * unit;
        let wx = px + sway * fbm(nx / 16.0, ny / 16.0, 3, salt ^ 11);
        let wy = py + sway * fbm(nx / 16.0 + 40.0, ny / 16.0, 3, salt ^ 12);
        let (wash, _) = self.melted(wx, wy, (4.2 * unit).max(2.0));
        // Pigment gathers where a wash ends.
        let d = 2.4 * unit;
        let across = (self.at(wx + d, wy).luma() - self.at(wx - d, wy).luma()).abs();
        let down = (self.at(wx, wy + d).luma() - self.at(wx, wy - d).luma()).abs();
        let edge = smooth(0.05, 0.32, across + down);
        let bloom = fbm(nx / 70.0, ny / 70.0, 4, salt ^ 13);
        let density = 1.0 + 0.22 * bloom + 0.20 * edge;
        let tooth =
            value(nx / 1.7, ny / 1.7, salt ^ 14) * 0.6 + value(nx / 0.9, ny / 0.9, salt ^ 15) * 0.4;
        let paper = v3(0.985, 0.972, 0.945) * (0.975 + 0.03 * tooth);
        // Pigment is what the paper does not send back.
        let pigment =
            (v3(1.0, 1.0, 1.0) - wash).map(|c| c.max(0.0)) * (density * (0.86 + 0.20 * tooth));
        let edge_x = (px.min(view.width as f32 - px)) / unit;
        let edge_y = (py.min(view.height as f32 - py)) / unit;
        let ragged = 6.0 * fbm(nx / 26.0, ny / 26.0, 4, salt ^ 16);
        let inside = smooth(11.0, 15.0, edge_x.min(edge_y) + ragged);
        let rim = 1.0 + 0.35 * smooth(22.0, 14.5, edge_x.min(edge_y) + ragged);
        (paper - pigment * (inside * rim)).map(clamp01)
    }

    fn oil(&self, x: usize, y: usize) -> Rgb {
        let unit = self.plan.view.unit();
        let salt = self.plan.salt;
        let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
        let (nx, ny) = (px / unit, py / unit);
        // Strokes follow a slow field; what lies below flows along with it.
        let turn = 1.6 * wave(nx / 120.0, ny / 90.0, salt ^ 21)
            + if self.pixels[y * self.plan.view.width + x].z == SKY {
                0.15
            } else {
                0.7
            };
        let (cos, sin) = (
            super::maths::sin(turn + std::f32::consts::FRAC_PI_2),
            super::maths::sin(turn),
        );
        let (along, across) = (nx * cos + ny * sin, ny * cos - nx * sin);
        let shift = 3.4 * unit * wave(along / 14.0, across / 3.2, salt ^ 22);
        let (paint, _) = self.melted(px + cos * shift, py + sin * shift, (3.3 * unit).max(1.5));
        let bristle = fbm(along / 16.0, across / 1.5, 3, salt ^ 23);
        let above = fbm(along / 16.0, across / 1.5 - 0.55, 3, salt ^ 23);
        let relief = clamp01(0.5 + 0.9 * (bristle - above)) - 0.5;
        let tint = 0.05 * cell(floor(along / 18.0), floor(across / 4.0), salt ^ 24);
        (paint.saturate(1.18) * (0.98 + 0.20 * relief + tint)).map(clamp01)
    }

    fn woodcut(&self, x: usize, y: usize) -> Rgb {
        let view = &self.plan.view;
        let unit = view.unit().max(0.35);
        let salt = self.plan.salt;
        let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
        let (nx, ny) = (px / unit, py / unit);
        let at = y * view.width + x;
        let (c, _) = self.melted(px, py, (2.4 * unit).max(1.5));
        let light = clamp01((c.x * 0.35 + c.y * 0.5 + c.z * 0.15 - 0.10) * 1.25);
        // Sky is cut level, water level and finer, land along its slopes.
        let z = self.pixels[at].z;
        let (pitch, run) = if z == SKY {
            (5.0, ny + 5.0 * wave(nx / 60.0, ny / 40.0, salt ^ 31))
        } else if z == WATER {
            (4.0, ny + 1.4 * wave(nx / 12.0, ny / 6.0, salt ^ 32))
        } else {
            (
                4.2,
                ny * 0.55 + nx * 0.83 + 7.0 * wave(nx / 34.0, ny / 34.0, salt ^ 33),
            )
        };
        let s = run / pitch;
        let f = (s - floor(s) as f32 - 0.5).abs() * 2.0;
        let ragged = 0.10 * wave(nx / 3.0, ny / 3.0, salt ^ 34);
        let dark = clamp01(1.0 - smooth(0.04, 0.92, light + ragged));
        let soft = (1.4 / (pitch * unit)).min(0.9);
        let mut ink = smooth(soft, -soft, f - (dark * 1.25 - 0.12));
        if dark > 0.90 {
            ink = ink.max(smooth(0.90, 0.97, dark));
        }
        // A cut outline where depths part.
        let d = (1.2 * unit).max(1.0);
        let depth = |dx: f32, dy: f32| {
            let at = index(py + dy, view.height) * view.width + index(px + dx, view.width);
            let z = self.pixels[at].z;
            if z == WATER { 2.0e4 } else { z.min(4.0e4) }
        };
        let here = depth(0.0, 0.0);
        let part = |dx: f32, dy: f32| {
            let there = depth(dx, dy);
            ((there - here).abs() / there.min(here).max(1.0)).min(2.0)
        };
        let outline = smooth(0.25, 0.6, part(d, 0.0).max(part(0.0, d)));
        let ink = ink.max(outline * 0.9);
        let tooth = value(nx / 1.3, ny / 1.3, salt ^ 35);
        let paper = v3(0.955, 0.925, 0.85) * (0.975 + 0.035 * tooth);
        let black = v3(0.085, 0.075, 0.075) + v3(0.05, 0.05, 0.05) * smooth(0.75, 1.0, tooth);
        paper.mix(black, lerp(0.0, 0.97, clamp01(ink)))
    }
}
