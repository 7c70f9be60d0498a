//! Recipes: what each land is made of, in metres.
//!
//! The ruling land sets the numbers; the other lands of the scene add to them.

use super::ground::{Cover, Soil};
use super::maths::{srgb, v3};
use super::noise::Dice;
use super::relief::{Cape, Range, Relief, Shore};
use super::scene::{Land, Scene, Style, Thing, Time};

/// The numbers a recipe may change.
#[derive(Debug)]
pub(super) struct Draft {
    /// -1 or 1: where the weight of the picture lies.
    pub(super) side: f32,
    pub(super) horizon: f32,
    pub(super) eye: f32,
    pub(super) air: f32,
    pub(super) rough: f32,
    pub(super) foam: f32,
    pub(super) focus: Option<(f32, f32)>,
    pub(super) relief: Relief,
    pub(super) soil: Soil,
}

impl Draft {
    pub(super) fn blank(scene: &Scene, dice: &mut Dice) -> Self {
        let wintry = scene.style == Style::Winter || scene.is(Land::SnowPlain);
        let snowy = wintry || scene.has(Thing::Snow);
        let autumn = scene.style == Style::Autumn;
        let grass = if autumn {
            srgb(0x7d_6a2c)
        } else {
            srgb(0x4f_7334)
        };
        let woods = if autumn {
            srgb(0x8a_4a1c)
        } else {
            srgb(0x24_4526)
        };
        let neon = scene.style == Style::Neon;
        Self {
            side: dice.side(),
            horizon: dice.range(0.54, 0.62),
            eye: 5.0,
            air: 1.0,
            rough: 0.55,
            foam: 0.0,
            focus: None,
            relief: Relief {
                salt: dice.salt(),
                plain: 1.2,
                roll: (1.6, 70.0),
                dunes: (0.0, 1.0),
                shore: Shore::Inland,
                ranges: Vec::new(),
                capes: Vec::new(),
                stacks: Vec::new(),
                cone: None,
                knolls: Vec::new(),
                swell: 0.0,
            },
            soil: Soil {
                cover: if snowy { Cover::Snow } else { Cover::Grass },
                grass: if neon { srgb(0x1a_1440) } else { grass },
                woods: if neon { srgb(0x12_1038) } else { woods },
                rock: if neon {
                    (srgb(0x2c_2058), srgb(0x4a_2c7c))
                } else {
                    (srgb(0x6a_6560), srgb(0x8f_8578))
                },
                sand: if neon {
                    srgb(0x3a_2468)
                } else {
                    srgb(0xd2_b684)
                },
                snow: if neon {
                    srgb(0x9a_8ad8)
                } else {
                    v3(0.86, 0.89, 0.94)
                },
                snowline: if snowy { 30.0 } else { 1.0e9 },
                snowy,
                treeline: 0.0,
                strata: 0.25,
                flowers: None,
                crops: false,
                path: scene.has(Thing::Path),
                surf: false,
                lava: f32::MAX,
                grid: neon,
            },
        }
    }

    /// The ruling land first, then what the others add to it.
    pub(super) fn apply(&mut self, scene: &Scene, dice: &mut Dice) {
        match scene.ruler() {
            Land::Cliff => self.cliff(scene, dice),
            Land::Waterfall => self.waterfall(dice),
            Land::Canyon => self.canyon(dice),
            Land::Island => self.island(dice),
            Land::City => self.city(dice),
            Land::Village => self.village(dice),
            Land::Lake => self.lake(scene, dice),
            Land::River => self.river(dice),
            Land::Desert => self.desert(dice),
            Land::Beach => self.sea(dice, 34.0),
            Land::Sea => {
                let ashore = scene.has(Thing::House)
                    || scene.has(Thing::Campfire)
                    || scene.has(Thing::Palms);
                self.sea(dice, if ashore { 30.0 } else { 0.0 });
                if scene.has(Thing::Lighthouse) || scene.has(Thing::Castle) {
                    self.headland(dice, 26.0);
                }
            }
            Land::Forest => self.forest(dice),
            Land::Volcano => self.volcano(dice),
            Land::SnowPlain => self.snow_plain(dice),
            Land::Meadow => self.meadow(dice),
            Land::Hills => self.hills(dice),
            Land::Mountains => self.mountains(dice),
        }
        self.additions(scene, dice);
    }

