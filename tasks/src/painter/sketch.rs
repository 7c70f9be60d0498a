//! A picture that is not done yet, small and rough: for people who wait.

use std::fmt;

use image::RgbImage;

use super::finish::Tone;
use super::maths::{BLACK, Rgb, byte};
use super::plan::Plan;

/// Places looked at for each pixel of a sketch, each way.
const LOOKS: usize = 3;

/// What is painted so far; made into pixels only where somebody asks.
pub struct Sketch<'a> {
    pub(super) plan: &'a Plan,
    pub(super) color: &'a dyn Fn(usize) -> Rgb,
}

impl fmt::Debug for Sketch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketch").finish_non_exhaustive()
    }
}

impl Sketch<'_> {
    /// As a picture whose longer side has so many pixels at most. What is not painted yet is black.
    #[must_use]
    pub fn shrunk(&self, side: u32) -> RgbImage {
        let (width, height) = (self.plan.view.width, self.plan.view.height);
        let longer = width.max(height);
        let side = (side.max(1) as usize).min(longer);
        let scaled = |length: usize| (length * side / longer).max(1);
        let (across, down) = (scaled(width), scaled(height));
        let tone = Tone::new(self.plan.style);
        let mut bytes = Vec::with_capacity(across * down * 3);
        for y in 0..down {
            for x in 0..across {
                let mut sum = BLACK;
                for look in 0..LOOKS * LOOKS {
                    let (dx, dy) = (look % LOOKS, look / LOOKS);
                    let column = (x * LOOKS + dx) * width / (across * LOOKS);
                    let row = (y * LOOKS + dy) * height / (down * LOOKS);
                    sum += (self.color)(row * width + column);
                }
                let color = tone.of(sum * (1.0 / (LOOKS * LOOKS) as f32));
                bytes.extend([color.x, color.y, color.z].map(|c| byte(c * 255.0 + 0.5)));
            }
        }
        let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        RgbImage::from_raw(size(across), size(down), bytes).unwrap_or_default()
    }
}
