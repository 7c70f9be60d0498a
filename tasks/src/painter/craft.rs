//! What floats, flies, burns, falls or fences in.

use std::f32::consts::PI;

use super::brush::{Brush, Stand, limb, oval, slab};
use super::maths::{clamp01, floor, lerp, sin, smooth, srgb, v3};
use super::noise::{cell, fbm, value};
use super::props::Prop;
use super::scene::Style;

/// A sailing boat.
pub(super) fn boat(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let f = if prop.turn < 0.0 { -1.0 } else { 1.0 };
    let light = brush.light();
    let neon = brush.plan.style == Style::Neon;
    let hull = prop.hue.unwrap_or(if neon {
        srgb(0x4a_1a80)
    } else {
        srgb(0x6e_2f24)
    });
    let cloth = if neon {
        srgb(0xd0_60e0)
    } else {
        srgb(0xf0_e6d2)
    };
    let wood = v3(0.16, 0.10, 0.06);
    brush.fill(
        stand,
        [-h * 0.03, 0.0, h * 0.03, h],
        |u, v| slab([-h * 0.008, h * 0.08, h * 0.008, h], u, v),
        |_, _| light.on(wood, v3(-0.3, 0.2, -0.8).unit(), 1.0),
    );
    // Main sail behind the mast, jib before it; both belly out.
    let main = |u: f32, v: f32| {
        let t = clamp01((v - h * 0.17) / (h * 0.78));
        let leech = -h * 0.40 * (1.0 - t) - h * 0.05 * sin(t * PI);
        (u - 0.012 * -h)
            .max(leech - u)
            .max(h * 0.17 - v)
            .max(v - h * 0.95)
    };
    let jib = |u: f32, v: f32| {
        let t = clamp01((v - h * 0.15) / (h * 0.70));
        let luff = h * 0.36 * (1.0 - t);
        let belly = h * 0.02 + h * 0.05 * sin(t * PI);
        (u - luff)
            .max(belly - u)
            .max(h * 0.15 - v)
            .max(v - h * 0.85)
    };
    for (n, sail) in [(0u8, &main as &dyn Fn(f32, f32) -> f32), (1, &jib)] {
        brush.fill(
            stand,
            [-h * 0.5, h * 0.1, h * 0.5, h],
            |u, v| sail(u * f, v),
            |u, v| {
                let seam = v / h * 9.0 + u / h * 2.0;
                let seam = smooth(0.04, 0.0, (seam - floor(seam) as f32).min(1.0));
                let bend = (u * f / (h * 0.4) + 0.5).clamp(-0.9, 0.9);
                let lit = light.on(
                    cloth * (1.0 - 0.15 * seam),
                    v3(bend * f + 0.2, 0.2, -0.6).unit(),
                    1.0,
                );
                // Cloth lets light through.
                lit + cloth * light.key * (0.20 - 0.06 * f32::from(n))
            },
        );
    }
    brush.fill(
        stand,
        [-h * 0.5, -h * 0.05, h * 0.5, h * 0.2],
        |u, v| {
            let x = u * f / (h * 0.42);
            let sheer = h * (0.105 + 0.035 * x * x + 0.02 * x);
            let keel = h * 0.13 * (x.abs() - 0.55).max(0.0) - h * 0.025;
            (v - sheer).max(keel - v).max((x.abs() - 1.0) * h * 0.3)
        },
        |u, v| {
            let x = u * f / (h * 0.42);
            let sheer = h * (0.105 + 0.035 * x * x + 0.02 * x);
            let rail = smooth(h * 0.022, h * 0.016, sheer - v);
            let n = v3(0.4 * x * f, 0.05 + 0.4 * (v / (h * 0.1) - 0.5), -0.8).unit();
            light.on(hull.mix(cloth * 0.9, rail), n, 1.0)
        },
    );
    if brush.dark() {
        brush.glow(
            stand,
            (-h * 0.1 * f, h * 0.16),
            h * 0.4,
            v3(1.3, 0.75, 0.25) * 0.6,
        );
    }
}

