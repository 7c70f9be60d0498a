//! Where things stand: a good site for each, trees around them, boats on open water.
//!
//! Everything is chosen in shares of the frame and metres of distance, from the
//! seed alone, so a picture keeps its arrangement at any size.

use super::ground::{Cover, Soil};
use super::maths::{Rgb, sin, srgb};
use super::noise::Dice;
use super::props::{Kind, Prop};
use super::relief::{Relief, Shore};
use super::scene::{Land, Scene, Style, Thing};
use super::view::View;

/// Decides what stands where.
pub(super) fn place(
    scene: &Scene,
    view: &View,
    relief: &Relief,
    soil: &Soil,
    side: f32,
    seed: u64,
) -> Vec<Prop> {
    let mut stage = Placing {
        scene,
        view,
        relief,
        soil,
        side,
        dice: Dice::new(seed, "props"),
        props: Vec::new(),
        taken: Vec::new(),
    };
    stage.buildings();
    stage.afloat();
    stage.growth();
    stage.aloft();
    stage.props.sort_by(|a, b| b.z.total_cmp(&a.z));
    stage.props
}

struct Placing<'a> {
    scene: &'a Scene,
    view: &'a View,
    relief: &'a Relief,
    soil: &'a Soil,
    side: f32,
    dice: Dice,
    props: Vec<Prop>,
    /// Places no tree may hide: share of the width, half of that, distance.
    taken: Vec<(f32, f32, f32)>,
}

