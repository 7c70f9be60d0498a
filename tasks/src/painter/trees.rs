//! Trees and what grows like them.

use std::f32::consts::{FRAC_PI_2, TAU};

use super::brush::{Brush, Stand, limb, oval};
use super::maths::{Rgb, clamp01, floor, lerp, sin, smooth, srgb, v3};
use super::noise::{Dice, cell, value, wave};
use super::props::Prop;
use super::scene::Style;

/// A conifer: tiers of drooping branches around a stem.
pub(super) fn pine(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let half = h * lerp(0.17, 0.24, cell(1, 1, prop.salt));
    let salt = prop.salt;
    let light = brush.light();
    let snowy = brush.plan.soil.snowy;
    let neon = brush.plan.style == Style::Neon;
    let tint = cell(2, 2, salt);
    let green = leaf(brush, prop, tint, false);
    let tiers = 8.0 + floor(6.0 * cell(3, 3, salt)) as f32;
    let tall = stand.scale * h;
    let bark = v3(0.10, 0.065, 0.045);
    brush.fill(
        stand,
        [-h * 0.02, 0.0, h * 0.02, h * 0.2],
        |u, v| u.abs() - h * 0.014 - (h * 0.2 - v) * 0.02,
        |u, _| light.on(bark, v3(u / (h * 0.02), 0.2, -0.6).unit(), 1.0),
    );
    let shape = |u: f32, v: f32| {
        let t = 1.0 - v / h;
        let lean = if u > 0.0 { 0.37 } else { 0.0 };
        // Boughs droop, no two alike.
        let sway = if tall > 14.0 {
            0.55 * (value(v / h * 23.0, if u > 0.0 { 3.0 } else { 8.0 }, salt) - 0.5)
        } else {
            0.0
        };
        let f = (t - 0.55 * u.abs() / h) * tiers + lean + sway;
        let f = f - floor(f) as f32;
        let reach = half * (t * (1.12 - 0.12 * t)) * (0.50 + 0.50 * f);
        (f, t, reach)
    };
    brush.fill(
        stand,
        [-half * 1.2, h * 0.07, half * 1.2, h],
        |u, v| {
            let (_, t, reach) = shape(u, v);
            if !(0.0..=0.93).contains(&t) {
                return 1.0;
            }
            let rag = if tall > 14.0 {
                (value(u / h * 60.0, v / h * 80.0, salt) - 0.5) * 0.40 * half * (0.22 + t)
                    + (value(u / h * 150.0, v / h * 170.0, salt ^ 5) - 0.5)
                        * 0.13
                        * half
                        * (0.2 + 0.8 * t)
            } else {
                0.0
            };
            (u.abs() - reach - rag) * 0.8
        },
        |u, v| {
            let (f, t, reach) = shape(u, v);
            let side = clamp01(0.5 + 0.5 * u / reach.max(0.01)) * 2.0 - 1.0;
            let clump = if tall > 14.0 {
                0.55 * value(u / h * 40.0, v / h * 60.0, salt ^ 1)
                    + 0.45 * value(u / h * 110.0, v / h * 90.0, salt ^ 6)
            } else {
                0.5
            };
            let normal = v3(side * 0.95, 0.25 + 0.55 * f, -0.55).unit();
            let shade = (0.40 + 0.60 * f) * (0.40 + 0.95 * clump) * (1.0 - 0.25 * t);
            let mut albedo = green;
            if snowy {
                let lies = smooth(0.45, 0.75, f * 0.55 + clump * 0.55);
                albedo = albedo.mix(v3(0.85, 0.88, 0.94), lies * 0.9);
            }
            let mut color = light.on(albedo, normal, 1.0) * shade * 1.35;
            if neon {
                color += v3(0.05, 0.55, 0.75) * smooth(0.72, 1.0, side.abs()) * 0.8;
            }
            color
        },
    );
}

