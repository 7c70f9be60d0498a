//! The sheets a picture is built from, before they become one.

use super::maths::Rgb;

/// Nothing stands before the sky.
pub(super) const SKY: f32 = f32::MAX;
/// Water: it mirrors, and is never mirrored.
pub(super) const WATER: f32 = -1.0;

/// Sky and land.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pixel {
    pub(super) color: Rgb,
    /// Metres to the nearest ground; [`SKY`] or [`WATER`].
    pub(super) z: f32,
}

/// Things drawn over it: colour already multiplied by `alpha`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ink {
    pub(super) color: Rgb,
    pub(super) alpha: f32,
    /// Metres to the thing.
    pub(super) z: f32,
}
