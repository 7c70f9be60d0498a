//! Small arithmetic that comes out the same on every machine.
//!
//! Only additions, products, quotients and square roots of `f32` (which IEEE
//! 754 fixes to the last bit), plus `libm` where speed is no matter: the
//! platform's own `sin` and `exp` differ between systems, and a picture must not.

use std::ops::{Add, AddAssign, Mul, Neg, Sub};

/// A direction, a place in the world in metres, or a colour in linear light.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct V3 {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) z: f32,
}

/// A colour in linear light: `x` red, `y` green, `z` blue; above one is brighter than paper.
pub(super) type Rgb = V3;

pub(super) const fn v3(x: f32, y: f32, z: f32) -> V3 {
    V3 { x, y, z }
}

pub(super) const BLACK: Rgb = v3(0.0, 0.0, 0.0);

impl V3 {
    pub(super) fn dot(self, o: V3) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    pub(super) fn unit(self) -> V3 {
        let length = self.dot(self).sqrt();
        if length > 1e-12 {
            self * (1.0 / length)
        } else {
            v3(0.0, 1.0, 0.0)
        }
    }

    pub(super) fn mix(self, o: V3, t: f32) -> V3 {
        self + (o - self) * t
    }

    /// How bright it looks.
    pub(super) fn luma(self) -> f32 {
        0.2126 * self.x + 0.7152 * self.y + 0.0722 * self.z
    }

    /// Moves towards grey (`< 1`) or away from it (`> 1`), never below black.
    pub(super) fn saturate(self, amount: f32) -> V3 {
        let grey = self.luma();
        let out = v3(grey, grey, grey).mix(self, amount);
        v3(out.x.max(0.0), out.y.max(0.0), out.z.max(0.0))
    }

    pub(super) fn map(self, f: impl Fn(f32) -> f32) -> V3 {
        v3(f(self.x), f(self.y), f(self.z))
    }
}

impl Add for V3 {
    type Output = V3;
    fn add(self, o: V3) -> V3 {
        v3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl AddAssign for V3 {
    fn add_assign(&mut self, o: V3) {
        *self = *self + o;
    }
}

impl Sub for V3 {
    type Output = V3;
    fn sub(self, o: V3) -> V3 {
        v3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Neg for V3 {
    type Output = V3;
    fn neg(self) -> V3 {
        v3(-self.x, -self.y, -self.z)
    }
}

impl Mul<f32> for V3 {
    type Output = V3;
    fn mul(self, k: f32) -> V3 {
        v3(self.x * k, self.y * k, self.z * k)
    }
}

impl Mul for V3 {
    type Output = V3;
    fn mul(self, o: V3) -> V3 {
        v3(self.x * o.x, self.y * o.y, self.z * o.z)
    }
}

/// A colour as designers write it, `0xRRGGBB`, in linear light.
pub(super) fn srgb(hex: u32) -> Rgb {
    let channel = |shift: u32| {
        let c = ((hex >> shift) & 0xff) as f32 / 255.0;
        if c <= 0.04045 {
            c / 12.92
        } else {
            libm::powf((c + 0.055) / 1.055, 2.4)
        }
    };
    v3(channel(16), channel(8), channel(0))
}

pub(super) fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

pub(super) fn clamp01(x: f32) -> f32 {
    x.clamp(0.0, 1.0)
}

/// 0 below `a`, 1 above `b`, smooth between; `a > b` falls instead.
pub(super) fn smooth(a: f32, b: f32, x: f32) -> f32 {
    let t = clamp01((x - a) / (b - a));
    t * t * (3.0 - 2.0 * t)
}

/// `e` to the power of `x`, good to four digits.
pub(super) fn exp(x: f32) -> f32 {
    let t = (x * std::f32::consts::LOG2_E).clamp(-120.0, 120.0);
    let whole = floor(t);
    let f = t - whole as f32;
    let two_to_f = 1.0 + f * (0.695_556_9 + f * (0.226_173_1 + f * 0.078_270_0));
    let bits = (whole + 127).clamp(1, 254).cast_unsigned() << 23;
    two_to_f * f32::from_bits(bits)
}

/// The sine of `x`, good to three digits; for waves and wobbles.
pub(super) fn sin(x: f32) -> f32 {
    let turns = x * (0.5 / std::f32::consts::PI);
    let t = turns - floor(turns + 0.5) as f32;
    let parabola = t * (8.0 - 16.0 * t.abs());
    parabola * (0.775 + 0.225 * parabola.abs())
}

/// The largest whole number not above `x`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "coordinates stay far inside i32, and the cast saturates"
)]
pub(super) fn floor(x: f32) -> i32 {
    let cut = x as i32;
    if (cut as f32) > x { cut - 1 } else { cut }
}

/// `x` as an index into something with `len` places, clamped to them.
pub(super) fn index(x: f32, len: usize) -> usize {
    let cell = usize::try_from(floor(x)).unwrap_or(0);
    cell.min(len.saturating_sub(1))
}

/// A level from 0 to 255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a byte first"
)]
pub(super) fn byte(x: f32) -> u8 {
    x.clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_functions_stay_close_to_the_exact_ones() {
        for i in -400..400 {
            let x = i as f32 * 0.05;
            assert!((sin(x) - libm::sinf(x)).abs() < 2e-3, "sin {x}");
            assert!(
                (exp(x) / libm::expf(x) - 1.0).abs() < 1e-3,
                "exp {x}: {} {}",
                exp(x),
                libm::expf(x)
            );
        }
    }

    #[test]
    fn floor_rounds_down_on_both_sides_of_zero() {
        assert_eq!((floor(1.5), floor(-1.5), floor(-2.0)), (1, -2, -2));
        assert_eq!((index(-3.0, 4), index(9.0, 4), index(2.9, 4)), (0, 3, 2));
    }
}