/// A broad crown of many round boughs.
pub(super) fn tree(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let salt = prop.salt;
    let mut dice = Dice::new(u64::from(salt), "tree");
    let light = brush.light();
    let neon = brush.plan.style == Style::Neon;
    let green = leaf(brush, prop, cell(2, 2, salt), true);
    let bare = brush.plan.soil.snowy;
    let bark = v3(0.13, 0.09, 0.065);
    let top_of_trunk = h * 0.45;
    let limbs: Vec<_> = (0u8..5)
        .map(|i| {
            let a = (f32::from(i) - 2.0) * 0.34 + dice.range(-0.12, 0.12);
            (
                (0.0, h * dice.range(0.26, 0.36)),
                (sin(a) * h * 0.30, h * (0.55 + 0.22 * (1.0 - a.abs()))),
            )
        })
        .collect();
    brush.fill(
        stand,
        [-h * 0.4, 0.0, h * 0.4, h * 0.85],
        |u, v| {
            let flare = 0.035 * h * smooth(0.1 * h, 0.0, v) * 0.5;
            let mut d = limb(
                (0.0, 0.0),
                (0.0, top_of_trunk),
                (h * 0.032 + flare, h * 0.02),
                u,
                v,
            );
            for &(a, b) in &limbs {
                d = d.min(limb(a, b, (h * 0.016, h * 0.005), u, v));
            }
            if bare {
                for &(a, b) in &limbs {
                    for k in 1u8..5 {
                        let t = f32::from(k) / 5.0;
                        let from = (lerp(a.0, b.0, t), lerp(a.1, b.1, t));
                        let lean = if k % 2 == 0 { 0.10 } else { -0.09 };
                        let to = (from.0 + lean * h, from.1 + h * 0.13);
                        d = d.min(limb(from, to, (h * 0.006, h * 0.002), u, v));
                    }
                }
            }
            d
        },
        |u, v| {
            let rough = value(u / h * 60.0, v / h * 14.0, salt) * 0.5 + 0.7;
            let n = v3((u / (h * 0.03)).clamp(-1.0, 1.0), 0.1, -0.6).unit();
            let snow = if bare { 0.35 * clamp01(n.y + 0.4) } else { 0.0 };
            light.on(bark.mix(v3(0.8, 0.83, 0.9), snow) * rough, n, 1.0)
        },
    );
    if bare && !neon {
        return;
    }
    let boughs: Vec<[f32; 3]> = (0u8..13)
        .map(|i| {
            let k = f32::from(i) / 12.0;
            let ring = 1.0 - k * 0.75;
            let a = dice.range(0.0, TAU);
            [
                sin(a) * h * 0.27 * ring,
                h * (0.62 + 0.22 * sin(a + FRAC_PI_2) * ring + 0.06 * k),
                h * dice.range(0.12, 0.185),
            ]
        })
        .collect();
    let tall = stand.scale * h;
    brush.each(stand, [-h * 0.52, h * 0.18, h * 0.52, h * 1.12], |u, v| {
        let leafy = if tall > 12.0 {
            value(u / h * 22.0, v / h * 22.0, salt ^ 3) * 0.46
                + value(u / h * 55.0, v / h * 55.0, salt ^ 4) * 0.54
        } else {
            0.5
        };
        let leafy = lerp(
            leafy,
            dab(u / h, v / h, salt),
            0.42 * smooth(50.0, 130.0, tall),
        );
        let mut found: Option<(f32, [f32; 3])> = None;
        for b in &boughs {
            let (dx, dy) = (u - b[0], v - b[1]);
            let d = (dx * dx + dy * dy).sqrt() - b[2] * (0.78 + 0.46 * leafy);
            let cover = clamp01(0.5 - d * stand.scale);
            if cover > 0.0 {
                // Nearer boughs come later; a soft edge lets the last one through.
                let total = found.map_or(0.0, |(c, _)| c);
                let keep = if cover > 0.6 || found.is_none() {
                    *b
                } else {
                    found.map_or(*b, |(_, b)| b)
                };
                found = Some((total.max(cover), keep));
            }
        }
        let (cover, b) = found?;
        let (nx, ny) = ((u - b[0]) / b[2], (v - b[1]) / b[2]);
        let nz = -(1.0 - nx * nx - ny * ny).max(0.05).sqrt();
        let normal = v3(nx * 0.9 + (leafy - 0.5) * 0.9, ny * 0.9 + 0.15, nz * 0.7).unit();
        let depth = smooth(h * 0.34, h * 0.95, v);
        let shade = (0.42 + 0.62 * depth) * (0.22 + 1.5 * leafy);
        let mut color = light.on(green, normal, 1.0) * shade * 1.08;
        if neon {
            color += v3(0.55, 0.05, 0.65) * smooth(0.7, 1.0, nx * nx + ny * ny) * 0.5;
        }
        Some((color, cover))
    });
}

