//! Chance that can be asked twice: seeded numbers, and noise over the plane.

use super::maths::{clamp01, floor, lerp};

/// A stream of numbers from a seed (`SplitMix64` of Steele, Lea and Flood).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// One stream for each `(seed, purpose)`, so that adding a tree moves no cloud.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        for b in purpose.bytes() {
            state = (state ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(state)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A seed for noise.
    pub(super) fn salt(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).expect("32 bits are left")
    }

    /// Evenly from `a` up to `b`.
    pub(super) fn range(&mut self, a: f32, b: f32) -> f32 {
        lerp(a, b, unit(self.salt()))
    }

    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.range(0.0, 1.0) < probability
    }

    /// -1 or 1.
    pub(super) fn side(&mut self) -> f32 {
        if self.chance(0.5) { -1.0 } else { 1.0 }
    }
}

/// The upper 24 bits as a number from 0 to 1.
fn unit(h: u32) -> f32 {
    (h >> 8) as f32 * (1.0 / 16_777_216.0)
}

pub(super) fn hash(x: i32, y: i32, salt: u32) -> u32 {
    let mut h = x.cast_unsigned().wrapping_mul(0x9e37_79b1)
        ^ y.cast_unsigned().wrapping_mul(0x85eb_ca77).rotate_left(13)
        ^ salt.wrapping_mul(0xc2b2_ae3d);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^ (h >> 15)
}

/// A number from 0 to 1 that belongs to a cell.
pub(super) fn cell(x: i32, y: i32, salt: u32) -> f32 {
    unit(hash(x, y, salt))
}

/// Smooth blobs from 0 to 1 (value noise): cheap, for textures.
pub(super) fn value(x: f32, y: f32, salt: u32) -> f32 {
    let (xi, yi) = (floor(x), floor(y));
    let (fx, fy) = (x - xi as f32, y - yi as f32);
    let (u, v) = (fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy));
    let (xj, yj) = (xi.wrapping_add(1), yi.wrapping_add(1));
    lerp(
        lerp(cell(xi, yi, salt), cell(xj, yi, salt), u),
        lerp(cell(xi, yj, salt), cell(xj, yj, salt), u),
        v,
    )
}

/// Value noise from -1 to 1 and its slopes along `x` and `y`.
pub(super) fn sloped(x: f32, y: f32, salt: u32) -> (f32, f32, f32) {
    let (xi, yi) = (floor(x), floor(y));
    let (fx, fy) = (x - xi as f32, y - yi as f32);
    let quintic = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let quintic_slope = |t: f32| 30.0 * t * t * (t * (t - 2.0) + 1.0);
    let (u, v) = (quintic(fx), quintic(fy));
    let (xj, yj) = (xi.wrapping_add(1), yi.wrapping_add(1));
    let a = cell(xi, yi, salt);
    let b = cell(xj, yi, salt);
    let c = cell(xi, yj, salt);
    let d = cell(xj, yj, salt);
    let k = a - b - c + d;
    (
        2.0 * (a + (b - a) * u + (c - a) * v + k * u * v) - 1.0,
        2.0 * quintic_slope(fx) * (b - a + k * v),
        2.0 * quintic_slope(fy) * (c - a + k * u),
    )
}

/// Gradient noise (Perlin 1985) from about -1 to 1: no blocks, for clouds and ridges.
pub(super) fn wave(x: f32, y: f32, salt: u32) -> f32 {
    let (xi, yi) = (floor(x), floor(y));
    let (fx, fy) = (x - xi as f32, y - yi as f32);
    let corner = |cx: i32, cy: i32, dx: f32, dy: f32| {
        let h = hash(cx, cy, salt);
        let gx = (h & 0xffff) as f32 * (1.0 / 32_768.0) - 1.0;
        let gy = (h >> 16) as f32 * (1.0 / 32_768.0) - 1.0;
        gx * dx + gy * dy
    };
    let (xj, yj) = (xi.wrapping_add(1), yi.wrapping_add(1));
    let u = fx * fx * fx * (fx * (fx * 6.0 - 15.0) + 10.0);
    let v = fy * fy * fy * (fy * (fy * 6.0 - 15.0) + 10.0);
    1.5 * lerp(
        lerp(corner(xi, yi, fx, fy), corner(xj, yi, fx - 1.0, fy), u),
        lerp(
            corner(xi, yj, fx, fy - 1.0),
            corner(xj, yj, fx - 1.0, fy - 1.0),
            u,
        ),
        v,
    )
}

/// Sums `octaves` of gradient noise, each turned, twice as fine and half as strong.
pub(super) fn fbm(mut x: f32, mut y: f32, octaves: u32, salt: u32) -> f32 {
    let (mut sum, mut strength) = (0.0, 0.5);
    for i in 0..octaves {
        sum += strength * wave(x, y, salt.wrapping_add(i));
        strength *= 0.5;
        (x, y) = turn(x, y);
    }
    sum
}

/// Ridges: sharp crests where gradient noise crosses zero; 0 to 1.
pub(super) fn ridged(mut x: f32, mut y: f32, octaves: u32, salt: u32) -> f32 {
    let (mut sum, mut strength, mut weight) = (0.0, 0.55, 1.0);
    for i in 0..octaves {
        let crest = 1.0 - wave(x, y, salt.wrapping_add(i)).abs();
        let crest = crest * crest * weight;
        sum += strength * crest;
        weight = clamp01(crest * 1.6);
        strength *= 0.5;
        (x, y) = turn(x, y);
    }
    sum
}

/// Mountains worn by water: octaves count less where the sum is already steep
/// (after Inigo Quilez, "value noise derivatives"). About -1 to 1.
pub(super) fn eroded(mut x: f32, mut y: f32, octaves: u32, salt: u32) -> f32 {
    let (mut sum, mut strength) = (0.0, 0.5);
    let (mut dx, mut dy) = (0.0, 0.0);
    for i in 0..octaves {
        let (n, nx, ny) = sloped(x, y, salt.wrapping_add(i));
        dx += nx;
        dy += ny;
        sum += strength * n / (1.0 + 0.35 * (dx * dx + dy * dy));
        strength *= 0.5;
        (x, y) = turn(x, y);
    }
    sum
}

/// Doubles the frequency and turns by about 37°, so that grids do not line up.
fn turn(x: f32, y: f32) -> (f32, f32) {
    (1.6 * x - 1.2 * y + 17.3, 1.2 * x + 1.6 * y + 9.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_stays_in_its_range_and_varies() {
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for i in 0..2000 {
            let (x, y) = (i as f32 * 0.37, i as f32 * -0.21);
            let n = fbm(x, y, 5, 3);
            (low, high) = (low.min(n), high.max(n));
            assert!((0.0..=1.0).contains(&value(x, y, 1)));
            assert!((-0.01..=1.2).contains(&ridged(x, y, 4, 2)));
        }
        assert!(
            low < -0.3 && high > 0.3 && low > -1.5 && high < 1.5,
            "{low} {high}"
        );
    }

    #[test]
    fn purposes_have_their_own_streams() {
        let first = |purpose| Dice::new(7, purpose).salt();
        assert_eq!(first("sky"), first("sky"));
        assert_ne!(first("sky"), first("land"));
    }
}
