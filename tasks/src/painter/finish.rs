//! From light to a picture: bloom, tone, the hand of a style, grain.

use image::RgbImage;

use super::Stage;
use super::crew::{Crew, Part};
use super::frame::Pixel;
use super::maths::{BLACK, Rgb, byte, clamp01, index, lerp, smooth, v3};
use super::noise::cell;
use super::plan::Plan;

/// Turns linear light into bytes.
pub(super) fn finish(
    plan: &Plan,
    colors: Vec<Rgb>,
    _pixels: &[Pixel],
    crew: &mut Crew<'_>,
) -> Option<RgbImage> {
    let (width, height) = (plan.view.width, plan.view.height);
    let bloom = Bloom::new(&colors, width, height, plan.view.unit());
    let curve = Curve::new();
    let mut bytes = vec![0u8; width * height * 3];
    let flow = crew.pieces(
        Part(Stage::Finish, 0.2, 1.0),
        &mut bytes,
        width * 3,
        |y, row| {
            for (x, out) in row.chunks_exact_mut(3).enumerate() {
                let color = colors[y * width + x] + bloom.at(x, y);
                let (u, v) = (
                    x as f32 / width as f32 - 0.5,
                    y as f32 / height as f32 - 0.5,
                );
                let corner = 1.0 - 0.36 * smooth(0.18, 0.75, u * u + v * v);
                let color = shoulder(color * corner);
                let (ix, iy) = (i32::try_from(x).unwrap_or(0), i32::try_from(y).unwrap_or(0));
                let grain = cell(ix, iy, plan.salt) + cell(ix, iy, plan.salt ^ 1) - 1.0;
                for (o, c) in out.iter_mut().zip([color.x, color.y, color.z]) {
                    *o = byte(curve.level(c) + 0.5 + grain * 1.6);
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

/// Bright colours bend towards white instead of being cut off.
fn shoulder(c: Rgb) -> Rgb {
    let over = (c.luma() - 1.0).max(0.0);
    let pale = over / (over + 1.6);
    c.mix(v3(c.luma(), c.luma(), c.luma()), pale * 0.7)
        .map(|x| {
            let x = x.max(0.0);
            if x < 0.6 {
                x
            } else {
                0.6 + 0.4 * ((x - 0.6) / (x - 0.6 + 0.4))
            }
        })
}

/// Light that spills over its edges.
struct Bloom {
    width: usize,
    height: usize,
    step: usize,
    cells: Vec<Rgb>,
}

impl Bloom {
    fn new(colors: &[Rgb], width: usize, height: usize, unit: f32) -> Self {
        let step = index((4.0 * unit).max(1.0), 64).max(1);
        let (w, h) = (width.div_ceil(step), height.div_ceil(step));
        let mut cells = vec![BLACK; w * h];
        for (y, row) in colors.chunks_exact(width).enumerate() {
            for (x, c) in row.iter().enumerate() {
                let over = c.map(|v| (v - 0.85).clamp(0.0, 4.0));
                cells[y / step * w + x / step] += over;
            }
        }
        let area = 1.0 / (step * step) as f32;
        for c in &mut cells {
            *c = *c * area;
        }
        let mut wide = cells.clone();
        for _ in 0..3 {
            blur(&mut cells, w, h, 2);
            blur(&mut wide, w, h, 9);
        }
        for (a, b) in cells.iter_mut().zip(&wide) {
            *a = *a * 0.30 + *b * 0.34;
        }
        Self {
            width: w,
            height: h,
            step,
            cells,
        }
    }

    fn at(&self, x: usize, y: usize) -> Rgb {
        let fx = ((x as f32 + 0.5) / self.step as f32 - 0.5).max(0.0);
        let fy = ((y as f32 + 0.5) / self.step as f32 - 0.5).max(0.0);
        let (x0, y0) = (index(fx, self.width), index(fy, self.height));
        let (x1, y1) = ((x0 + 1).min(self.width - 1), (y0 + 1).min(self.height - 1));
        let (tx, ty) = (clamp01(fx - x0 as f32), clamp01(fy - y0 as f32));
        let get = |x: usize, y: usize| self.cells[y * self.width + x];
        get(x0, y0)
            .mix(get(x1, y0), tx)
            .mix(get(x0, y1).mix(get(x1, y1), tx), ty)
    }
}

/// A box blur of the given radius, along rows and then along columns.
fn blur(cells: &mut [Rgb], w: usize, h: usize, radius: usize) {
    let pass = |cells: &mut [Rgb], start: usize, stride: usize, len: usize, line: &mut Vec<Rgb>| {
        line.clear();
        line.extend((0..len).map(|i| cells[start + i * stride]));
        let scale = 1.0 / (2 * radius + 1) as f32;
        let get = |i: usize| line[i.min(len - 1)];
        let mut sum = line[0] * (radius as f32 + 1.0);
        for i in 0..radius {
            sum += get(i);
        }
        for i in 0..len {
            sum = sum + get(i + radius) - line[i.saturating_sub(radius + 1)];
            cells[start + i * stride] = sum * scale;
        }
    };
    let mut line = Vec::new();
    for y in 0..h {
        pass(cells, y * w, 1, w, &mut line);
    }
    for x in 0..w {
        pass(cells, x, w, h, &mut line);
    }
}

/// Linear light to screen levels, from a table.
struct Curve(Vec<f32>);

impl Curve {
    fn new() -> Self {
        Self(
            (0u16..=2048)
                .map(|i| {
                    let root = f32::from(i) / 2048.0;
                    let c = root * root;
                    255.0
                        * if c <= 0.003_130_8 {
                            12.92 * c
                        } else {
                            1.055 * libm::powf(c, 1.0 / 2.4) - 0.055
                        }
                })
                .collect(),
        )
    }

    fn level(&self, c: f32) -> f32 {
        let at = clamp01(c).sqrt() * 2048.0;
        let i = index(at, 2048);
        lerp(self.0[i], self.0[i + 1], at - i as f32)
    }
}