impl Placing<'_> {
    fn put(&mut self, kind: Kind, x: f32, y: f32, z: f32, size: f32) -> &mut Prop {
        let prop = Prop {
            kind,
            x,
            y,
            z,
            size,
            width: 0.0,
            turn: self.dice.range(-1.0, 1.0),
            salt: self.dice.salt(),
            hue: None,
        };
        self.props.push(prop);
        self.props.last_mut().expect("just pushed")
    }

    fn ground(&self, x: f32, z: f32) -> f32 {
        self.relief.ground(x, z, 0.3)
    }

    fn paint(&self, thing: Thing) -> Option<Rgb> {
        self.scene.hue(thing).map(|hue| srgb(hue.paint()))
    }

    /// Finds dry, level ground near a share `u` of the width, between two distances.
    fn site(&mut self, u: f32, near: f32, far: f32) -> Option<(f32, f32, f32)> {
        let mut best: Option<(f32, (f32, f32, f32))> = None;
        for i in 0u8..60 {
            let t = f32::from(i) / 59.0;
            let z = near * libm::powf(far / near, t);
            let share = u + self.dice.range(-0.09, 0.09);
            let x = self.view.across(share, z);
            let y = self.ground(x, z);
            let foot = self.view.project(super::maths::v3(x, y, z)).1;
            if y < 0.5 || foot > self.view.height as f32 * 0.95 {
                continue;
            }
            let tilt = (self.ground(x + 4.0, z) - self.ground(x - 4.0, z)).abs()
                + (self.ground(x, z + 4.0) - y).abs();
            // Hidden behind a nearer rise?
            let hidden = (1u8..8).any(|k| {
                let s = f32::from(k) / 8.0;
                let line = self.view.eye + (y + 2.0 - self.view.eye) * s;
                self.ground(x * s, z * s) > line
            });
            let cost = tilt + if hidden { 50.0 } else { 0.0 } + 2.0 * (t - 0.55).abs();
            if best.is_none_or(|(c, _)| cost < c) {
                best = Some((cost, (x, y, z)));
            }
        }
        best.map(|(_, site)| site)
    }

    fn claim(&mut self, x: f32, z: f32, half: f32) {
        let u = (x / z * self.view.focal + self.view.middle) / self.view.width as f32;
        let half = half / z * self.view.focal / self.view.width as f32;
        self.taken.push((u, half, z));
    }

    fn build(&mut self, thing: Thing, kind: Kind, size: f32, u: f32, near: f32, far: f32) {
        // Where the place is all water: nearer, or across it.
        let places = [
            (near, far),
            (near * 0.45, near),
            (far, far * 4.0),
            (far * 4.0, far * 14.0),
        ];
        let Some((x, y, z)) = places
            .into_iter()
            .find_map(|(near, far)| self.site(u, near, far))
        else {
            return;
        };
        let hue = self.paint(thing);
        self.claim(x, z, size * 1.1);
        self.put(kind, x, y - size * 0.01, z, size).hue = hue;
    }

    fn buildings(&mut self) {
        let scene = self.scene;
        let side = self.side;
        let third = 0.5 + 0.17 * side;
        if scene.is(Land::City) {
            self.skyline();
        }
        if scene.has(Thing::Lighthouse) {
            self.lighthouse();
        }
        if scene.is(Land::Village) {
            self.village();
        }
        if scene.has(Thing::Castle) {
            if let Some(cape) = self.relief.capes.first() {
                let (z, tip) = (cape.near + 50.0, cape.tip);
                let x = side * (tip + 34.0);
                let y = self.ground(x, z) - 1.0;
                let hue = self.paint(Thing::Castle);
                self.claim(x, z, 30.0);
                self.put(Kind::Castle, x, y, z, 34.0).hue = hue;
            } else {
                self.build(Thing::Castle, Kind::Castle, 42.0, third, 190.0, 420.0);
            }
        }
        if scene.has(Thing::Church) && !scene.is(Land::Village) {
            self.build(Thing::Church, Kind::Church, 17.0, third, 70.0, 160.0);
        }
        if scene.has(Thing::Windmill) {
            let n = if scene.many(Thing::Windmill) { 3 } else { 1 };
            for i in 0..n {
                let u = [0.5 + 0.2 * side, 0.5 - 0.22 * side, 0.5 - 0.02 * side][i];
                let near = [55.0, 110.0, 190.0][i];
                self.build(Thing::Windmill, Kind::Windmill, 19.0, u, near, near * 1.7);
            }
        }
        if scene.has(Thing::House) {
            let n = if scene.many(Thing::House) { 4u8 } else { 1 };
            for i in 0..n {
                let u = 0.5 + side * [0.18, -0.2, 0.02, 0.32][usize::from(i)];
                let island = matches!(self.relief.shore, Shore::Island { .. });
                let (near, far) = if self.relief.capes.is_empty() && !island {
                    (30.0, 75.0)
                } else {
                    (160.0, 250.0)
                };
                self.build(Thing::House, Kind::House, 6.4, u, near, far);
            }
        }
        if scene.has(Thing::Tent) {
            self.build(Thing::Tent, Kind::Tent, 2.1, third, 13.0, 26.0);
        }
        if scene.has(Thing::Campfire) {
            self.build(
                Thing::Campfire,
                Kind::Campfire,
                0.9,
                0.5 - 0.08 * side,
                11.0,
                20.0,
            );
        }
        if scene.has(Thing::Bridge) {
            self.bridge();
        }
        if let Shore::Fall { wall, top, x, .. } = self.relief.shore {
            let prop = self.put(Kind::Fall, x, 0.0, wall - 4.0, top - 2.2);
            prop.width = 5.2;
        }
        if scene.has(Thing::Fence) {
            let (y0, mut x) = (17.0, self.view.across(-0.05, 17.0));
            let end = self.view.across(1.05, y0);
            let hue = self.paint(Thing::Fence);
            while x < end {
                let z = y0 + 1.2 * sin(x * 0.21);
                let (y, next) = (self.ground(x, z), self.ground(x + 2.4, z));
                if y > 0.2 {
                    let prop = self.put(Kind::Fence, x, y, z, 1.15);
                    prop.width = 2.4;
                    prop.turn = ((next - y) / 0.24).clamp(-6.0, 6.0);
                    prop.hue = hue;
                }
                x += 2.4;
            }
        }
    }

    /// On the cape where there is one, else on the best rise.
    fn lighthouse(&mut self) {
        let side = self.side;
        let hue = self.paint(Thing::Lighthouse);
        if let Some(cape) = self.relief.capes.first() {
            let z = cape.near + 40.0;
            let mut x = side * (cape.tip + 24.0);
            // Step inland until the ground is level.
            for _ in 0u8..20 {
                let drop = self.ground(x, z) - self.ground(x - side * 7.0, z);
                if drop.abs() < 4.0 && self.ground(x, z) > cape.top * 0.75 {
                    break;
                }
                x += side * 2.0;
            }
            let y = self.ground(x, z) - 0.5;
            self.claim(x, z, 12.0);
            self.put(Kind::Lighthouse, x, y, z, 33.0).hue = hue;
            let (hx, hz) = (x + side * 13.0, z + 2.0);
            let hy = self.ground(hx, hz) - 0.4;
            let house = self.put(Kind::House, hx, hy, hz, 7.5);
            house.turn = side;
            house.hue = Some(srgb(0xe6_dfd2));
        } else {
            let u = 0.5 + 0.2 * side;
            self.build(Thing::Lighthouse, Kind::Lighthouse, 30.0, u, 80.0, 190.0);
        }
    }

    fn village(&mut self) {
        let side = self.side;
        self.build(
            Thing::Church,
            Kind::Church,
            24.0,
            0.5 + 0.05 * side,
            120.0,
            165.0,
        );
        for i in 0u8..17 {
            let k = f32::from(i) / 16.0;
            let u = 0.5 + 0.42 * (k * 2.0 - 1.0) * if i % 2 == 0 { 1.0 } else { 0.7 };
            let near = 62.0 + 90.0 * self.dice.range(0.0, 1.0);
            let Some((x, y, z)) = self.site(u, near, near * 1.15) else {
                continue;
            };
            let size = self.dice.range(6.0, 8.2);
            self.claim(x, z, size);
            let hue = self.paint(Thing::House);
            self.put(Kind::House, x, y - 0.2, z, size).hue = hue;
        }
    }

    /// Three rows of blocks, tallest in the middle.
    fn skyline(&mut self) {
        let center = 0.5 + 0.16 * self.side;
        for (row, (z, scale)) in [(1500.0, 1.25), (900.0, 1.0), (560.0, 0.62)]
            .into_iter()
            .enumerate()
        {
            let mut x = self.view.across(-0.06, z);
            let end = self.view.across(1.06, z);
            while x < end {
                let half = self.dice.range(8.0, 16.0) * (1.0 + 0.25 * (2.0 - row as f32));
                let u = (x / z * self.view.focal + self.view.middle) / self.view.width as f32;
                let d = (u - center) / 0.30;
                let crowd = 0.34 + 0.85 / (1.0 + d * d * 2.2);
                let tall = scale * crowd * self.dice.range(45.0, 150.0) + 12.0;
                let zz = z + self.dice.range(-30.0, 30.0);
                let y = self.ground(x, zz).max(1.0);
                let prop = self.put(Kind::Block, x + half, y, zz, tall);
                prop.width = half;
                x += half * self.dice.range(1.75, 2.7);
            }
        }
    }

    fn bridge(&mut self) {
        let z = match self.relief.shore {
            Shore::River { .. } => 74.0,
            Shore::Canyon { .. } => 150.0,
            Shore::Lake { far, .. } => far.min(260.0) * 0.6,
            _ => 110.0,
        };
        let (size, x) = match self.relief.shore {
            Shore::River { width } => (width * 4.6, self.relief.river(z)),
            Shore::Canyon { width, .. } => (width * 6.0, 0.9 * self.relief.river(z)),
            _ => (z * 0.9, 0.0),
        };
        let hue = self.paint(Thing::Bridge);
        self.claim(x, z, size * 0.5);
        let prop = self.put(Kind::Bridge, x, 0.0, z, size);
        prop.hue = hue;
    }

    fn afloat(&mut self) {
        if !self.scene.has(Thing::Boat) || !self.relief.has_water() {
            return;
        }
        let n = if self.scene.many(Thing::Boat) { 4u8 } else { 1 };
        let hue = self.paint(Thing::Boat);
        for i in 0..n {
            for attempt in 0u8..40 {
                let spread = if attempt < 14 { 0.08 } else { 0.40 };
                let near = [44.0, 75.0, 120.0, 62.0][usize::from(i)];
                let u = 0.5 - self.side * [0.13, 0.26, -0.05, 0.02][usize::from(i)]
                    + self.dice.range(-spread, spread);
                let z = near * self.dice.range(0.85, 1.25);
                let x = self.view.across(u, z);
                let clear = [-5.0, 0.0, 5.0]
                    .into_iter()
                    .all(|dx| self.ground(x + dx, z) < -0.3);
                if clear {
                    self.put(Kind::Boat, x, 0.0, z, 9.0).hue = hue;
                    break;
                }
            }
        }
    }

    fn aloft(&mut self) {
        let view = *self.view;
        if self.scene.has(Thing::Balloon) {
            let n = if self.scene.many(Thing::Balloon) {
                6u8
            } else {
                1
            };
            let hue = self.paint(Thing::Balloon);
            for i in 0..n {
                let z = [90.0, 190.0, 140.0, 320.0, 240.0, 460.0][usize::from(i)];
                let u = 0.5
                    + self.side * [0.14, -0.25, -0.02, 0.33, 0.06, -0.12][usize::from(i)]
                    + self.dice.range(-0.04, 0.04);
                let row = view.horizon * [0.46, 0.42, 0.22, 0.66, 0.55, 0.72][usize::from(i)];
                let y = view.eye + (view.horizon - row) / view.focal * z;
                self.put(Kind::Balloon, view.across(u, z), y, z, 19.0).hue = hue;
            }
        }
        let belongs =
            matches!(self.scene.ruler(), Land::Cliff) && !self.scene.time.is_storm_or_night();
        if (self.scene.has(Thing::Birds) || belongs) && self.scene.allows(Thing::Birds) {
            let (cu, cr) = (
                0.5 - 0.12 * self.side + self.dice.range(-0.12, 0.12),
                self.dice.range(0.42, 0.66),
            );
            for _ in 0u8..9 {
                let z = self.dice.range(45.0, 130.0);
                let u = cu + self.dice.range(-0.17, 0.17);
                let row = view.horizon * (cr + self.dice.range(-0.14, 0.14));
                let y = view.eye + (view.horizon - row) / view.focal * z;
                self.put(Kind::Bird, view.across(u, z), y, z, 1.35);
            }
        }
    }

    fn growth(&mut self) {
        let scene = self.scene;
        let ruler = scene.ruler();
        if !scene.allows(Thing::Trees) {
            return;
        }
        let leafy = scene.style == Style::Autumn || scene.has(Thing::Trees);
        let wooded = scene.is(Land::Forest);
        let pines = scene.has(Thing::Pines);
        if wooded {
            let share = if pines {
                0.0
            } else if leafy {
                0.75
            } else {
                0.25
            };
            self.scatter(420.0, 26.0, 420.0, share, false);
            self.frame_with_trees(share);
        }
        match ruler {
            Land::Mountains | Land::Volcano => {
                self.scatter(150.0, 48.0, 560.0, if leafy { 0.7 } else { 0.0 }, true);
            }
            Land::Lake => self.scatter(
                if wooded { 380.0 } else { 150.0 },
                500.0,
                1250.0,
                if leafy { 0.8 } else { 0.15 },
                true,
            ),
            Land::Hills => self.scatter(46.0, 60.0, 800.0, if pines { 0.0 } else { 0.95 }, true),
            Land::Village => self.scatter(70.0, 60.0, 500.0, if pines { 0.1 } else { 0.75 }, true),
            Land::River => self.scatter(110.0, 55.0, 700.0, if pines { 0.0 } else { 0.6 }, true),
            Land::Meadow => self.scatter(34.0, 90.0, 420.0, 0.9, true),
            Land::SnowPlain => self.scatter(42.0, 60.0, 520.0, 0.12, true),
            Land::Waterfall => self.scatter(120.0, 30.0, 210.0, 0.2, true),
            Land::Island | Land::Beach => self.palms(),
            Land::Cliff | Land::Canyon | Land::City | Land::Desert | Land::Sea | Land::Forest => {
                if pines || scene.has(Thing::Trees) {
                    let share = if pines { 0.0 } else { 0.85 };
                    self.scatter(60.0, 40.0, 320.0, share, true);
                }
            }
        }
        if scene.has(Thing::Palms) && !matches!(ruler, Land::Island | Land::Beach) {
            self.palms();
        }
        if scene.has(Thing::Cactus) {
            let n = if scene.many(Thing::Cactus) || ruler == Land::Desert {
                5u8
            } else {
                1
            };
            for i in 0..n {
                let near = [26.0, 48.0, 75.0, 110.0, 160.0][usize::from(i)];
                let u = 0.5 + self.side * [0.22, -0.30, -0.06, 0.40, 0.1][usize::from(i)];
                self.build(Thing::Cactus, Kind::Cactus, 5.2, u, near, near * 1.5);
            }
        }
        if scene.has(Thing::Rocks) {
            for i in 0u8..9 {
                let u = self.dice.range(0.0, 1.0);
                let near = 13.0 + 9.0 * f32::from(i);
                let size = self.dice.range(0.7, 2.2);
                self.build(Thing::Rocks, Kind::Rock, size, u, near, near * 1.3);
            }
        }
        if self.soil.cover == Cover::Grass && !self.soil.grid {
            self.tufts();
        }
    }

    /// Trees over the land: evenly in the picture, which is denser far away.
    fn scatter(&mut self, usual: f32, near: f32, far: f32, broad: f32, groups: bool) {
        let asked = self.scene.has(Thing::Trees) || self.scene.has(Thing::Pines);
        let count = if asked { usual * 2.2 } else { usual };
        let wide = (self.view.width as f32 / self.view.focal / 0.87).clamp(0.3, 4.0);
        let (lo, hi) = if self.relief.has_water() {
            (0.9, 120.0)
        } else {
            (-50.0, 420.0)
        };
        let hue = self.paint(Thing::Trees);
        let mut i = 0.0;
        while i < count * wide {
            i += 1.0;
            let t = self.dice.range(0.0, 1.0);
            let z = near * libm::powf(far / near, t.sqrt());
            let u = self.dice.range(-0.05, 1.05);
            let x = self.view.across(u, z);
            let clump = super::noise::wave(x / 60.0, z / 90.0, self.relief.salt ^ 201);
            if groups && clump < 0.08 {
                continue;
            }
            let y = self.ground(x, z);
            let tilt = (self.ground(x + 3.0, z) - y).abs();
            if !(lo..hi).contains(&y) || tilt > 3.2 {
                continue;
            }
            let in_the_way = self
                .taken
                .iter()
                .any(|&(tu, half, tz)| (u - tu).abs() < half + 0.035 && z < tz + 6.0);
            if in_the_way {
                continue;
            }
            let is_broad = self.dice.chance(broad);
            let size = if is_broad {
                self.dice.range(7.0, 12.5)
            } else {
                self.dice.range(8.0, 16.0)
            };
            let kind = if is_broad { Kind::Tree } else { Kind::Pine };
            self.put(kind, x, y - 0.15, z, size).hue = hue;
        }
    }

    /// A few big trees at the edges, so that one looks between them.
    fn frame_with_trees(&mut self, broad: f32) {
        let banks = self.relief.has_water();
        for i in 0u8..7 {
            let edge = if i % 2 == 0 { self.side } else { -self.side };
            let u = 0.5 + edge * self.dice.range(0.34, 0.54);
            let (z, size) = if banks {
                (self.dice.range(12.0, 19.0), self.dice.range(5.0, 8.0))
            } else {
                (self.dice.range(17.0, 30.0), self.dice.range(10.0, 15.0))
            };
            let broad = self.dice.chance(broad);
            let x = self.view.across(u, z);
            let y = self.ground(x, z);
            if banks && y < 0.35 {
                continue;
            }
            let kind = if broad { Kind::Tree } else { Kind::Pine };
            self.put(kind, x, y - 0.2, z, size);
        }
    }

    fn palms(&mut self) {
        let island = match self.relief.shore {
            Shore::Island { x, z, rx, .. } => Some((x, z, rx)),
            Shore::Inland
            | Shore::Sea { .. }
            | Shore::Lake { .. }
            | Shore::River { .. }
            | Shore::Canyon { .. }
            | Shore::Fall { .. } => None,
        };
        for i in 0u8..16 {
            let (x, z) = match island {
                Some((cx, cz, rx)) => (
                    cx + self.dice.range(-0.75, 0.75) * rx,
                    cz + self.dice.range(-55.0, -8.0),
                ),
                None if i < 6 => {
                    let z = self.dice.range(15.0, 29.0);
                    (
                        self.view
                            .across(0.5 + self.side * self.dice.range(0.25, 0.52), z),
                        z,
                    )
                }
                None => continue,
            };
            let y = self.ground(x, z);
            if y > 0.45 {
                let size = self.dice.range(8.5, 13.0);
                self.put(Kind::Palm, x, y - 0.1, z, size);
            }
        }
    }

    fn tufts(&mut self) {
        let drop = (self.view.height as f32 - self.view.horizon).max(1.0);
        let near = (self.view.focal * self.view.eye / drop).clamp(1.5, 80.0);
        if near > 40.0 {
            return;
        }
        for _ in 0u8..90 {
            let z = near * self.dice.range(0.95, 2.6);
            let x = self.view.across(self.dice.range(-0.02, 1.02), z);
            let y = self.ground(x, z);
            if y > 0.7 {
                let size = self.dice.range(0.25, 0.6) * (near / 12.0).clamp(0.5, 1.6);
                self.put(Kind::Tuft, x, y - 0.03, z, size);
            }
        }
    }
}
