//! The shape of the ground: one height, in metres, for every place.
//!
//! Water stands at zero; what is below it is its bed. Knows neither light nor pixels.

use super::maths::{clamp01, exp, floor, lerp, sin, smooth};
use super::noise::{eroded, fbm, ridged, wave};

/// Ground that rises from some distance on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// Where it begins.
    pub(super) near: f32,
    /// How far it takes to rise.
    pub(super) ramp: f32,
    pub(super) height: f32,
    /// Metres from crest to crest.
    pub(super) length: f32,
    pub(super) jagged: bool,
}

/// A wall of rock that ends in the sea.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cape {
    /// 1: it comes from the right; -1: from the left.
    pub(super) side: f32,
    /// Where it ends, measured towards its side.
    pub(super) tip: f32,
    pub(super) near: f32,
    pub(super) far: f32,
    pub(super) top: f32,
    /// How deep the face is, from foot to edge.
    pub(super) face: f32,
}

/// Where land meets water.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shore {
    /// No water.
    Inland,
    /// Sea behind a beach of this depth (0: none).
    Sea { beach: f32 },
    /// A lake between two banks.
    /// A lake between two banks; the near one reaches farther where `x * tilt` grows.
    Lake { near: f32, far: f32, tilt: f32 },
    /// A winding river.
    River { width: f32 },
    /// A river between walls.
    Canyon { width: f32, walls: f32 },
    /// A wall across, with a pool before it.
    Fall {
        near: f32,
        wall: f32,
        top: f32,
        x: f32,
    },
    /// Land in the sea.
    Island {
        x: f32,
        z: f32,
        rx: f32,
        rz: f32,
        top: f32,
    },
}

/// The ground of a whole picture.
#[derive(Debug, Clone)]
pub(super) struct Relief {
    pub(super) salt: u32,
    /// How high the plain lies over the water.
    pub(super) plain: f32,
    /// Gentle ups and downs: height and length.
    pub(super) roll: (f32, f32),
    /// Dunes: height and length; zero for none.
    pub(super) dunes: (f32, f32),
    pub(super) shore: Shore,
    pub(super) ranges: Vec<Range>,
    pub(super) capes: Vec<Cape>,
    /// Rocks in the sea: x, z, radius, height.
    pub(super) stacks: Vec<[f32; 4]>,
    /// A volcano: x, z, radius, height.
    pub(super) cone: Option<[f32; 4]>,
    /// A hill for something to stand on: x, z, radius, height.
    pub(super) knolls: Vec<[f32; 4]>,
    /// Height of the waves in the open.
    pub(super) swell: f32,
}

impl Relief {
    pub(super) fn has_water(&self) -> bool {
        !matches!(self.shore, Shore::Inland)
    }

