//! What towers: lighthouses, castles, blocks of a city.

use super::brush::{Brush, Stand, oval, slab};
use super::buildings::{plaster, shine, window};
use super::maths::{clamp01, floor, lerp, sin, smooth, srgb, v3};
use super::noise::{cell, value};
use super::props::Prop;
use super::scene::Style;

/// A striped tower with a lamp, and a keeper's house at its foot.
pub(super) fn lighthouse(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let light = brush.light();
    let (wide, narrow) = (h * 0.125, h * 0.078);
    let (deck, lamp_top) = (h * 0.76, h * 0.90);
    let stripe = plaster(brush, prop, 0xa8_2a20);
    let white = if brush.plan.style == Style::Neon {
        srgb(0x8a_70d8)
    } else {
        srgb(0xef_e8dc)
    };
    let salt = prop.salt;
    let lit = brush.dark();
    let radius =
        |v: f32| lerp(wide, narrow, clamp01(v / deck)) + h * 0.012 * smooth(0.06, 0.0, v / h);
    brush.fill(
        stand,
        [-wide * 1.3, -h * 0.05, wide * 1.3, deck],
        |u, v| u.abs() - radius(v),
        |u, v| {
            let x = (u / radius(v)).clamp(-1.0, 1.0);
            let depth = (1.0 - x * x).sqrt();
            // Bands curve: seen from below, they arch.
            let turn = v + h * 0.022 * depth;
            let band = turn / deck * 6.0;
            let f = band - floor(band) as f32;
            let red = (floor(band) & 1) == 1;
            let edge = smooth(0.0, 0.03, f) * smooth(1.0, 0.97, f);
            let base = if red {
                white.mix(stripe, edge)
            } else {
                stripe.mix(white, edge)
            };
            let stain = 0.86 + 0.20 * value(u / h * 40.0, v / h * 9.0, salt)
                - 0.12 * smooth(0.12, 0.0, v / h);
            light.on(base * stain, v3(x, 0.05, -depth * 0.8).unit(), 1.0)
        },
    );
    for (i, v) in [0.16, 0.36, 0.56].into_iter().enumerate() {
        let at = if i % 2 == 0 { -h * 0.02 } else { h * 0.025 };
        window(
            brush,
            stand,
            [at - h * 0.014, v * h, at + h * 0.014, (v + 0.045) * h],
            lit,
        );
    }
    // Gallery: a slab on brackets, a rail above it.
    let iron = v3(0.055, 0.055, 0.065);
    brush.fill(
        stand,
        [
            -narrow * 1.7,
            deck - h * 0.03,
            narrow * 1.7,
            deck + h * 0.05,
        ],
        |u, v| {
            let slab_d = slab(
                [
                    -narrow * 1.5,
                    deck - h * 0.005,
                    narrow * 1.5,
                    deck + h * 0.012,
                ],
                u,
                v,
            );
            let bracket = (u.abs()
                - lerp(
                    narrow,
                    narrow * 1.5,
                    clamp01((v - deck + h * 0.03) / (h * 0.03)),
                ))
            .max(v - deck)
            .max(deck - h * 0.03 - v);
            let rail = slab(
                [
                    -narrow * 1.5,
                    deck + h * 0.040,
                    narrow * 1.5,
                    deck + h * 0.046,
                ],
                u,
                v,
            );
            let posts = {
                let s = u / (narrow * 0.5);
                let f = (s - floor(s + 0.5) as f32).abs() * narrow * 0.5;
                (f - h * 0.0025)
                    .max(u.abs() - narrow * 1.5)
                    .max(v - deck - h * 0.045)
                    .max(deck - v)
            };
            slab_d.min(bracket).min(rail).min(posts)
        },
        |u, _| light.on(iron * 1.6, v3(u / narrow, 0.4, -0.7).unit(), 1.0) + iron * 0.2,
    );
    // Lantern: glass between bars, glowing when it is late.
    let room = narrow * 0.78;
    brush.fill(
        stand,
        [-room, deck + h * 0.012, room, lamp_top],
        |u, v| slab([-room, deck + h * 0.012, room, lamp_top], u, v),
        |u, v| {
            let s = (u / room * 1.5 + 0.5) * 2.0;
            let f = s - floor(s) as f32;
            let bar = f < 0.10 || v < deck + h * 0.03;
            if bar {
                light.on(iron, v3(u / room, 0.1, -0.7).unit(), 1.0) + iron * 0.3
            } else if lit {
                let d = (u / room).abs() + ((v - (deck + lamp_top) * 0.5) / (h * 0.07)).abs() * 0.6;
                v3(3.6, 2.7, 1.35) * (1.15 - 0.5 * clamp01(d))
            } else {
                light.on(v3(0.30, 0.36, 0.40), v3(u / room, 0.3, -0.6).unit(), 1.0) * 1.3
            }
        },
    );
    // Cap and rod.
    brush.fill(
        stand,
        [-room * 1.4, lamp_top - h * 0.01, room * 1.4, h * 1.04],
        |u, v| {
            let t = (v - lamp_top) / (h * 0.075);
            let dome = if t > 1.0 {
                1.0
            } else {
                u.abs() - room * 1.22 * (1.0 - t.max(0.0) * t.max(0.0)).max(0.0).sqrt()
            };
            dome.max(lamp_top - v)
                .min(slab([-h * 0.004, lamp_top, h * 0.004, h * 1.03], u, v))
                .min(oval(
                    (0.0, lamp_top + h * 0.082),
                    (h * 0.012, h * 0.012),
                    u,
                    v,
                ))
        },
        |u, v| {
            light.on(
                stripe * 0.75,
                v3(u / room * 0.9, (v - lamp_top) / (h * 0.06), -0.5).unit(),
                1.0,
            )
        },
    );
    if lit {
        let at = (0.0, (deck + lamp_top) * 0.5);
        brush.glow(stand, at, h * 1.25, v3(1.5, 1.0, 0.42) * 0.6);
        brush.glow(stand, at, h * 0.35, v3(2.4, 1.8, 0.9) * 0.6);
    }
}

