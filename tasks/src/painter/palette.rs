//! The colours of an hour, bent by a style. Everything else asks here, so that
//! one light falls on the whole picture.

use super::maths::{Rgb, srgb, v3};
use super::scene::{Style, Time};

/// The light and the air of a picture.
#[derive(Debug, Clone)]
pub(super) struct Palette {
    pub(super) zenith: Rgb,
    pub(super) middle: Rgb,
    pub(super) horizon: Rgb,
    /// The horizon on the side away from the sun.
    pub(super) counter: Rgb,
    /// What surrounds the sun or moon.
    pub(super) glow: Rgb,
    /// How far the glow reaches, 0 to 1.
    pub(super) glow_reach: f32,
    pub(super) disc: Rgb,
    /// Light from the sun or moon.
    pub(super) key: Rgb,
    /// Light from the sky.
    pub(super) ambient: Rgb,
    /// Light from the ground.
    pub(super) bounce: Rgb,
    pub(super) cloud_lit: Rgb,
    pub(super) cloud_dark: Rgb,
    /// How much air a kilometre holds.
    pub(super) haze: f32,
    pub(super) deep: Rgb,
    pub(super) shallow: Rgb,
    /// Height of the light over the land, as a slope.
    pub(super) rise: f32,
    /// How bright the stars are.
    pub(super) stars: f32,
}

impl Palette {
    pub(super) fn new(time: Time, style: Style) -> Self {
        let mut p = Self::of(time);
        match style {
            Style::Neon => p.neon(time),
            Style::Pastel => {
                p.each(|c| c.mix(c.map(f32::sqrt) * 0.72, 0.32).saturate(0.9));
                p.glow = p.glow * 0.6;
                p.disc = p.disc * 0.5;
                p.haze *= 1.5;
            }
            Style::Autumn => {
                p.key = p.key * v3(1.12, 1.0, 0.82);
                p.horizon = p.horizon * v3(1.08, 1.0, 0.88);
                p.middle = p.middle * v3(1.06, 1.0, 0.92);
                p.rise *= 0.8;
            }
            Style::Winter => {
                p.each(|c| (c * v3(0.93, 0.99, 1.06)).saturate(0.8));
                p.haze *= 1.3;
            }
            Style::Noir => p.haze *= 1.4,
            Style::Plain | Style::Watercolor | Style::Sepia | Style::Woodcut | Style::Oil => {}
        }
        p
    }

    fn each(&mut self, f: impl Fn(Rgb) -> Rgb) {
        for c in [
            &mut self.zenith,
            &mut self.middle,
            &mut self.horizon,
            &mut self.counter,
            &mut self.glow,
            &mut self.key,
            &mut self.ambient,
            &mut self.cloud_lit,
            &mut self.cloud_dark,
            &mut self.deep,
            &mut self.shallow,
        ] {
            *c = f(*c);
        }
    }