    fn additions(&mut self, scene: &Scene, dice: &mut Dice) {
        let ruler = scene.ruler();
        if scene.is(Land::Mountains) && ruler != Land::Mountains && !scene.is(Land::Volcano) {
            let near = match ruler {
                Land::Sea | Land::Beach | Land::Cliff | Land::Island => 3200.0,
                Land::Waterfall
                | Land::Canyon
                | Land::City
                | Land::Village
                | Land::Lake
                | Land::River
                | Land::Desert
                | Land::Forest
                | Land::Volcano
                | Land::SnowPlain
                | Land::Meadow
                | Land::Hills
                | Land::Mountains => 1700.0,
            };
            self.peaks(dice, near);
        }
        if scene.is(Land::Volcano) && ruler != Land::Volcano {
            self.relief.cone = Some([dice.range(-900.0, 900.0), 6500.0, 3600.0, 1500.0]);
        }
        if scene.is(Land::Hills) && !matches!(ruler, Land::Hills | Land::Village) {
            self.range(700.0, 500.0, 130.0, 620.0, false);
        }
        if scene.is(Land::Forest) && ruler != Land::Forest {
            self.soil.treeline = self.soil.treeline.max(420.0);
        }
        if matches!(self.relief.shore, Shore::Inland) {
            if scene.is(Land::Sea) || scene.is(Land::Lake) {
                self.relief.shore = Shore::Lake {
                    near: 30.0,
                    far: 420.0,
                    tilt: 0.0,
                };
            } else if scene.is(Land::River) || scene.has(Thing::Bridge) {
                self.relief.shore = Shore::River { width: 5.0 };
            } else if scene.has(Thing::Boat) {
                self.relief.shore = Shore::Lake {
                    near: 22.0,
                    far: 260.0,
                    tilt: 0.0,
                };
            }
        }
        if scene.is(Land::Meadow) || scene.has(Thing::Flowers) {
            self.flowers(scene);
        }
        if scene.time == Time::Storm
            && matches!(self.relief.shore, Shore::Sea { .. } | Shore::Island { .. })
        {
            self.relief.swell = self.relief.swell.max(0.9) * 1.5;
            self.foam = 1.0;
        }
    }

    fn flowers(&mut self, scene: &Scene) {
        let picked = scene.hue(Thing::Flowers).map(|hue| srgb(hue.paint()));
        let usual = [srgb(0xd8_4a3a), srgb(0xe8_c23c), srgb(0xe9_e4f0)];
        let autumn = [srgb(0xc8_7a2a), srgb(0xb0_4a34), srgb(0xe0_c47a)];
        self.soil.flowers = Some(match picked {
            Some(hue) => [hue, hue * 1.25, hue * 0.8],
            None if scene.style == Style::Autumn => autumn,
            None if scene.style == Style::Neon => {
                [v3(1.6, 0.15, 0.9), v3(0.15, 1.2, 1.6), v3(1.0, 0.3, 1.8)]
            }
            None => usual,
        });
        if self.soil.cover == Cover::Snow {
            self.soil.flowers = None;
        }
    }

    fn range(&mut self, near: f32, ramp: f32, height: f32, length: f32, jagged: bool) {
        self.relief.ranges.push(Range {
            near,
            ramp,
            height,
            length,
            jagged,
        });
    }

    /// Foothills and two chains of peaks.
    fn peaks(&mut self, dice: &mut Dice, near: f32) {
        let tall = dice.range(0.9, 1.2);
        self.range(near, near * 0.9, 0.42 * near * tall, near * 1.05, true);
        self.range(
            near * 2.1,
            near * 1.2,
            1.15 * near * tall,
            near * 1.35,
            true,
        );
        if self.soil.snowline > 10_000.0 {
            self.soil.snowline = 0.47 * near * tall;
        }
        self.soil.treeline = self.soil.treeline.max(330.0);
    }

