//! Composition: from what a scene names to where everything stands.
//!
//! Every choice comes from the seed, in metres and in shares of the frame, so a
//! picture keeps its composition at any size.

use super::Canvas;
use super::clouds::{Clouds, Kind as CloudKind};
use super::draft::Draft;
use super::ground::{Light, Soil};
use super::maths::{smooth, v3};
use super::noise::Dice;
use super::palette::Palette;
use super::placing;
use super::props::Prop;
use super::relief::Relief;
use super::scene::{Scene, Style, Thing, Time};
use super::sky::{Body, Luminary, Sky};
use super::view::View;

/// A picture, fully decided and not yet painted.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) time: Time,
    pub(super) style: Style,
    pub(super) view: View,
    pub(super) palette: Palette,
    pub(super) light: Light,
    pub(super) relief: Relief,
    pub(super) soil: Soil,
    pub(super) sky: Sky,
    /// Far to near.
    pub(super) props: Vec<Prop>,
    /// How thick the air is; 1 on a clear day.
    pub(super) air: f32,
    /// Mist near the ground, 0 to 1.
    pub(super) mist: f32,
    pub(super) rough: f32,
    pub(super) foam: f32,
    pub(super) rain: bool,
    pub(super) snow: bool,
    /// Distances that deserve a closer look.
    pub(super) focus: Option<(f32, f32)>,
    pub(super) salt: u32,
}

impl Plan {
    pub(super) fn new(scene: &Scene, canvas: &Canvas) -> Self {
        let seed = canvas.seed;
        let mut dice = Dice::new(seed, "composition");
        let mut draft = Draft::blank(scene, &mut dice);
        draft.apply(scene, &mut dice);
        let relief = draft.relief;
        let (width, height) = (canvas.width as usize, canvas.height as usize);
        // Stand on the ground, not in it.
        let mut eye = draft.eye;
        for step in 1u8..=12 {
            let z = f32::from(step) * 2.5;
            eye = eye.max(relief.ground(0.0, z, 0.5) + 1.6 + 0.02 * z);
        }
        let view = View::new(width, height, draft.horizon, eye);
        let palette = Palette::new(scene.time, scene.style);
        let luminary = luminary(scene, &view, draft.side, seed);
        let light = light(&palette, &view, &luminary, scene.time, draft.side);
        let sky = sky(scene, view, luminary, seed);
        let mut air = draft.air;
        let foggy = scene.has(Thing::Fog);
        if foggy {
            air *= 3.4;
        }
        let raining = (scene.has(Thing::Rain) || scene.time == Time::Storm)
            && !scene.has(Thing::Snow)
            && scene.allows(Thing::Rain);
        if raining {
            air *= 1.5;
        }
        let props = placing::place(scene, &view, &relief, &draft.soil, draft.side, seed);
        Self {
            time: scene.time,
            style: scene.style,
            view,
            palette,
            light,
            relief,
            soil: draft.soil,
            sky,
            props,
            air,
            mist: if foggy { 1.0 } else { 0.0 },
            rough: draft.rough * if scene.time == Time::Storm { 1.7 } else { 1.0 },
            foam: draft.foam,
            rain: raining,
            snow: scene.has(Thing::Snow),
            focus: draft.focus,
            salt: Dice::new(seed, "light").salt(),
        }
    }
}

/// Where sun or moon stands: away from the weight of the picture, low when it is late.
fn luminary(scene: &Scene, view: &View, side: f32, seed: u64) -> Luminary {
    let mut dice = Dice::new(seed, "luminary");
    let (w, h) = (view.width as f32, view.height as f32);
    let unit = (w * h).sqrt();
    let off = dice.range(0.10, 0.24);
    let column = w * (0.5 - side * off);
    let moon = scene.has(Thing::Moon) || scene.has(Thing::Crescent);
    let body = if scene.has(Thing::Crescent) {
        Body::Crescent
    } else if scene.has(Thing::Moon) {
        Body::Moon
    } else if scene.has(Thing::Sun) && scene.allows(Thing::Sun) {
        Body::Sun
    } else {
        match scene.time {
            Time::Dawn | Time::GoldenHour | Time::Sunset if scene.allows(Thing::Sun) => Body::Sun,
            Time::Night
                if scene.allows(Thing::Moon)
                    && !scene.has(Thing::Aurora)
                    && !scene.has(Thing::Stars) =>
            {
                if dice.chance(0.6) {
                    Body::Moon
                } else {
                    Body::Crescent
                }
            }
            Time::Dawn
            | Time::GoldenHour
            | Time::Sunset
            | Time::Night
            | Time::Day
            | Time::Dusk
            | Time::Storm => Body::Hidden,
        }
    };
    let (lift, radius) = match (body, scene.time) {
        (Body::Sun | Body::Hidden, Time::Sunset) => (dice.range(0.035, 0.085), 0.032),
        (Body::Sun | Body::Hidden, Time::Dawn) => (dice.range(0.05, 0.12), 0.030),
        (Body::Sun | Body::Hidden, Time::GoldenHour) => (dice.range(0.14, 0.22), 0.028),
        (Body::Sun, Time::Day | Time::Storm) => (view.horizon / h * dice.range(0.70, 0.80), 0.030),
        (Body::Hidden, Time::Day | Time::Storm) => (view.horizon / h * 1.25, 0.03),
        (Body::Hidden, Time::Dusk) => (0.01, 0.03),
        (_, Time::Dusk | Time::Sunset | Time::Dawn | Time::GoldenHour) if moon => {
            (view.horizon / h * dice.range(0.50, 0.64), 0.030)
        }
        _ => (view.horizon / h * dice.range(0.60, 0.74), 0.040),
    };
    let neon = if scene.style == Style::Neon && body == Body::Sun {
        2.6
    } else {
        1.0
    };
    let lift = if neon > 1.0 { lift.min(0.09) } else { lift };
    Luminary {
        body,
        at: (column, view.horizon - h * lift),
        radius: (unit * radius * neon).max(1.5),
    }
}