/// A leaning stem with a crown of fronds.
pub(super) fn palm(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let salt = prop.salt;
    let light = brush.light();
    let lean = prop.turn * h * 0.22;
    let stem = |v: f32| {
        let t = clamp01(v / h);
        lean * t * t
    };
    let bark = v3(0.26, 0.19, 0.13);
    brush.fill(
        stand,
        [-h * 0.3, 0.0, h * 0.3, h],
        |u, v| {
            (u - stem(v)).abs()
                - h * lerp(0.026, 0.014, v / h)
                - h * 0.02 * smooth(0.08, 0.0, v / h)
        },
        |u, v| {
            let ring = 0.75 + 0.5 * smooth(0.3, 0.7, sin(v / h * 90.0) * 0.5 + 0.5);
            light.on(
                bark * ring,
                v3((u - stem(v)) / (h * 0.02), 0.1, -0.6).unit(),
                1.0,
            )
        },
    );
    let green = srgb(0x4d_7a32) * lerp(0.8, 1.15, cell(1, 0, salt));
    let green = if brush.plan.style == Style::Neon {
        v3(0.04, 0.20, 0.34)
    } else {
        green
    };
    let crown = (stem(h), h * 0.99);
    for i in 0u8..11 {
        let n = f32::from(i);
        let back = i < 5;
        let a = if back {
            -0.3 + n * 0.93
        } else {
            -0.15 + (n - 5.0) * 0.69
        };
        let length = h * lerp(0.30, 0.40, cell(i32::from(i), 7, salt));
        let (dx, dy) = (sin(a + FRAC_PI_2), sin(a) * 0.75 + 0.16);
        let reach = dx * length;
        if reach.abs() < length * 0.10 {
            continue;
        }
        let droop = lerp(0.55, 0.85, cell(i32::from(i), 8, salt));
        let shade = if back { 0.6 } else { 1.0 };
        brush.fill(
            stand,
            [
                crown.0 + reach.min(0.0) - h * 0.04,
                crown.1 - h * 0.42,
                crown.0 + reach.max(0.0) + h * 0.04,
                crown.1 + h * 0.30,
            ],
            |u, v| {
                let t = (u - crown.0) / reach;
                if !(0.0..=1.0).contains(&t) {
                    return 1.0;
                }
                let middle = crown.1 + length * (dy * t - droop * t * t);
                let comb = 0.55 + 0.45 * (sin(t * 52.0 + n) * 0.5 + 0.5);
                let wide = length * 0.16 * (t * (1.0 - t) * 3.2 + 0.08) * comb;
                let below = middle - v;
                // Leaflets hang: more of them below the rib than above.
                if below > 0.0 {
                    (below - wide * 1.25) * 0.7
                } else {
                    (-below - wide * 0.4) * 0.7
                }
            },
            |u, v| {
                let t = (u - crown.0) / reach;
                let middle = crown.1 + length * (dy * t - droop * t * t);
                let below = clamp01((middle - v) / (length * 0.15));
                let n = v3(dx * 0.5, 0.9 - below, -0.3).unit();
                light.on(green * (1.1 - 0.45 * below), n, 1.0) * shade * 1.2
            },
        );
    }
}

/// A column with arms and ribs.
pub(super) fn cactus(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let light = brush.light();
    let green = if brush.plan.style == Style::Neon {
        v3(0.03, 0.28, 0.30)
    } else {
        srgb(0x4c_6b3c)
    };
    let flip = prop.turn.signum();
    let r = h * 0.075;
    let arms = [
        ((0.0, h * 0.42), (flip * h * 0.22, h * 0.46), r * 0.7),
        (
            (flip * h * 0.22, h * 0.46),
            (flip * h * 0.23, h * 0.78),
            r * 0.72,
        ),
        ((0.0, h * 0.30), (-flip * h * 0.20, h * 0.34), r * 0.66),
        (
            (-flip * h * 0.20, h * 0.34),
            (-flip * h * 0.21, h * 0.60),
            r * 0.68,
        ),
        ((0.0, 0.0), (0.0, h * 0.93), r),
    ];
    for (a, b, r) in arms {
        let upright = (b.1 - a.1).abs() > (b.0 - a.0).abs();
        brush.fill(
            stand,
            [-h * 0.4, 0.0, h * 0.4, h * 1.02],
            |u, v| limb(a, b, (r, r), u, v),
            |u, v| {
                let across = if upright {
                    (u - lerp(a.0, b.0, 0.5)) / r
                } else {
                    (v - a.1) / r * 0.6
                };
                let rib = 0.72 + 0.42 * (sin(across * 9.0) * 0.5 + 0.5);
                let n = if upright {
                    v3(across, 0.15, -0.7)
                } else {
                    v3(0.1, across + 0.2, -0.7)
                };
                light.on(green * rib, n.unit(), 1.0)
            },
        );
    }
}