    fn mountains(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.64, 0.70);
        self.eye = 7.0;
        self.relief.roll = (4.0, 110.0);
        self.range(260.0, 500.0, 70.0, 420.0, false);
        self.peaks(dice, 1500.0);
    }

    fn hills(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.44, 0.52);
        self.eye = 16.0;
        self.relief.roll = (5.0, 120.0);
        self.range(110.0, 240.0, 34.0, 260.0, false);
        self.range(520.0, 700.0, 95.0, 620.0, false);
        self.range(2400.0, 1800.0, 260.0, 1700.0, false);
        self.soil.crops = self.soil.cover == Cover::Grass;
        self.soil.treeline = 210.0;
    }

    fn meadow(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.48, 0.56);
        self.eye = 2.4;
        self.relief.roll = (1.2, 45.0);
        self.range(140.0, 300.0, 26.0, 300.0, false);
        self.range(1300.0, 1200.0, 190.0, 1100.0, false);
        self.soil.treeline = 260.0;
    }

    fn snow_plain(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.52, 0.6);
        self.eye = 4.0;
        self.relief.roll = (2.4, 60.0);
        self.range(500.0, 700.0, 60.0, 600.0, false);
        self.range(2600.0, 2000.0, 420.0, 2000.0, true);
        self.soil.cover = Cover::Snow;
    }

    fn forest(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.56, 0.64);
        self.eye = 5.0;
        self.relief.roll = (3.0, 60.0);
        self.range(240.0, 420.0, 60.0, 380.0, false);
        self.range(1000.0, 1000.0, 230.0, 900.0, false);
        self.soil.treeline = 900.0;
        if self.soil.cover == Cover::Grass {
            self.soil.cover = Cover::Litter;
        }
    }

    fn lake(&mut self, scene: &Scene, dice: &mut Dice) {
        self.horizon = dice.range(0.48, 0.54);
        self.eye = 5.0;
        self.rough = 0.22;
        // Whoever lives by the lake needs a bank to stand on.
        let ashore = [
            Thing::House,
            Thing::Tent,
            Thing::Campfire,
            Thing::Church,
            Thing::Windmill,
            Thing::Fence,
            Thing::Path,
        ];
        let near = if ashore.iter().any(|thing| scene.has(*thing)) {
            36.0
        } else {
            15.0
        };
        self.relief.shore = Shore::Lake {
            near: near * dice.range(0.9, 1.15),
            far: dice.range(560.0, 820.0),
            tilt: if near > 30.0 { 2.0 * self.side } else { 0.0 },
        };
        self.relief.plain = 2.0;
        if scene.is(Land::Mountains) {
            self.range(700.0, 500.0, 42.0, 500.0, false);
        } else {
            self.range(700.0, 800.0, 120.0, 700.0, false);
            self.range(2600.0, 1800.0, 520.0, 1500.0, false);
        }
        self.soil.treeline = 460.0;
    }

    fn river(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.42, 0.5);
        self.eye = 14.0;
        self.rough = 0.25;
        self.relief.shore = Shore::River {
            width: dice.range(6.0, 8.0),
        };
        self.relief.plain = 1.6;
        self.range(420.0, 600.0, 110.0, 520.0, false);
        self.range(2200.0, 1800.0, 420.0, 1500.0, false);
        self.soil.treeline = 380.0;
    }

    fn desert(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.46, 0.54);
        self.eye = 9.0;
        self.relief.plain = 2.0;
        self.relief.roll = (3.0, 300.0);
        self.relief.dunes = (24.0, 130.0);
        self.range(3200.0, 900.0, 230.0, 1500.0, true);
        self.soil.cover = Cover::Sand;
        self.soil.sand = if self.soil.grid {
            self.soil.sand
        } else {
            srgb(0xd8_a468)
        };
        self.soil.rock = if self.soil.grid {
            self.soil.rock
        } else {
            (srgb(0x9a_5a3a), srgb(0xb8_7a50))
        };
        self.soil.snowline = 1.0e9;
    }

    fn sea(&mut self, dice: &mut Dice, beach: f32) {
        self.horizon = dice.range(0.50, 0.58);
        self.eye = if beach > 0.0 { 4.2 } else { 3.6 };
        self.rough = 0.8;
        self.foam = 0.7;
        self.relief.shore = Shore::Sea { beach };
        self.relief.plain = 1.4;
        self.relief.roll = (0.8, 26.0);
        self.relief.swell = 0.35;
        self.soil.surf = true;
        if beach > 0.0 && self.soil.cover == Cover::Grass {
            self.soil.cover = Cover::Sand;
        }
    }

    fn island(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.54, 0.60);
        self.eye = 7.0;
        self.rough = 0.6;
        self.foam = 0.7;
        self.relief.shore = Shore::Island {
            x: dice.range(10.0, 26.0) * self.side,
            z: 190.0,
            rx: dice.range(62.0, 80.0),
            rz: 70.0,
            top: dice.range(15.0, 24.0),
        };
        self.relief.swell = 0.15;
        self.focus = Some((100.0, 280.0));
    }

    /// A cape with a flat top, rocks before its tip, and fainter capes behind.
    fn headland(&mut self, dice: &mut Dice, top: f32) {
        self.relief.capes = vec![
            Cape {
                side: self.side,
                tip: dice.range(2.0, 10.0),
                near: 150.0,
                far: 265.0,
                top,
                face: 11.0,
            },
            Cape {
                side: self.side,
                tip: dice.range(40.0, 90.0),
                near: 620.0,
                far: 1100.0,
                top: top * 2.0,
                face: 34.0,
            },
            Cape {
                side: self.side,
                tip: dice.range(-120.0, 40.0),
                near: 1700.0,
                far: 3400.0,
                top: top * 3.2,
                face: 90.0,
            },
        ];
        let tip = self.relief.capes[0].tip;
        for i in 0u8..3 {
            let n = f32::from(i);
            self.relief.stacks.push([
                self.side * (tip - 9.0 - 8.0 * n - dice.range(0.0, 6.0)),
                dice.range(150.0, 215.0),
                dice.range(2.2, 4.6) - 0.5 * n,
                dice.range(4.0, 12.0) - 2.0 * n,
            ]);
        }
        self.relief.stacks.push([
            -self.side * dice.range(8.0, 13.0),
            dice.range(52.0, 64.0),
            dice.range(2.4, 3.6),
            dice.range(1.6, 2.8),
        ]);
        self.soil.surf = true;
        self.soil.strata = 0.75;
        self.focus = Some((130.0, 290.0));
    }

    fn cliff(&mut self, scene: &Scene, dice: &mut Dice) {
        self.horizon = dice.range(0.61, 0.66);
        self.eye = 8.0;
        self.rough = 0.75;
        self.foam = 0.75;
        self.relief.shore = Shore::Sea { beach: 0.0 };
        self.relief.swell = 0.3;
        self.soil.rock = if self.soil.grid {
            self.soil.rock
        } else if scene.has(Thing::Snow) || scene.style == Style::Winter {
            (srgb(0x50_5256), srgb(0x7c_7a78))
        } else {
            (srgb(0x66_5648), srgb(0xa4_8a6c))
        };
        let top = dice.range(33.0, 40.0);
        self.headland(dice, top);
    }

    fn canyon(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.40, 0.47);
        self.eye = 34.0;
        self.rough = 0.25;
        self.relief.shore = Shore::Canyon {
            width: dice.range(9.0, 12.0),
            walls: dice.range(120.0, 150.0),
        };
        self.relief.roll = (0.5, 30.0);
        self.soil.cover = if self.soil.cover == Cover::Snow {
            Cover::Snow
        } else {
            Cover::Rock
        };
        if !self.soil.grid {
            self.soil.rock = (srgb(0x92_4a2c), srgb(0xc8_8a58));
        }
        self.soil.strata = 0.9;
        self.focus = Some((20.0, 700.0));
    }

    fn waterfall(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.62, 0.68);
        self.eye = 4.0;
        self.rough = 0.4;
        self.foam = 0.4;
        self.relief.plain = 1.0;
        self.relief.roll = (1.5, 24.0);
        self.relief.shore = Shore::Fall {
            near: 7.0,
            wall: 92.0,
            top: dice.range(31.0, 38.0),
            x: dice.range(3.0, 9.0) * -self.side,
        };
        self.soil.rock = if self.soil.grid {
            self.soil.rock
        } else {
            (srgb(0x4a_4a44), srgb(0x77_7468))
        };
        self.soil.strata = 0.5;
        self.soil.treeline = 300.0;
        self.focus = Some((40.0, 150.0));
    }

    fn city(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.62, 0.68);
        self.eye = 7.0;
        self.rough = 0.35;
        self.relief.shore = Shore::Lake {
            near: 9.0,
            far: 430.0,
            tilt: 0.0,
        };
        self.relief.plain = 2.4;
        self.relief.roll = (0.2, 60.0);
        self.soil.cover = if self.soil.cover == Cover::Snow {
            Cover::Snow
        } else {
            Cover::Stone
        };
    }

    fn village(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.42, 0.48);
        self.eye = 15.0;
        self.relief.roll = (2.0, 90.0);
        self.range(170.0, 260.0, 30.0, 300.0, false);
        self.range(700.0, 700.0, 150.0, 700.0, false);
        self.range(2600.0, 1800.0, 380.0, 1800.0, false);
        self.soil.crops = self.soil.cover == Cover::Grass;
        self.soil.treeline = 330.0;
    }

    fn volcano(&mut self, dice: &mut Dice) {
        self.horizon = dice.range(0.66, 0.72);
        self.eye = 8.0;
        self.relief.roll = (5.0, 90.0);
        self.range(500.0, 700.0, 80.0, 600.0, false);
        self.relief.cone = Some([dice.range(0.0, 500.0) * self.side, 4800.0, 3300.0, 1500.0]);
        self.soil.lava = 1180.0;
        self.soil.treeline = 260.0;
        self.soil.rock = if self.soil.grid {
            self.soil.rock
        } else {
            (srgb(0x3c_3430), srgb(0x62_5248))
        };
    }
}