fn light(p: &Palette, view: &View, luminary: &Luminary, time: Time, side: f32) -> Light {
    let (a, _) = view.slope(luminary.at.0, luminary.at.1);
    let from = if a.abs() > 0.02 { a.signum() } else { -side };
    let behind = match time {
        Time::Sunset | Time::Dusk => -0.12,
        Time::Dawn | Time::GoldenHour => -0.22,
        Time::Day | Time::Night | Time::Storm => -0.45,
    };
    Light {
        way: v3(0.86 * from, p.rise, behind).unit(),
        key: p.key,
        ambient: p.ambient,
        bounce: p.bounce,
    }
}

fn sky(scene: &Scene, view: View, luminary: Luminary, seed: u64) -> Sky {
    let mut dice = Dice::new(seed, "sky");
    let salt = dice.salt();
    let asked = scene.has(Thing::Clouds);
    let wet = scene.has(Thing::Rain) || scene.has(Thing::Snow) || scene.has(Thing::Lightning);
    let clear = !scene.allows(Thing::Clouds);
    let kind = match scene.time {
        Time::Storm => CloudKind::Ceiling,
        _ if wet && !scene.has(Thing::Rainbow) => CloudKind::Ceiling,
        Time::Day => CloudKind::Heap,
        Time::Dawn | Time::GoldenHour | Time::Sunset | Time::Dusk | Time::Night => CloudKind::Sheet,
    };
    let cover = match scene.time {
        _ if asked => dice.range(0.60, 0.75),
        Time::Storm => 0.9,
        Time::Day => dice.range(0.3, 0.55),
        Time::Sunset | Time::Dawn | Time::GoldenHour => dice.range(0.52, 0.68),
        Time::Dusk => dice.range(0.3, 0.45),
        Time::Night => 0.0,
    };
    let clouds = (!clear && (cover > 0.0 || kind == CloudKind::Ceiling))
        .then(|| Clouds::new(kind, cover, &view, seed));
    let bolts = if scene.has(Thing::Lightning) {
        bolts(&view, &mut dice)
    } else {
        Vec::new()
    };
    let natural = Palette::new(scene.time, scene.style).stars;
    let stars = if !scene.allows(Thing::Stars) {
        0.0
    } else if scene.has(Thing::Stars) {
        natural.max(0.6)
    } else if luminary.body == Body::Moon {
        natural * 0.6
    } else {
        natural
    };
    Sky {
        view,
        salt,
        luminary,
        clouds,
        stars,
        aurora: scene.has(Thing::Aurora),
        rainbow: scene.has(Thing::Rainbow),
        bolts,
        neon: scene.style == Style::Neon,
    }
}

/// A bolt that wanders down to the horizon and sends out branches.
fn bolts(view: &View, dice: &mut Dice) -> Vec<[f32; 5]> {
    let mut out = Vec::new();
    let unit = view.unit();
    let width = view.width as f32;
    let mut x = width * dice.range(0.25, 0.75);
    let mut y = -2.0;
    let step = view.horizon / 18.0;
    while y < view.horizon {
        let (nx, ny) = (x + dice.range(-1.0, 1.0) * step * 0.9, y + step);
        out.push([x, y, nx, ny, 0.9 * unit]);
        if dice.chance(0.3) {
            let lean = dice.side();
            let (mut bx, mut by) = (nx, ny);
            let mut w = 0.45 * unit;
            for _ in 0u8..5 {
                let (cx, cy) = (
                    bx + lean * step * dice.range(0.2, 1.0),
                    by + step * dice.range(0.4, 0.9),
                );
                out.push([bx, by, cx, cy, w]);
                (bx, by, w) = (cx, cy, w * 0.7);
            }
        }
        (x, y) = (nx, ny);
    }
    out
}

/// How much mist lies at a height over the water.
pub(super) fn mist_at(y: f32, z: f32) -> f32 {
    smooth(26.0, 2.0, y) * smooth(8.0, 130.0, z)
}