/// A hot-air balloon with bright gores.
pub(super) fn balloon(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let r = prop.size * 0.5;
    let light = brush.light();
    let a = prop.hue.unwrap_or(
        [
            srgb(0xc8_3a2c),
            srgb(0x2f_68a8),
            srgb(0x3a_8a5c),
            srgb(0x8a_3f8c),
        ][super::maths::index(cell(1, 1, prop.salt) * 3.99, 4)],
    );
    let b = srgb(0xf0_cf6a);
    let half = |v: f32| {
        let t = v / r;
        if t > 0.0 {
            (1.0 - t * t).max(0.0).sqrt() * r
        } else {
            r * (1.0 - smooth(0.0, 1.35, -t) * 0.84)
        }
    };
    brush.fill(
        stand,
        [-r, -r * 1.3, r, r],
        |u, v| (u.abs() - half(v)).max(-r * 1.25 - v).max(v - r) * 0.9,
        |u, v| {
            let x = (u / half(v).max(0.01)).clamp(-1.0, 1.0);
            // Gores narrow towards the limb.
            let around = x * (1.0 + 0.35 * x * x) * 4.2 + 0.5;
            let stripe = (floor(around) & 1) == 0;
            let belt = (v / r + 0.05).abs() < 0.17;
            let seam = around - floor(around) as f32;
            let color = if stripe != belt { a } else { b };
            let n = v3(x, v / r * 0.8, -(1.0 - x * x).max(0.02).sqrt()).unit();
            let crease = 0.86 + 0.14 * smooth(0.0, 0.2, seam.min(1.0 - seam));
            light.on(color, n, 1.0) * crease + color * light.ambient * 0.2
        },
    );
    brush.fill(
        stand,
        [-r * 0.3, -r * 1.9, r * 0.3, -r * 1.2],
        |u, v| {
            let basket = slab([-r * 0.13, -r * 1.82, r * 0.13, -r * 1.60], u, v);
            let ropes = limb(
                (-r * 0.15, -r * 1.22),
                (-r * 0.12, -r * 1.62),
                (r * 0.012, r * 0.012),
                u,
                v,
            )
            .min(limb(
                (r * 0.15, -r * 1.22),
                (r * 0.12, -r * 1.62),
                (r * 0.012, r * 0.012),
                u,
                v,
            ));
            basket.min(ropes)
        },
        |u, _| {
            light.on(
                v3(0.28, 0.18, 0.09),
                v3(u / (r * 0.15), 0.0, -0.7).unit(),
                1.0,
            )
        },
    );
    if brush.dark() {
        brush.glow(stand, (0.0, -r * 1.1), r * 1.1, v3(1.5, 0.8, 0.25) * 0.7);
    }
}

/// A gull or crow: two bent wings.
pub(super) fn bird(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let w = prop.size;
    let lift = 0.10 + 0.35 * cell(1, 1, prop.salt);
    let tilt = prop.turn * 0.25;
    let ink = v3(0.02, 0.02, 0.028);
    brush.fill(
        stand,
        [-w, -w * 0.8, w, w * 0.8],
        |u, v| {
            let v = v - u * tilt;
            let wing = |s: f32| {
                limb(
                    (0.0, 0.0),
                    (s * w * 0.26, w * lift),
                    (w * 0.042, w * 0.036),
                    u,
                    v,
                )
                .min(limb(
                    (s * w * 0.26, w * lift),
                    (s * w * 0.58, w * (lift * 0.55 - 0.02)),
                    (w * 0.036, w * 0.004),
                    u,
                    v,
                ))
            };
            wing(1.0)
                .min(wing(-1.0))
                .min(oval((0.0, -w * 0.01), (w * 0.05, w * 0.06), u, v))
        },
        |_, _| ink,
    );
}