/// A boulder.
pub(super) fn rock(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let r = prop.size;
    let salt = prop.salt;
    let light = brush.light();
    let (a, b) = brush.plan.soil.rock;
    let snowy = brush.plan.soil.snowy;
    let edge = |u: f32, v: f32| {
        let n = wave(u / r * 1.4, v / r * 1.4, salt) * 0.24
            + wave(u / r * 4.0, v / r * 4.0, salt) * 0.07;
        oval((0.0, r * 0.12), (r * 1.15, r * 0.66), u, v) + n * r
    };
    brush.fill(
        stand,
        [-r * 1.5, -r * 0.15, r * 1.5, r * 1.2],
        edge,
        |u, v| {
            let step = r * 0.12;
            let (gx, gy) = (
                edge(u + step, v) - edge(u - step, v),
                edge(u, v + step) - edge(u, v - step),
            );
            let depth = clamp01(-edge(u, v) / (r * 0.5));
            let facet = wave(u / r * 2.6 + 3.0, v / r * 2.6, salt ^ 2) * 0.9;
            let n = v3(
                gx / step * (1.0 - depth) + facet * 0.6,
                gy / step * (1.0 - depth) + 0.35,
                -0.5 - depth,
            )
            .unit();
            let stain = value(u / r * 7.0, v / r * 7.0, salt ^ 1);
            let mut albedo = a.mix(b, stain) * (0.8 + 0.4 * stain);
            if snowy {
                albedo = albedo.mix(v3(0.86, 0.89, 0.95), smooth(0.35, 0.6, n.y));
            }
            light.on(albedo, n, 1.0) * smooth(-0.15 * r, 0.25 * r, v).max(0.35)
        },
    );
}

/// A tuft of grass close to the eye.
pub(super) fn tuft(brush: &mut Brush<'_>, stand: &Stand, prop: &Prop) {
    let h = prop.size;
    let salt = prop.salt;
    let light = brush.light();
    let soil = &brush.plan.soil;
    let green = soil
        .grass
        .mix(soil.grass * v3(1.5, 1.2, 0.7), cell(0, 1, salt));
    let sway = prop.turn * h * 0.25;
    for i in 0u8..9 {
        let n = f32::from(i) - 4.0;
        let lean = n * h * 0.10 + sway + (cell(i.into(), 2, salt) - 0.5) * h * 0.3;
        let tall = h * lerp(0.5, 1.0, cell(i.into(), 3, salt));
        let root = n * h * 0.05;
        brush.fill(
            stand,
            [
                root.min(root + lean) - h * 0.05,
                0.0,
                root.max(root + lean) + h * 0.05,
                tall,
            ],
            |u, v| {
                let t = clamp01(v / tall);
                (u - root - lean * t * t).abs() - h * 0.022 * (1.0 - t)
            },
            |_, v| {
                light.on(
                    green * lerp(0.45, 1.25, clamp01(v / tall)),
                    v3(0.3, 0.8, -0.4).unit(),
                    1.0,
                )
            },
        );
    }
}

/// Single leaves, each with its own light: two sheets of cells, turned against
/// each other. 0 to 1.
fn dab(u: f32, v: f32, salt: u32) -> f32 {
    let sheet = |x: f32, y: f32, salt: u32| {
        let shift = cell(floor(y), 1, salt);
        cell(floor(x + shift), floor(y), salt ^ 1)
    };
    let (x, y) = (u * 74.0, v * 96.0);
    0.5 * sheet(x + 0.6 * y, y - 0.3 * x, salt)
        + 0.5 * sheet(0.8 * x - 0.7 * y, 0.9 * y + 0.5 * x, salt ^ 7)
}

fn leaf(brush: &Brush<'_>, prop: &Prop, tint: f32, broad: bool) -> Rgb {
    if let Some(hue) = prop.hue {
        return hue * lerp(0.7, 1.1, tint);
    }
    let palette: [u32; 4] = match brush.plan.style {
        Style::Autumn if broad => [0xb0_5426, 0xc4_8a2e, 0x9c_3c24, 0xcf_a640],
        Style::Autumn => [0x3a_4a26, 0x52_5426, 0x9a_6a22, 0x40_4c2a],
        Style::Neon => [0x14_1850, 0x1c_1460, 0x10_2a5c, 0x2a_1466],
        Style::Plain
        | Style::Noir
        | Style::Pastel
        | Style::Winter
        | Style::Watercolor
        | Style::Sepia
        | Style::Woodcut
        | Style::Oil => {
            if broad {
                [0x47_6b2a, 0x56_7a30, 0x3a_5f2c, 0x66_8036]
            } else {
                [0x25_4a2a, 0x2c_5230, 0x1f_4030, 0x38_5c30]
            }
        }
    };
    let at = tint * 3.999;
    let i = super::maths::index(at, 4);
    srgb(palette[i])
}
