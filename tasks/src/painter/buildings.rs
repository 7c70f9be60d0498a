//! Houses and what stands among them.

use std::f32::consts::FRAC_PI_2;

use super::brush::{Brush, Extent, Stand, convex, limb, oval, slab};
use super::maths::{Rgb, clamp01, floor, lerp, sin, smooth, srgb, v3};
use super::noise::{cell, value};
use super::props::Prop;
use super::scene::Style;

/// The light of a lamp behind glass.
pub(super) const WARM: Rgb = v3(2.6, 1.55, 0.55);

pub(super) fn plaster(brush: &Brush<'_>, prop: &Prop, usual: u32) -> Rgb {
    match (prop.hue, brush.plan.style) {
        (Some(hue), _) => hue,
        (None, Style::Neon) => srgb(0x3a_2a70),
        (None, _) => srgb(usual),
    }
}

/// The dark a heavy thing throws on the ground at its foot.
pub(super) fn footing(brush: &mut Brush<'_>, stand: &Stand, half: f32) {
    let dim = brush.light().ambient * 0.10;
    let away = -brush.light().way.x * 0.35 * half;
    let flat = half * 0.16;
    brush.each(stand, [-half * 2.0, -flat, half * 2.0, flat], |u, v| {
        let d = oval((away, 0.0), (half * 1.35, flat), u, v) / flat;
        let k = smooth(0.0, -1.0, d) * 0.55;
        (k > 0.01).then_some((dim, k))
    });
}

fn is_snowy(brush: &Brush<'_>) -> bool {
    brush.plan.soil.snowy
}

/// Fills a convex wall of one orientation.
fn wall(
    brush: &mut Brush<'_>,
    stand: &Stand,
    points: &[(f32, f32)],
    normal: (f32, f32, f32),
    paint: impl Fn(f32, f32) -> Rgb,
) {
    let light = brush.light();
    let n = v3(normal.0, normal.1, normal.2).unit();
    let mut e: Extent = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    for &(u, v) in points {
        e = [e[0].min(u), e[1].min(v), e[2].max(u), e[3].max(v)];
    }
    brush.fill(
        stand,
        e,
        |u, v| convex(points, u, v),
        |u, v| light.on(paint(u, v), n, 1.0),
    );
}

/// A window, dark by day and warm by night.
pub(super) fn window(brush: &mut Brush<'_>, stand: &Stand, e: Extent, lit: bool) {
    let frame = (e[2] - e[0]) * 0.12;
    let middle = (e[0] + e[2]) * 0.5;
    let half = (e[1] + e[3]) * 0.5;
    let light = brush.light();
    let neon = brush.plan.style == Style::Neon;
    brush.fill(
        stand,
        e,
        |u, v| slab(e, u, v),
        |u, v| {
            let bar = (u - middle).abs() < frame * 0.45 || (v - half).abs() < frame * 0.45;
            if bar {
                v3(0.05, 0.04, 0.035)
            } else if lit {
                let lamp = if neon { v3(0.3, 2.0, 2.6) } else { WARM };
                lamp * (0.65 + 0.35 * smooth(e[1], e[3], v))
            } else {
                light.on(v3(0.10, 0.13, 0.17), v3(0.0, 0.6, -0.6).unit(), 1.0) * 1.4
            }
        },
    );
}

/// Warm light on what lies around a lamp.
pub(super) fn shine(
    brush: &mut Brush<'_>,
    stand: &Stand,
    at: (f32, f32),
    reach: f32,
    strength: f32,
) {
    let lamp = if brush.plan.style == Style::Neon {
        v3(0.3, 0.8, 1.0)
    } else {
        v3(1.0, 0.52, 0.16)
    };
    brush.glow(stand, at, reach, lamp * strength);
}