    /// The ground's height; `grain` is the smallest detail that would be seen.
    pub(super) fn ground(&self, x: f32, z: f32, grain: f32) -> f32 {
        let land = || self.land(x, z, grain);
        match self.shore {
            Shore::Inland => land(),
            Shore::Sea { beach } => {
                let rocks = self.rocks(x, z, grain).max(self.far_coast(x, z, grain));
                if beach <= 0.0 {
                    return rocks;
                }
                let edge = beach + 0.12 * beach * wave(x / 60.0, 3.0, self.salt);
                rocks.max(bank(edge - z + 0.18 * x, land, 0.07))
            }
            Shore::Lake { near, far, tilt } => {
                let wander = 0.16 * wave(x / (near * 2.2), 1.7, self.salt)
                    + 0.05 * wave(x / (near * 0.6), 4.1, self.salt);
                let front = near * (1.0 + 2.2 * wander) - z + 0.1 * x.abs() + tilt * x;
                let far_edge = far * (1.0 + 0.5 * wave(x / (far * 0.30), 7.7, self.salt) * 0.4)
                    + 0.05 * far * wave(x / (far * 0.08), 2.2, self.salt);
                let back = z - far_edge;
                bank(front.max(back), land, 0.12)
            }
            Shore::River { width } => {
                // It is lost behind the first hills.
                let narrow = smooth(1150.0, 500.0, z);
                let bent = width * (1.0 + 0.3 * wave(z / 40.0, x / 80.0, self.salt));
                let lost = if z > 1150.0 { 50.0 } else { 0.0 };
                bank((x - self.river(z)).abs() - bent * narrow + lost, land, 0.16)
            }
            Shore::Canyon { width, walls } => self.canyon(x, z, grain, width, walls),
            Shore::Fall {
                near,
                wall,
                top,
                x: fall,
            } => {
                let front =
                    near * (1.0 + 0.3 * wave(x / 12.0, 1.0, self.salt)) - z + 0.12 * x.abs();
                let bow = wall - 0.42 * (x - fall).abs();
                let rough = 7.0 * fbm(x / 22.0, z / 22.0, octaves(22.0, grain), self.salt ^ 5)
                    + 2.2 * fbm(x / 5.0, z / 5.0, octaves(5.0, grain), self.salt ^ 6);
                let gap = exp(-(x - fall) * (x - fall) / 40.0);
                let back = z - bow + rough * (1.0 - 0.7 * gap);
                let height = top - 3.5 * gap + 0.10 * (x - fall).abs() + land();
                bank(front, land, 0.12).max(face(back, 11.0, height, self.salt, x, z))
            }
            Shore::Island {
                x: cx,
                z: cz,
                rx,
                rz,
                top,
            } => {
                let (u, v) = ((x - cx) / rx, (z - cz) / rz);
                let d = 1.0 - (u * u + v * v).sqrt()
                    + 0.22 * fbm(x / rx * 1.7, z / rz * 1.7, 3, self.salt);
                let sand = d * rx * 0.09;
                let hill = smooth(0.12, 0.9, d)
                    * (top
                        + 0.35
                            * top
                            * fbm(x / 30.0, z / 30.0, octaves(30.0, grain), self.salt ^ 9));
                self.rocks(x, z, grain)
                    .max(sand.min(1.2) + hill.max(0.0))
                    .max(self.far_coast(x, z, grain))
            }
        }
    }

    /// The middle of the river, or of a path, at a distance.
    pub(super) fn river(&self, z: f32) -> f32 {
        let phase = (self.salt & 1023) as f32 * 0.0061;
        let swing = 3.0 + 0.16 * z.min(900.0);
        swing * sin(z.max(1.0).sqrt() * 0.34 + phase)
    }

    fn land(&self, x: f32, z: f32, grain: f32) -> f32 {
        let mut h = self.plain;
        let (roll, length) = self.roll;
        if roll > 0.0 {
            h += roll
                * fbm(
                    x / length,
                    z / length,
                    octaves(length, grain).min(6),
                    self.salt ^ 11,
                );
        }
        let (dune, length) = self.dunes;
        if dune > 0.0 {
            h += dune * self.dune(x / length, z / length);
        }
        for (i, r) in (1u32..).zip(&self.ranges) {
            let warp = 0.35 * r.ramp * wave(x / r.length, i as f32 * 3.3, self.salt);
            let mask = smooth(r.near, r.near + r.ramp, z + warp);
            if mask <= 0.0 {
                continue;
            }
            let (u, v) = (x / r.length, z / r.length);
            let salt = self.salt.wrapping_add(i * 97);
            h += r.height
                * mask
                * if r.jagged {
                    let n = octaves(r.length, grain);
                    let (wu, wv) = (
                        u + 0.18 * wave(u * 1.7, v * 1.7, salt ^ 1),
                        v + 0.18 * wave(u * 1.7, v * 1.7, salt ^ 2),
                    );
                    let crest = ridged(wu * 0.8, wv * 0.8, n.min(5), salt);
                    let worn = 0.5 + 0.62 * eroded(wu * 1.6 + 0.7, wv * 1.6, n, salt ^ 3);
                    // Massifs with passes between them make a skyline.
                    let massif =
                        0.35 + 0.95 * smooth(-0.45, 0.5, wave(u * 0.55, v * 0.4, salt ^ 4));
                    let peak = crest * crest * (0.75 + 0.35 * crest);
                    let h = ((0.95 * peak + 0.40 * crest * worn) * massif + 0.12 * worn).max(0.0);
                    // No needles.
                    h / (1.0 + 0.28 * h * h)
                } else {
                    0.55 + 0.75 * fbm(u, v, octaves(r.length, grain).min(5), salt)
                };
        }
        for &[cx, cz, radius, height] in &self.knolls {
            let d = ((x - cx) * (x - cx) + (z - cz) * (z - cz)) / (radius * radius);
            h += height * exp(-d * 1.8);
        }
        if let Some([cx, cz, radius, height]) = self.cone {
            let (dx, dz) = (x - cx, z - cz);
            let r = (dx * dx + dz * dz).sqrt() / radius;
            let slope = (1.0 - r).max(0.0);
            let gullies = 0.10 * fbm(dx / radius * 9.0, dz / radius * 9.0, 6, self.salt ^ 21);
            let cone = height * slope * slope * (1.0 + gullies + 0.35 * slope);
            h += cone.min(height * (1.0 + 0.05 * wave(dx / 90.0, dz / 90.0, self.salt)));
        }
        // Where there is water, it stays where the shore puts it.
        if self.has_water() { h.max(0.4) } else { h }
    }