    fn of(time: Time) -> Self {
        match time {
            Time::Day => Self {
                zenith: srgb(0x1f_5fb4),
                middle: srgb(0x5c_9cdc),
                horizon: srgb(0xc8_e0ee),
                counter: srgb(0xb9_d6ec),
                glow: v3(0.9, 0.85, 0.7),
                glow_reach: 0.35,
                disc: v3(6.0, 5.7, 5.0),
                key: v3(1.18, 1.08, 0.9),
                ambient: v3(0.27, 0.36, 0.50),
                bounce: v3(0.14, 0.14, 0.10),
                cloud_lit: v3(1.02, 1.0, 0.97),
                cloud_dark: srgb(0x8e_a2bc),
                haze: 0.075,
                deep: srgb(0x12_4468),
                shallow: srgb(0x3a_a0a4),
                rise: 0.85,
                stars: 0.0,
            },
            Time::Dawn => Self {
                zenith: srgb(0x4f_74ae),
                middle: srgb(0xc0_a3bc),
                horizon: srgb(0xff_d8ae),
                counter: srgb(0xd8_b6c4),
                glow: v3(1.1, 0.72, 0.42),
                glow_reach: 0.55,
                disc: v3(5.0, 3.9, 2.4),
                key: v3(1.12, 0.78, 0.55),
                ambient: v3(0.30, 0.31, 0.42),
                bounce: v3(0.13, 0.10, 0.10),
                cloud_lit: v3(1.05, 0.78, 0.66),
                cloud_dark: srgb(0x93_87a6),
                haze: 0.16,
                deep: srgb(0x33_5273),
                shallow: srgb(0x7a_a0a6),
                rise: 0.42,
                stars: 0.0,
            },
            Time::GoldenHour => Self {
                zenith: srgb(0x3f_70a8),
                middle: srgb(0xb9_ac8e),
                horizon: srgb(0xff_d58c),
                counter: srgb(0xd2_b690),
                glow: v3(1.3, 0.85, 0.36),
                glow_reach: 0.6,
                disc: v3(4.0, 3.1, 1.6),
                key: v3(1.42, 0.95, 0.48),
                ambient: v3(0.26, 0.29, 0.37),
                bounce: v3(0.16, 0.11, 0.06),
                cloud_lit: v3(1.15, 0.86, 0.55),
                cloud_dark: srgb(0x90_8088),
                haze: 0.13,
                deep: srgb(0x24_4a62),
                shallow: srgb(0x74_9a84),
                rise: 0.42,
                stars: 0.0,
            },
            Time::Sunset => Self {
                zenith: srgb(0x23_2b60),
                middle: srgb(0x8f_4a74),
                horizon: srgb(0xff_9640),
                counter: srgb(0xb8_5f6e),
                glow: v3(1.5, 0.62, 0.16),
                glow_reach: 0.6,
                disc: v3(3.4, 2.25, 0.80),
                key: v3(1.45, 0.66, 0.26),
                ambient: v3(0.17, 0.16, 0.27),
                bounce: v3(0.14, 0.06, 0.05),
                cloud_lit: v3(1.55, 0.62, 0.26),
                cloud_dark: srgb(0x54_3c62),
                haze: 0.12,
                deep: srgb(0x1b_2446),
                shallow: srgb(0x4c_5a70),
                rise: 0.32,
                stars: 0.0,
            },
            Time::Dusk => Self {
                zenith: srgb(0x10_1a42),
                middle: srgb(0x3f_3b78),
                horizon: srgb(0xe0_8a76),
                counter: srgb(0x6a_5288),
                glow: v3(0.75, 0.32, 0.22),
                glow_reach: 0.5,
                disc: v3(1.3, 1.25, 1.15),
                key: v3(0.34, 0.24, 0.34),
                ambient: v3(0.105, 0.11, 0.21),
                bounce: v3(0.06, 0.04, 0.06),
                cloud_lit: v3(0.72, 0.34, 0.36),
                cloud_dark: srgb(0x2c_2a54),
                haze: 0.12,
                deep: srgb(0x10_1a38),
                shallow: srgb(0x2b_3a5c),
                rise: 0.4,
                stars: 0.45,
            },
            Time::Night => Self {
                zenith: srgb(0x04_0a20),
                middle: srgb(0x0d_1d48),
                horizon: srgb(0x2a_4a7c),
                counter: srgb(0x1c_3560),
                glow: v3(0.17, 0.22, 0.34),
                glow_reach: 0.4,
                disc: v3(1.5, 1.45, 1.3),
                key: v3(0.17, 0.22, 0.33),
                ambient: v3(0.028, 0.042, 0.088),
                bounce: v3(0.012, 0.016, 0.03),
                cloud_lit: v3(0.16, 0.20, 0.31),
                cloud_dark: srgb(0x12_1d3c),
                haze: 0.08,
                deep: srgb(0x05_0f26),
                shallow: srgb(0x10_2a44),
                rise: 0.6,
                stars: 1.0,
            },
            Time::Storm => Self {
                zenith: srgb(0x23_2a33),
                middle: srgb(0x47_525c),
                horizon: srgb(0x9c_a6a4),
                counter: srgb(0x6f_7c80),
                glow: v3(0.22, 0.22, 0.19),
                glow_reach: 0.6,
                disc: v3(0.9, 0.9, 0.85),
                key: v3(0.36, 0.37, 0.36),
                ambient: v3(0.19, 0.22, 0.26),
                bounce: v3(0.05, 0.06, 0.06),
                cloud_lit: srgb(0x98_a0a2),
                cloud_dark: srgb(0x2a_323c),
                haze: 0.22,
                deep: srgb(0x1b_2c36),
                shallow: srgb(0x46_6464),
                rise: 0.7,
                stars: 0.0,
            },
        }
    }

    /// Violet dark with a burning horizon; by day a touch brighter.
    fn neon(&mut self, time: Time) {
        let lift = match time {
            Time::Day | Time::GoldenHour | Time::Dawn => 1.5,
            Time::Sunset | Time::Dusk => 1.15,
            Time::Night | Time::Storm => 0.8,
        };
        self.zenith = srgb(0x0b_0524) * lift;
        self.middle = srgb(0x3c_0f6e) * lift;
        self.horizon = srgb(0xff_2f96) * lift.min(1.2);
        self.counter = srgb(0x8a_1fb0) * lift;
        self.glow = v3(0.75, 0.10, 0.42);
        self.glow_reach = 0.5;
        self.disc = v3(1.5, 1.05, 0.25);
        self.key = v3(0.75, 0.16, 0.75) * lift;
        self.ambient = v3(0.10, 0.09, 0.32) * lift;
        self.bounce = v3(0.16, 0.02, 0.20);
        self.cloud_lit = v3(0.95, 0.18, 0.75);
        self.cloud_dark = srgb(0x2a_1060);
        self.haze = 0.15;
        self.deep = srgb(0x0e_0634);
        self.shallow = srgb(0x16_5a90);
        self.stars = self.stars.max(0.55);
        self.rise = 0.4;
    }
}