/// A house with a gable to the viewer and one long side.
pub(super) fn house(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let flip = if prop.turn < 0.0 { -1.0 } else { 1.0 };
    let walls = plaster(
        brush,
        prop,
        [0xd9_cdb8, 0x8c_5a3c, 0xc9_b89a, 0x9a_4632][usize::from(cell(4, 1, prop.salt) > 0.6)
            + usize::from(cell(5, 1, prop.salt) > 0.5) * 2],
    );
    let roof = if is_snowy(brush) {
        v3(0.84, 0.87, 0.94)
    } else if brush.plan.style == Style::Neon {
        srgb(0x24_1450)
    } else {
        srgb(if cell(6, 1, prop.salt) > 0.5 {
            0x6a_3428
        } else {
            0x47_4448
        })
    };
    let (eave, ridge, gable, long) = (h * 0.52, h, h * 0.40, h * 0.95);
    let salt = prop.salt;
    let boards = |u: f32, v: f32| {
        0.86 + 0.14 * sin(v / h * 70.0) + 0.14 * (value(u / h * 30.0, v / h * 30.0, salt) - 0.5)
    };
    let m = |u: f32| u * flip;
    let order = |points: [(f32, f32); 4]| {
        let mut p = points.map(|(u, v)| (m(u), v));
        if flip < 0.0 {
            p.reverse();
        }
        p
    };
    // Long side, gable, then the roof over both.
    wall(
        brush,
        stand,
        &order([
            (gable, -0.05 * h),
            (gable + long, 0.02 * h),
            (gable + long, eave * 0.97),
            (gable, eave),
        ]),
        (0.75 * flip, 0.0, -0.65),
        |u, v| walls * boards(u, v) * 0.95,
    );
    let front = [
        (-gable, -0.05 * h),
        (gable, -0.05 * h),
        (gable, eave),
        (0.0, ridge * 0.98),
        (-gable, eave),
    ]
    .map(|(u, v)| (m(u), v));
    let mut front = front.to_vec();
    if flip < 0.0 {
        front.reverse();
    }
    wall(brush, stand, &front, (-0.35 * flip, 0.0, -0.9), |u, v| {
        walls * boards(u, v)
    });
    let tiles = |u: f32, v: f32| {
        roof * (0.82
            + 0.2 * sin(v / h * 60.0)
            + 0.22 * (value(u / h * 24.0, v / h * 40.0, salt ^ 1) - 0.5))
    };
    wall(
        brush,
        stand,
        &order([
            (gable * 1.16, eave * 0.86),
            (gable + long * 1.06, eave * 0.86),
            (long * 1.02 + 0.06 * h, ridge),
            (-0.03 * h, ridge * 1.02),
        ]),
        (0.55 * flip, 0.75, -0.35),
        tiles,
    );
    let trim = roof * 0.75;
    let light = brush.light();
    brush.fill(
        stand,
        [-gable * 1.3, eave * 0.8, gable * 1.3, ridge * 1.06],
        |u, v| {
            limb(
                (m(-gable * 1.15), eave * 0.86),
                (m(0.0), ridge * 1.01),
                (h * 0.025, h * 0.025),
                u,
                v,
            )
            .min(limb(
                (m(gable * 1.15), eave * 0.86),
                (m(0.0), ridge * 1.01),
                (h * 0.025, h * 0.025),
                u,
                v,
            ))
        },
        |_, _| light.on(trim, v3(-0.2 * flip, 0.8, -0.5).unit(), 1.0),
    );
    // Chimney.
    let cx = m(long * 0.62);
    wall(
        brush,
        stand,
        &[
            (cx - h * 0.055, ridge * 0.86),
            (cx + h * 0.055, ridge * 0.86),
            (cx + h * 0.055, ridge * 1.16),
            (cx - h * 0.055, ridge * 1.16),
        ],
        (0.5 * flip, 0.1, -0.8),
        |_, _| srgb(0x7a_5444) * 0.8,
    );
    let lit = brush.dark();
    let pane = |at: f32, foot: f32, w: f32, tall: f32| {
        let (a, b) = (m(at - w), m(at + w));
        [a.min(b), foot, a.max(b), foot + tall]
    };
    for at in [0.28, 0.62] {
        window(
            brush,
            stand,
            pane(gable + long * at, h * 0.20, h * 0.075, h * 0.17),
            lit,
        );
    }
    window(
        brush,
        stand,
        pane(-gable * 0.45, h * 0.2, h * 0.07, h * 0.17),
        lit,
    );
    window(brush, stand, pane(0.0, h * 0.58, h * 0.06, h * 0.14), lit);
    let door = pane(gable * 0.40, -0.05 * h, h * 0.075, h * 0.33);
    brush.fill(
        stand,
        door,
        |u, v| slab(door, u, v),
        |_, _| light.on(srgb(0x4a_2c1c), v3(-0.3, 0.1, -0.9).unit(), 1.0),
    );
    if lit {
        shine(
            brush,
            stand,
            (m(gable + long * 0.4), h * 0.2),
            h * 1.5,
            0.35,
        );
        shine(brush, stand, (0.0, h * 0.25), h * 1.1, 0.30);
        smoke(brush, stand, (cx, ridge * 1.16), h, salt);
    } else if is_snowy(brush) {
        smoke(brush, stand, (cx, ridge * 1.16), h, salt);
    }
}