    /// Land across the sea, where mountains were asked for.
    fn far_coast(&self, x: f32, z: f32, grain: f32) -> f32 {
        let ranges = self.ranges.iter().map(|range| range.near);
        let cone = self.cone.map(|[_, z, radius, _]| z - radius);
        let Some(near) = ranges.chain(cone).reduce(f32::min) else {
            return SEA_BED;
        };
        let inland = z - near * (0.95 + 0.08 * wave(x / near * 3.0, 2.5, self.salt));
        if inland <= 0.0 {
            return SEA_BED;
        }
        bank(inland, || self.land(x, z, grain), 0.10)
    }

    /// Capes and stacks, or the bed of the sea.
    fn rocks(&self, x: f32, z: f32, grain: f32) -> f32 {
        let mut h = SEA_BED;
        for cape in &self.capes {
            let sx = x * cape.side;
            let along = sx - cape.tip;
            let near = z - (cape.near - 0.38 * along);
            let far = cape.far + 0.2 * along - z;
            // Rounded corners: the nearest of three edges, blended.
            let d = soft_min(soft_min(along, near, cape.top * 0.6), far, cape.top * 0.6);
            // Roughness moves the edge by no more than this.
            let most = cape.top * 0.62;
            if d < -most {
                continue;
            }
            let noise = |size: f32, cap: u32, salt: u32| {
                fbm(
                    x / size,
                    z / size,
                    octaves(size, grain).min(cap),
                    self.salt ^ salt,
                )
            };
            let d = if d > cape.face + most {
                d
            } else {
                d + cape.top
                    * (0.42 * noise(cape.top * 1.5, 6, 31) + 0.10 * noise(cape.top * 0.25, 5, 32))
            };
            let top = cape.top * (0.86 + 0.0022 * along.min(120.0))
                + 0.10 * cape.top * noise(45.0, 4, 33);
            h = h.max(face(d, cape.face, top, self.salt, x, z));
        }
        for &[cx, cz, radius, height] in &self.stacks {
            let (dx, dz) = (x - cx, z - cz);
            if dx.abs() > radius * 2.5 || dz.abs() > radius * 2.5 {
                continue;
            }
            let d = radius - (dx * dx + dz * dz).sqrt()
                + radius * 0.8 * fbm(x / radius / 1.2, z / radius / 1.2, 5, self.salt ^ 41);
            let top = height * (0.8 + 0.5 * wave(x / radius, z / radius, self.salt ^ 42));
            h = h.max(face(d, radius * 0.6, top, self.salt, x, z));
        }
        h
    }

