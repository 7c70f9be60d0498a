//! Light that spills over its edges, as in an eye or a lens.

use super::Stage;
use super::crew::{Crew, Part};
use super::maths::{BLACK, Rgb, clamp01, index};

/// The spilled light of one picture, at a fraction of its size.
#[derive(Debug)]
pub(super) struct Bloom {
    width: usize,
    height: usize,
    step: usize,
    cells: Vec<Rgb>,
}

impl Bloom {
    /// `None` when somebody stopped the work.
    pub(super) fn new(
        colors: &[Rgb],
        (width, height): (usize, usize),
        unit: f32,
        crew: &mut Crew<'_>,
    ) -> Option<Self> {
        let step = index((4.0 * unit).max(1.0), 64).max(1);
        let (w, h) = (width.div_ceil(step), height.div_ceil(step));
        let mut cells = vec![BLACK; w * h];
        let area = 1.0 / (step * step) as f32;
        let flow = crew.pieces(Part(Stage::Finish, 0.0, 0.1), &mut cells, w, |y, row| {
            let rows = colors.chunks_exact(width).skip(y * step).take(step);
            for (x, c) in rows.flat_map(|row| row.iter().enumerate()) {
                row[x / step] += c.map(|v| (v - 0.85).clamp(0.0, 4.0)) * area;
            }
        });
        if flow.is_break() {
            return None;
        }
        let mut wide = cells.clone();
        for _ in 0..3 {
            blur(&mut cells, w, h, 2);
            blur(&mut wide, w, h, 9);
        }
        for (a, b) in cells.iter_mut().zip(&wide) {
            *a = *a * 0.30 + *b * 0.34;
        }
        Some(Self {
            width: w,
            height: h,
            step,
            cells,
        })
    }

    pub(super) fn at(&self, x: usize, y: usize) -> Rgb {
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
