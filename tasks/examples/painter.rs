//! Renders prompts to one PNG, to look at: `painter OUT.png WIDTHxHEIGHT PROMPT[@SEED]...`
//!
//! Several prompts make a contact sheet, four across.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use aquatint_tasks::painter::{Canvas, Scene, Understood, paint};
use image::RgbImage;
use image::imageops::replace;

const ACROSS: u32 = 4;
const GAP: u32 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match sheet(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn sheet(arguments: &[String]) -> Result<(), String> {
    let [out, size, prompts @ ..] = arguments else {
        return Err("usage: painter OUT.png WIDTHxHEIGHT PROMPT[@SEED]...".to_owned());
    };
    let side = |text: &str| {
        text.parse::<u32>()
            .map_err(|error| format!("`{size}` is no size: {error}. Example: 512x512"))
    };
    let (width, height) = size.split_once('x').unwrap_or((size, size));
    let (width, height) = (side(width)?, side(height)?);
    if prompts.is_empty() {
        return Err("no prompt; give at least one, in quotes".to_owned());
    }
    let count = u32::try_from(prompts.len()).map_err(|error| error.to_string())?;
    let across = count.min(ACROSS);
    let mut sheet = RgbImage::new(
        across * (width + GAP) - GAP,
        count.div_ceil(across) * (height + GAP) - GAP,
    );
    for (place, text) in (0u32..).zip(prompts) {
        let (prompt, seed) = match text.rsplit_once('@') {
            Some((prompt, seed)) => (prompt, seed.parse().map_err(|e| format!("`{seed}`: {e}"))?),
            None => (text.as_str(), 7),
        };
        let Understood {
            scene,
            understood,
            ignored,
            ..
        } = Scene::from_prompt(prompt, "");
        let canvas = Canvas {
            width,
            height,
            seed,
        };
        let started = Instant::now();
        let picture = paint(&scene, &canvas, &mut |_, _| ControlFlow::Continue(()))
            .ok_or("nobody stopped it, and yet it stopped")?;
        println!(
            "{:>5} ms  {prompt} (seed {seed}): understood {understood:?}, ignored {ignored:?}",
            started.elapsed().as_millis()
        );
        let (x, y) = (
            place % across * (width + GAP),
            place / across * (height + GAP),
        );
        replace(&mut sheet, &picture, x.into(), y.into());
    }
    sheet.save(out).map_err(|error| format!("{out}: {error}"))
}