/// Towers, walls and flags.
pub(super) fn castle(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let stone = plaster(brush, prop, 0x9c_9488);
    let roof = if brush.plan.style == Style::Neon {
        srgb(0x70_1a8a)
    } else {
        srgb(0x56_3a44)
    };
    let light = brush.light();
    let lit = brush.dark();
    let salt = prop.salt;
    let course = |u: f32, v: f32| {
        let row = v / h * 34.0;
        let seam = (row - floor(row) as f32 - 0.5).abs();
        0.80 + 0.24 * value(u / h * 16.0, floor(row) as f32, salt)
            + 0.10 * value(u / h * 50.0, v / h * 50.0, salt)
            - 0.10 * smooth(0.42, 0.5, seam)
    };
    let teeth = |u: f32, top: f32, size: f32| {
        let s = u / size;
        top + if (floor(s) & 1) == 0 { size * 0.9 } else { 0.0 }
    };
    // Walls between the towers.
    brush.fill(
        stand,
        [-h * 0.75, -h * 0.12, h * 0.75, h * 0.42],
        |u, v| {
            (u.abs() - h * 0.72)
                .max(v - teeth(u, h * 0.30, h * 0.032))
                .max(-h * 0.12 - v)
        },
        |u, v| light.on(stone * course(u, v), v3(-0.1, 0.0, -1.0).unit(), 1.0),
    );
    let gate = |u: f32, v: f32| {
        slab([-h * 0.07, -h * 0.12, h * 0.07, h * 0.09], u, v).min(oval(
            (0.0, h * 0.09),
            (h * 0.07, h * 0.07),
            u,
            v,
        ))
    };
    brush.fill(
        stand,
        [-h * 0.08, -h * 0.12, h * 0.08, h * 0.17],
        gate,
        |_, _| {
            if lit {
                v3(0.5, 0.24, 0.07)
            } else {
                v3(0.03, 0.025, 0.02)
            }
        },
    );
    let towers = [
        (-0.70, 0.50, 0.10, false),
        (0.70, 0.56, 0.10, true),
        (-0.24, 0.72, 0.11, true),
        (0.30, 0.62, 0.09, false),
        (0.06, 0.80, 0.085, true),
    ];
    for (at, top, r, cone) in towers {
        let (at, top, r) = (at * h, top * h, r * h);
        brush.fill(
            stand,
            [at - r * 1.2, -h * 0.12, at + r * 1.2, top + r],
            |u, v| {
                let flare = if v > top - r * 0.7 { r * 1.12 } else { r };
                let crown = if cone {
                    top
                } else {
                    teeth(u - at, top, r * 0.36)
                };
                ((u - at).abs() - flare).max(v - crown).max(-h * 0.12 - v)
            },
            |u, v| {
                let x = ((u - at) / (r * 1.12)).clamp(-1.0, 1.0);
                light.on(
                    stone * course(u, v),
                    v3(x, 0.05, -(1.0 - x * x).sqrt()).unit(),
                    1.0,
                )
            },
        );
        if cone {
            let peak = top + r * 2.6;
            brush.fill(
                stand,
                [at - r * 1.4, top, at + r * 1.4, peak],
                |u, v| ((u - at).abs() - r * 1.3 * (peak - v) / (peak - top)).max(top - v) * 0.9,
                |u, v| {
                    let x = ((u - at) / (r * 1.3 * (peak - v) / (peak - top)).max(0.01))
                        .clamp(-1.0, 1.0);
                    light.on(
                        roof * (0.85 + 0.2 * sin(v / h * 90.0)),
                        v3(x, 0.4, -0.7).unit(),
                        1.0,
                    )
                },
            );
            let flag = srgb(0xb0_2a2a);
            brush.fill(
                stand,
                [at - r, peak - r * 0.2, at + r * 1.3, peak + r],
                |u, v| {
                    let pole = slab(
                        [at - r * 0.03, peak - r * 0.2, at + r * 0.03, peak + r],
                        u,
                        v,
                    );
                    let w = (u - at) / r;
                    let wave = 0.10 * sin(w * 6.0) * r;
                    let cloth = slab(
                        [
                            at,
                            peak + r * 0.45 + wave,
                            at + r * 0.95,
                            peak + r * 0.95 + wave,
                        ],
                        u,
                        v,
                    );
                    pole.min(cloth)
                },
                |_, _| light.on(flag, v3(0.0, 0.3, -0.9).unit(), 1.0),
            );
        }
        window(
            brush,
            stand,
            [
                at - r * 0.16,
                top * 0.66,
                at + r * 0.16,
                top * 0.66 + r * 0.6,
            ],
            lit,
        );
    }
    if lit {
        shine(brush, stand, (0.0, h * 0.1), h * 0.8, 0.35);
    }
}