/// Flames over crossed logs.
pub(super) fn campfire(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let salt = prop.salt;
    let light = brush.light();
    for s in [-1.0, 1.0] {
        brush.fill(
            stand,
            [-h, -h * 0.1, h, h * 0.4],
            |u, v| {
                limb(
                    (-s * h * 0.45, 0.0),
                    (s * h * 0.35, h * 0.16),
                    (h * 0.06, h * 0.05),
                    u,
                    v,
                )
            },
            |_, v| {
                light.on(v3(0.12, 0.07, 0.04), v3(0.2, 0.8, -0.4).unit(), 1.0)
                    + v3(0.7, 0.2, 0.03) * smooth(0.0, h * 0.2, v)
            },
        );
    }
    brush.each(stand, [-h * 0.6, 0.0, h * 0.6, h * 1.5], |u, v| {
        let t = v / (h * 1.4);
        let lick = fbm(u / h * 3.0, v / h * 2.2, 3, salt);
        let wide = h * 0.36 * (1.0 - t).max(0.0) * (0.55 + smooth(-0.05, 0.25, t) * 0.45);
        let d = (u + lick * h * 0.35 * t).abs() / wide.max(0.01) + lick * 0.5;
        let k = smooth(1.05, 0.5, d) * smooth(1.0, 0.75, t);
        let core = smooth(0.75, 0.05, d) * (1.0 - t * 0.7);
        (k > 0.0).then_some((v3(2.2, 0.55, 0.06).mix(v3(4.5, 3.0, 1.0), core), k * 0.95))
    });
    let strength = if brush.dark() { 1.2 } else { 0.35 };
    brush.glow(
        stand,
        (0.0, h * 0.5),
        h * 4.5,
        v3(1.3, 0.55, 0.12) * strength,
    );
    super::buildings::smoke(brush, stand, (0.0, h * 1.3), h * 1.2, salt);
}

/// One stretch of a fence: two posts, two rails.
pub(super) fn fence(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let (h, w) = (prop.size, prop.width);
    let salt = prop.salt;
    let light = brush.light();
    let wood = prop.hue.unwrap_or(srgb(0x7a_6450));
    let lean = prop.turn * w * 0.1;
    brush.fill(
        stand,
        [-h * 0.1, -h * 0.1, w + h * 0.1, h * 1.1],
        |u, v| {
            let post = slab([-h * 0.055, -h * 0.1, h * 0.055, h], u, v);
            let rail = |at: f32| {
                ((v - at * h - lean * u / w).abs() - h * 0.04)
                    .max(-u)
                    .max(u - w)
            };
            post.min(rail(0.42)).min(rail(0.78))
        },
        |u, v| {
            light.on(
                wood * (0.8 + 0.4 * value(u * 6.0, v * 22.0, salt)),
                v3(-0.2, 0.4, -0.8).unit(),
                1.0,
            )
        },
    );
}

/// Falling water: bright strands, mist at the foot. `width` wide, `size` high.
pub(super) fn fall(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let (h, w) = (prop.size, prop.width);
    let salt = prop.salt;
    let light = brush.light();
    let white =
        light.on(v3(0.86, 0.91, 0.95), v3(0.0, 0.7, -0.7).unit(), 0.75) + light.ambient * 0.25;
    let deep = white * v3(0.52, 0.62, 0.72);
    brush.each(stand, [-w * 1.2, -h * 0.05, w * 1.2, h * 1.03], |u, v| {
        let t = 1.0 - v / h;
        let spread = w * (0.62 + 0.38 * t + 0.10 * fbm(v / h * 5.0, 1.0, 3, salt));
        let edge = (u.abs() - spread) / (w * 0.24);
        let strands = fbm(u / w * 6.5, v / h * 1.6 + t * t * 1.4, 4, salt);
        let fine = value(u / w * 38.0, v / h * 5.0 + t * 3.0, salt ^ 1);
        let body = smooth(0.4, -0.4, edge + strands * 0.9);
        let tone = clamp01(0.55 + 0.75 * strands + 0.35 * (fine - 0.5));
        let top = smooth(1.02, 0.985, v / h + 0.02 * strands);
        (body > 0.01).then_some((deep.mix(white, tone), body * top * lerp(0.96, 0.88, t)))
    });
    // Spray where it lands.
    brush.each(stand, [-w * 3.2, -h * 0.08, w * 3.2, h * 0.42], |u, v| {
        let puff = fbm(u / w * 1.1, v / w * 1.1, 4, salt ^ 2);
        let d = (u / (w * 2.4)).abs() + v.max(0.0) / (h * 0.30) - 0.42 * puff;
        let k = smooth(1.0, 0.05, d) * 0.72 * smooth(-h * 0.08, h * 0.01, v);
        (k > 0.01).then_some((white, k))
    });
}