    fn canyon(&self, x: f32, z: f32, grain: f32, width: f32, walls: f32) -> f32 {
        let winding = 0.9 * self.river(z);
        let rough =
            26.0 * fbm(
                x / 90.0,
                z / 90.0,
                octaves(90.0, grain).min(6),
                self.salt ^ 51,
            ) + 5.0
                * fbm(
                    x / 14.0,
                    z / 14.0,
                    octaves(14.0, grain).min(5),
                    self.salt ^ 52,
                );
        let river = (x - winding).abs() - width;
        let d = river - 5.0 - 0.02 * z + rough * smooth(0.0, 20.0, river);
        let t = clamp01(d / 150.0);
        let floor_height = bank(river, || 0.6 + 0.02 * d.max(0.0), 0.2);
        floor_height + walls * stairs(t, 4.0) + 0.04 * d.clamp(0.0, 400.0)
    }

    fn dune(&self, u: f32, v: f32) -> f32 {
        let warp = 0.9 * wave(u * 0.45, v * 0.45, self.salt ^ 61)
            + 0.12 * wave(u * 2.0, v * 2.0, self.salt ^ 62);
        let s = v * 0.42 + u * 0.62 + warp;
        let f = s - floor(s) as f32;
        let crest = if f < 0.68 {
            let t = f / 0.68;
            t * t * (1.6 - 0.6 * t)
        } else {
            let t = (1.0 - f) / 0.32;
            t * (1.25 - 0.25 * t)
        };
        let size = 0.55 + 0.6 * wave(u * 0.4 + 5.0, v * 0.4, self.salt ^ 63);
        crest * size.max(0.12) + 0.3 * wave(u * 0.3, v * 0.3, self.salt ^ 64)
    }
}

/// How deep the water gets.
const SEA_BED: f32 = -6.0;

/// A gentle bank: `inland` metres from the water's edge, negative in the water.
fn bank(inland: f32, land: impl Fn() -> f32, slope: f32) -> f32 {
    if inland <= 0.0 {
        return (inland * slope * 1.5).max(SEA_BED);
    }
    let (edge, land) = (inland * slope, land());
    let rise = smooth(0.0, land.abs().clamp(0.5, 4.0) / slope + 4.0, inland);
    lerp(edge, land.max(edge.min(0.3)), rise)
}

/// A rock wall `depth` deep with ledges, `d` metres behind its foot.
fn face(d: f32, depth: f32, top: f32, salt: u32, x: f32, z: f32) -> f32 {
    if d <= 0.0 {
        return (d * 0.22).max(SEA_BED);
    }
    if d >= depth {
        return top;
    }
    let t = d / depth;
    let ledges = 3.0 + 2.0 * wave(x / 30.0, z / 30.0, salt ^ 71);
    let wall = lerp(t, stairs(t, ledges.max(1.5)), 0.7);
    // Broken rock lies at the foot.
    let foot = smooth(0.0, 0.2, t) * smooth(0.9, 0.4, t);
    let scree = 0.05 * top * foot * (0.6 + wave(x / 3.0, z / 3.0, salt ^ 72));
    top * wall + scree.max(0.0)
}

/// From 0 to 1 in `n` steps with steep risers.
fn stairs(t: f32, n: f32) -> f32 {
    let s = t * n;
    let step = floor(s) as f32;
    ((step + smooth(0.35, 0.95, s - step)) / n).min(1.0)
}

fn soft_min(a: f32, b: f32, k: f32) -> f32 {
    let t = clamp01(0.5 + 0.5 * (b - a) / k);
    lerp(b, a, t) - k * t * (1.0 - t) * 0.5
}

/// How many octaves are worth adding before details pass below `grain`.
fn octaves(length: f32, grain: f32) -> u32 {
    let mut n = 1;
    let mut detail = length * 0.5;
    while detail > grain * 1.5 && n < 9 {
        n += 1;
        detail *= 0.5;
    }
    n
}
