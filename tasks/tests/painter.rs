//! The painter as others see it: words and a seed in, pixels out.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;

use aquatint_tasks::painter::{
    Canvas, Land, Scene, Stage, Style, Thing, Time, Wish, paint, paint_with,
};
use image::RgbImage;
use proptest::prelude::*;

fn canvas(width: u32, height: u32, seed: u64) -> Canvas {
    Canvas {
        width,
        height,
        seed,
    }
}

fn render(scene: &Scene, canvas: &Canvas) -> RgbImage {
    paint(scene, canvas, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

fn scene(prompt: &str) -> Scene {
    Scene::from_prompt(prompt, "").scene
}

/// How far the levels of a picture lie apart.
fn spread(image: &RgbImage) -> u8 {
    let levels = image.pixels().map(|p| p.0[0].max(p.0[1]).max(p.0[2]));
    levels.clone().max().unwrap() - levels.min().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    for prompt in [
        "a lighthouse on a cliff at sunset",
        "a rainy night over a lake, watercolor",
        "autumn forest, woodcut",
    ] {
        let scene = scene(prompt);
        let canvas = canvas(120, 90, 7);
        let with = |threads| {
            paint_with(threads, &scene, &canvas, &mut |_, _| {
                ControlFlow::Continue(())
            })
            .unwrap()
        };
        let first = with(1);
        assert!(first == with(1), "{prompt}: twice");
        assert!(first == with(3), "{prompt}: three threads");
        assert!(
            first == render(&scene, &canvas),
            "{prompt}: as many as there are cores"
        );
    }
}

#[test]
fn another_seed_gives_another_picture() {
    let scene = scene("mountains at dawn");
    let a = render(&scene, &canvas(96, 96, 1));
    let b = render(&scene, &canvas(96, 96, 2));
    let moved = a
        .pixels()
        .zip(b.pixels())
        .filter(|(a, b)| a.0.iter().zip(b.0).any(|(a, b)| a.abs_diff(b) > 12));
    assert!(moved.count() > 96 * 96 / 10);
}

#[test]
fn what_is_asked_for_changes_the_picture_and_what_is_turned_away_is_gone() {
    let canvas = canvas(128, 128, 7);
    let plain = render(&scene("a lake at sunset"), &canvas);
    let boat = render(&scene("a boat on a lake at sunset"), &canvas);
    let none = render(
        &Scene::from_prompt("a boat on a lake at sunset", "boat").scene,
        &canvas,
    );
    assert!(plain != boat);
    assert!(plain == none);
}

#[test]
fn odd_sizes_are_painted_and_sides_beyond_the_limits_are_clamped() {
    let scene = scene("a village by a lake with boats, birds and a bridge at night, rain");
    for (width, height) in [
        (16, 16),
        (17, 333),
        (333, 17),
        (16, 1024),
        (1024, 16),
        (101, 67),
    ] {
        let image = render(&scene, &canvas(width, height, 3));
        assert_eq!(image.dimensions(), (width, height));
    }
    assert_eq!(render(&scene, &canvas(0, 1, 3)).dimensions(), (16, 16));
}

#[test]
fn every_land_at_every_hour_in_every_style_is_a_picture() {
    for land in Land::ALL {
        for time in Time::ALL {
            for style in Style::ALL {
                let mut scene = Scene::default();
                scene.lands.push(land);
                (scene.time, scene.style) = (time, style);
                let image = render(&scene, &canvas(64, 64, 5));
                assert!(
                    spread(&image) > 25,
                    "{land:?} {time:?} {style:?}: {}",
                    spread(&image)
                );
            }
        }
    }
}

#[test]
fn every_thing_leaves_a_trace_somewhere() {
    for thing in Thing::ALL {
        let home = match thing {
            Thing::Boat => Land::Sea,
            Thing::Stars | Thing::Bridge => Land::River,
            _ => Land::Hills,
        };
        let mut without = Scene::default();
        without.lands.push(home);
        without.time = if thing == Thing::Crescent {
            Time::Day
        } else {
            Time::Dusk
        };
        let mut with = without.clone();
        with.things.insert(thing, Wish::default());
        let canvas = canvas(160, 160, 11);
        assert!(
            render(&without, &canvas) != render(&with, &canvas),
            "{thing:?}"
        );
    }
}

#[test]
fn stages_come_in_order_and_shares_stay_within_bounds() {
    let mut seen = vec![];
    paint(&scene("a lake"), &canvas(64, 64, 0), &mut |stage, share| {
        assert!((0.0..=1.0).contains(&share), "{stage:?} {share}");
        if seen.last() != Some(&stage) {
            seen.push(stage);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(
        seen,
        [
            Stage::Sky,
            Stage::Land,
            Stage::Things,
            Stage::Light,
            Stage::Finish
        ]
    );
}

#[test]
fn a_caller_can_stop_it_in_every_stage() {
    for last in [
        Stage::Sky,
        Stage::Land,
        Stage::Things,
        Stage::Light,
        Stage::Finish,
    ] {
        let mut after = 0;
        let picture = paint_with(2, &scene("a lake"), &canvas(96, 96, 0), &mut |stage, _| {
            if stage >= last {
                after += 1;
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(picture.is_none(), "{last:?}");
        assert_eq!(after, 1, "{last:?}: asked again after the stop");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256 * ProptestConfig::default().cases / 256))]

    #[test]
    fn any_prompt_is_read(prompt in "\\PC{0,300}", negative in ".{0,80}") {
        let told = Scene::from_prompt(&prompt, &negative);
        prop_assert!(told.ignored.len() <= 40);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24 * ProptestConfig::default().cases / 256))]

    #[test]
    fn any_mix_of_words_and_sizes_is_painted(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "cliff", "lake", "city", "island", "river", "canyon", "waterfall", "village", "volcano",
                "desert", "night", "sunset", "storm", "dawn", "neon", "woodcut", "watercolor", "oil",
                "lighthouse", "castle", "boats", "houses", "balloons", "windmills", "cactus", "rain",
                "snow", "aurora", "rainbow", "fog", "campfire", "tent", "fence", "palms", "flowers",
                "bridge", "church", "lightning", "rocks", "path", "no", "without", "red",
            ]),
            0..10,
        ),
        width in 16u32..90,
        height in 16u32..90,
        seed in any::<u64>(),
    ) {
        let image = render(&scene(&words.join(" ")), &canvas(width, height, seed));
        prop_assert_eq!(image.dimensions(), (width, height));
    }
}