/// A tower block: two faces full of windows.
pub(super) fn block(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let salt = prop.salt;
    let half = prop.width;
    let light = brush.light();
    let lit = brush.dark();
    let neon = brush.plan.style == Style::Neon;
    let tone = cell(1, 0, salt);
    let concrete = if neon {
        srgb(0x20_1650)
    } else {
        [
            srgb(0x8a_8c92),
            srgb(0xa6_9a88),
            srgb(0x6c_7888),
            srgb(0x9a_7666),
        ][super::maths::index(tone * 3.99, 4)]
    };
    let corner = half * lerp(-0.35, 0.55, cell(2, 0, salt));
    let kind = cell(3, 0, salt);
    let step = if kind > 0.55 { h * 0.16 } else { 0.0 };
    let spire = kind > 0.82;
    let roofline = |u: f32| if u.abs() > half * 0.66 { h - step } else { h };
    brush.fill(
        stand,
        [-half, -1.0, half, h * 1.25],
        |u, v| {
            let tower = (u.abs() - half).max(v - roofline(u));
            if spire {
                tower.min((u.abs() - half * 0.06 * (1.25 * h - v) / (0.25 * h)).max(v - h * 1.24))
            } else {
                tower
            }
        },
        |u, v| {
            let (fu, fv) = ((u + half) / 3.4, v / 3.6);
            let (i, j) = (floor(fu), floor(fv));
            let (x, y) = (fu - i as f32, fv - j as f32);
            let side = u > corner;
            let n = if side {
                v3(0.85, 0.0, -0.5)
            } else {
                v3(-0.5, 0.0, -0.85)
            };
            let pixel = 1.0 / stand.scale;
            let sharp = smooth(3.2, 1.2, pixel);
            let pane = lerp(
                0.5,
                f32::from((0.18..0.82).contains(&x) && (0.22..0.80).contains(&y)),
                sharp,
            );
            let wall = light.on(
                concrete * (0.9 + 0.15 * value(u, v * 0.3, salt)),
                n.unit(),
                1.0,
            );
            let shine = 0.5 + 0.5 * v / h;
            let glass = light.on(v3(0.16, 0.20, 0.26), v3(n.x, 0.5, n.z).unit(), 1.0)
                + light.ambient * (0.25 * shine);
            let mut color = wall.mix(glass, pane * 0.85);
            if lit && v > 2.0 && v < roofline(u) - 2.0 {
                let share = if neon { 0.55 } else { 0.42 };
                let luck = cell(i, j, salt ^ 9);
                let floor_lit = cell(0, j, salt ^ 10) * 0.25;
                let on = if luck < share - 0.12 + floor_lit {
                    1.0
                } else {
                    0.0
                };
                let lamp = if neon {
                    if luck < 0.2 {
                        v3(1.8, 0.2, 1.2)
                    } else {
                        v3(0.2, 1.4, 1.9)
                    }
                } else {
                    v3(1.75, 1.15, 0.52).mix(v3(1.0, 1.15, 1.35), f32::from(luck < 0.06))
                };
                color += lamp
                    * (pane * lerp(share * 0.8, on, sharp) * lerp(0.5, 1.0, cell(i, j, salt ^ 11)));
            }
            color
        },
    );
    if lit && spire {
        brush.glow(stand, (0.0, h * 1.24), half * 1.2, v3(1.6, 0.1, 0.08));
    }
}
