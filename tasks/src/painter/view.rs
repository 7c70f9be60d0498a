//! From metres to pixels: where the eye stands and what it sees.
//!
//! The world is right-handed enough for a painter: `x` to the right, `y` up from
//! the water, `z` away from the eye, all in metres; the eye is at `(0, eye, 0)`.

use super::maths::V3;

/// A pinhole camera that always looks at the horizon.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Pixels a metre at a metre's distance.
    pub(super) focal: f32,
    /// The column the eye looks at.
    pub(super) middle: f32,
    /// The row of the horizon.
    pub(super) horizon: f32,
    /// Metres above the water.
    pub(super) eye: f32,
}

impl View {
    pub(super) fn new(width: usize, height: usize, horizon: f32, eye: f32) -> Self {
        let (w, h) = (width as f32, height as f32);
        Self {
            width,
            height,
            focal: 1.15 * (w * h).sqrt(),
            middle: w * 0.5,
            horizon: h * horizon,
            eye,
        }
    }

    /// The pixel where a place appears.
    pub(super) fn project(&self, p: V3) -> (f32, f32) {
        let k = self.focal / p.z.max(0.01);
        (self.middle + p.x * k, self.horizon - (p.y - self.eye) * k)
    }

    /// How far right a column at share `u` of the width lies, at distance `z`.
    pub(super) fn across(&self, u: f32, z: f32) -> f32 {
        (u * self.width as f32 - self.middle) / self.focal * z
    }

    /// The direction of a pixel: `x` and `y` for one metre of `z`.
    pub(super) fn slope(&self, column: f32, row: f32) -> (f32, f32) {
        (
            (column - self.middle) / self.focal,
            (self.horizon - row) / self.focal,
        )
    }

    /// How large a pixel is at distance `z`, in metres.
    pub(super) fn grain(&self, z: f32) -> f32 {
        z / self.focal
    }

    /// The size of the picture as one number, for what scales with it.
    pub(super) fn unit(&self) -> f32 {
        self.focal / 589.0
    }
}