/// Smoke that rises and drifts.
pub(super) fn smoke(brush: &mut Brush<'_>, stand: &Stand, (u0, v0): (f32, f32), h: f32, salt: u32) {
    let light = brush.light();
    let gray = light.on(v3(0.6, 0.6, 0.62), v3(0.0, 1.0, 0.0), 0.7) + v3(0.01, 0.01, 0.012);
    brush.each(
        stand,
        [u0 - h * 0.3, v0, u0 + h * 1.1, v0 + h * 1.3],
        |u, v| {
            let t = (v - v0) / (h * 1.3);
            if !(0.0..=1.0).contains(&t) {
                return None;
            }
            let middle = u0 + h * (0.45 * t * t + 0.10 * t * sin(t * 9.0));
            let wide = h * (0.03 + 0.14 * t);
            let n = value(u / h * 8.0, v / h * 6.0 - t * 2.0, salt) - 0.35;
            let k = smooth(1.0, 0.0, (u - middle).abs() / wide - n * 0.8) * (1.0 - t) * 0.45;
            (k > 0.01).then_some((gray, k))
        },
    );
}

/// A nave and a tower with a spire.
pub(super) fn church(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let stone = plaster(brush, prop, 0xcf_c4b0);
    let roof = if is_snowy(brush) {
        v3(0.84, 0.87, 0.94)
    } else {
        srgb(0x50_4644)
    };
    let salt = prop.salt;
    let rough = |u: f32, v: f32| 0.85 + 0.3 * (value(u / h * 30.0, v / h * 40.0, salt) - 0.5) * 1.2;
    let (w, eave) = (h * 0.30, h * 0.26);
    wall(
        brush,
        stand,
        &[
            (0.0, -0.03 * h),
            (h * 0.55, 0.0),
            (h * 0.55, eave),
            (0.0, eave),
        ],
        (0.5, 0.0, -0.8),
        |u, v| stone * rough(u, v) * 0.95,
    );
    wall(
        brush,
        stand,
        &[
            (-0.02 * h, eave * 0.96),
            (h * 0.58, eave * 0.96),
            (h * 0.52, eave + h * 0.17),
            (0.0, eave + h * 0.17),
        ],
        (0.35, 0.8, -0.4),
        |u, v| roof * rough(u, v),
    );
    let t = w * 0.36;
    wall(
        brush,
        stand,
        &[
            (-t, -0.03 * h),
            (t, -0.03 * h),
            (t, h * 0.56),
            (-t, h * 0.56),
        ],
        (-0.35, 0.0, -0.9),
        |u, v| stone * rough(u, v),
    );
    wall(
        brush,
        stand,
        &[
            (t, -0.02 * h),
            (t * 1.6, 0.0),
            (t * 1.6, h * 0.55),
            (t, h * 0.56),
        ],
        (0.85, 0.0, -0.5),
        |u, v| stone * rough(u, v) * 0.9,
    );
    wall(
        brush,
        stand,
        &[(-t * 1.2, h * 0.55), (t * 0.5, h * 0.55), (t * 0.3, h)],
        (-0.6, 0.4, -0.6),
        |u, v| roof * rough(u, v),
    );
    wall(
        brush,
        stand,
        &[(t * 0.5, h * 0.55), (t * 1.8, h * 0.55), (t * 0.3, h)],
        (0.85, 0.4, -0.3),
        |u, v| roof * rough(u, v),
    );
    let lit = brush.dark();
    for at in [0.16, 0.28, 0.40] {
        window(
            brush,
            stand,
            [h * at, h * 0.09, h * (at + 0.035), h * 0.19],
            lit,
        );
    }
    window(brush, stand, [-t * 0.28, h * 0.40, t * 0.28, h * 0.48], lit);
    if lit {
        shine(brush, stand, (h * 0.3, h * 0.12), h * 0.6, 0.3);
    }
}

/// A tapered mill with four latticed sails.
pub(super) fn windmill(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let body = plaster(brush, prop, 0xd8_cfbe);
    let light = brush.light();
    let salt = prop.salt;
    let top = h * 0.62;
    let radius = |v: f32| lerp(h * 0.20, h * 0.12, clamp01(v / top));
    brush.fill(
        stand,
        [-h * 0.22, -h * 0.04, h * 0.22, top],
        |u, v| u.abs() - radius(v),
        |u, v| {
            let x = (u / radius(v)).clamp(-1.0, 1.0);
            let rough = 0.85 + 0.3 * (value(u / h * 30.0, v / h * 20.0, salt) - 0.3);
            light.on(body * rough, v3(x, 0.1, -(1.0 - x * x).sqrt()).unit(), 1.0)
        },
    );
    brush.fill(
        stand,
        [-h * 0.15, top * 0.98, h * 0.15, h * 0.78],
        |u, v| oval((0.0, top), (h * 0.145, h * 0.13), u, v).max(top * 0.98 - v),
        |u, v| {
            light.on(
                srgb(0x50_3a30),
                v3(u / (h * 0.14), (v - top) / (h * 0.1), -0.5).unit(),
                1.0,
            )
        },
    );
    let lit = brush.dark();
    window(
        brush,
        stand,
        [-h * 0.025, h * 0.34, h * 0.025, h * 0.41],
        lit,
    );
    window(
        brush,
        stand,
        [-h * 0.03, -h * 0.02, h * 0.03, h * 0.12],
        false,
    );
    let hub = (0.0, top + h * 0.03);
    let turn = 0.25 + prop.turn * 0.5;
    for i in 0u8..4 {
        let a = turn + f32::from(i) * FRAC_PI_2;
        let (dx, dy) = (sin(a + FRAC_PI_2), sin(a));
        let tip = (hub.0 + dx * h * 0.46, hub.1 + dy * h * 0.46);
        let cloth = srgb(0xe8_dfcc);
        brush.fill(
            stand,
            [
                hub.0.min(tip.0) - h * 0.1,
                hub.1.min(tip.1) - h * 0.1,
                hub.0.max(tip.0) + h * 0.1,
                hub.1.max(tip.1) + h * 0.1,
            ],
            |u, v| {
                let (x, y) = (u - hub.0, v - hub.1);
                let (along, off) = (x * dx + y * dy, x * -dy + y * dx);
                let spar = limb(hub, tip, (h * 0.010, h * 0.006), u, v);
                let s = along / (h * 0.035);
                let slat = ((s - floor(s + 0.5) as f32).abs() * h * 0.035 - h * 0.012).max(-0.001);
                let sail = (off - h * 0.075)
                    .max(-off)
                    .max(along - h * 0.45)
                    .max(h * 0.10 - along)
                    .max(slat);
                spar.min(sail)
            },
            |_, _| light.on(cloth, v3(0.2, 0.3, -0.9).unit(), 1.0),
        );
    }
    if lit {
        shine(brush, stand, (0.0, h * 0.36), h * 0.5, 0.25);
    }
}

/// A stone bridge with three arches; `size` is its length.
pub(super) fn bridge(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let w = prop.size;
    let stone = plaster(brush, prop, 0x9a_8e7e);
    let light = brush.light();
    let salt = prop.salt;
    let rise = w * 0.075;
    let deck = |u: f32| w * 0.115 + rise * (1.0 - (u / (w * 0.5)) * (u / (w * 0.5)));
    let shape = |u: f32, v: f32| {
        let mut d = (v - deck(u)).max(u.abs() - w * 0.5).max(-v - w * 0.03);
        for (at, r, tall) in [
            (-0.27, 0.095, 0.085),
            (0.0, 0.125, 0.13),
            (0.27, 0.095, 0.085),
        ] {
            let arch = oval((at * w, 0.0), (r * w, tall * w), u, v).min(slab(
                [(at - r) * w, -w, (at + r) * w, 0.0],
                u,
                v,
            ));
            d = d.max(-arch);
        }
        d
    };
    brush.fill(
        stand,
        [-w * 0.5, -w * 0.03, w * 0.5, w * 0.22],
        shape,
        |u, v| {
            let row = v / w * 46.0;
            let stones = 0.78
                + 0.34
                    * value(
                        u / w * 34.0 + floor(row) as f32 * 0.5,
                        floor(row) as f32,
                        salt,
                    );
            let rim = smooth(0.012 * w, 0.004 * w, deck(u) - v);
            light.on(
                stone * stones * (1.0 + 0.25 * rim),
                v3(-0.1, 0.15 + 0.6 * rim, -0.9).unit(),
                1.0,
            )
        },
    );
}

/// A ridge tent, glowing from inside when it is late.
pub(super) fn tent(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let cloth = plaster(brush, prop, 0xc8_6a30);
    let lit = brush.dark();
    let glow = if lit {
        cloth * v3(1.5, 1.0, 0.6)
    } else {
        v3(0.0, 0.0, 0.0)
    };
    let light = brush.light();
    for (points, n) in [
        (
            [(0.0, h), (-h * 0.85, 0.0), (h * 0.25, -h * 0.06)],
            v3(-0.5, 0.4, -0.7),
        ),
        (
            [(0.0, h), (h * 0.25, -h * 0.06), (h * 1.1, h * 0.08)],
            v3(0.8, 0.4, -0.3),
        ),
    ] {
        brush.fill(
            stand,
            [-h, -h * 0.1, h * 1.2, h],
            |u, v| convex(&points, u, v),
            |_, v| light.on(cloth, n.unit(), 1.0) + glow * smooth(h, 0.0, v),
        );
    }
    let flap = [
        (0.0, h * 0.8),
        (-h * 0.16, -h * 0.03),
        (h * 0.14, -h * 0.05),
    ];
    brush.fill(
        stand,
        [-h, -h * 0.1, h, h],
        |u, v| convex(&flap, u, v),
        |_, _| {
            if lit {
                WARM * 0.8
            } else {
                v3(0.05, 0.04, 0.03)
            }
        },
    );
    if lit {
        shine(brush, stand, (0.0, h * 0.2), h * 2.0, 0.4);
    }
}
