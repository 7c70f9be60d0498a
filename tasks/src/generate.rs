//! `image.generate`: a prompt becomes a picture.
//!
//! This build's only model is the [`painter`], which needs no
//! weights; the names of inputs and outputs are those of any text-to-image model.

use std::ops::ControlFlow;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::painter::{self, Canvas, Scene, Sketch, Stage, Style, Understood};
use crate::provenance;

/// Paints a picture from a prompt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Generate;

const MODELS: [&str; 1] = ["painter"];
const MAX_PROMPT_CHARS: usize = 5000;
const MIN_SIDE: u32 = 64;
const MAX_SIDE: u32 = 2048;
/// The longer side of a preview.
const PREVIEW_SIDE: u32 = 128;
/// Larger whole numbers are rounded by many a JSON reader.
const MAX_SEED: u64 = 1 << 53;

/// What `image.generate` takes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What to show, 1 to 5000 characters.
    #[schemars(length(min = 1, max = 5000))]
    pub prompt: String,
    /// What to leave out.
    #[serde(default)]
    #[schemars(length(max = 5000))]
    pub negative_prompt: String,
    /// Pixels across.
    #[serde(default = "default_side")]
    #[schemars(range(min = 64, max = 2048))]
    pub width: u32,
    /// Pixels down.
    #[serde(default = "default_side")]
    #[schemars(range(min = 64, max = 2048))]
    pub height: u32,
    /// The same seed gives the same picture; another one another composition.
    #[serde(default)]
    #[schemars(range(max = 9_007_199_254_740_992_u64))]
    pub seed: u64,
    /// A manner, over what the prompt says: `watercolor`, `noir`, `neon`, …
    #[serde(default)]
    pub style: Option<String>,
    /// Who paints: `painter`.
    #[serde(default = "default_model")]
    pub model: String,
}

/// What `image.generate` returns.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Output {
    /// The picture, a PNG.
    pub image: Artifact,
    /// The prompt, as it was given.
    pub prompt: String,
    /// The negative prompt, as it was given.
    pub negative_prompt: String,
    /// The seed it was made from.
    pub seed: u64,
    /// Who painted it.
    pub model: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// What the painter found in the prompt.
    pub understood: Vec<String>,
    /// Words of the prompt that changed nothing.
    pub ignored: Vec<String>,
}

fn default_side() -> u32 {
    512
}

fn default_model() -> String {
    MODELS[0].to_owned()
}

impl Task for Generate {
    const NAME: &'static str = "image.generate";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Paints a picture from a prompt.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let style = check(&input)?;
        ctx.blocking(move |ctx| generate(ctx, input, style)).await
    }
}

/// Refuses what cannot be painted; returns the style that was asked for.
fn check(input: &Input) -> Result<Option<Style>, TaskError> {
    let invalid = |message: String| Err(TaskError::fatal("invalid_input", message));
    if !MODELS.contains(&input.model.as_str()) {
        return invalid(format!(
            "unknown model `{}`: this build has `{}`",
            input.model,
            MODELS.join("`, `")
        ));
    }
    if input.prompt.trim().is_empty() {
        return invalid(
            "prompt is empty; say what to show, for example `a lighthouse on a cliff at sunset`"
                .to_owned(),
        );
    }
    for (field, text) in [
        ("prompt", &input.prompt),
        ("negative_prompt", &input.negative_prompt),
    ] {
        let length = text.chars().count();
        if length > MAX_PROMPT_CHARS {
            return invalid(format!(
                "{field} has {length} characters; shorten it to {MAX_PROMPT_CHARS}"
            ));
        }
    }
    for (field, side) in [("width", input.width), ("height", input.height)] {
        if !(MIN_SIDE..=MAX_SIDE).contains(&side) {
            return invalid(format!(
                "{field} is {side}; use {MIN_SIDE} to {MAX_SIDE} pixels (`image.upscale` makes larger pictures)"
            ));
        }
    }
    if input.seed > MAX_SEED {
        return invalid(format!(
            "seed is {}; use a whole number up to {MAX_SEED}",
            input.seed
        ));
    }
    let Some(name) = &input.style else {
        return Ok(None);
    };
    match Style::named(name) {
        Some(style) => Ok(Some(style)),
        None => {
            let known: Vec<_> = Style::ALL.iter().map(|style| style.name()).collect();
            invalid(format!(
                "unknown style `{name}`; use one of `{}`",
                known.join("`, `")
            ))
        }
    }
}

fn generate(ctx: &TaskContext, input: Input, style: Option<Style>) -> Result<Output, TaskError> {
    let Understood {
        mut scene,
        mut understood,
        ignored,
        ..
    } = Scene::from_prompt(&input.prompt, &input.negative_prompt);
    if let Some(style) = style {
        scene.style = style;
        if !understood.iter().any(|word| word == style.name()) {
            understood.push(style.name().to_owned());
        }
    }
    let canvas = Canvas {
        width: input.width,
        height: input.height,
        seed: input.seed,
    };
    let mut told = None;
    let mut on_stage = |stage: Stage, share: f32| {
        // A stage and its tenths are news; every row is not.
        let tenth = (stage, (share * 10.0).floor().to_bits());
        if told != Some(tenth) {
            told = Some(tenth);
            let (from, to) = stage.span();
            ctx.progress(f64::from(from + (to - from) * share), stage.message());
        }
        if ctx.is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let mut on_sketch = |sketch: &Sketch<'_>| {
        if ctx.wants_preview() {
            // A picture without a preview is a picture; a disk that is full will show with the picture itself.
            let bytes = provenance::encode_plain(&sketch.shrunk(PREVIEW_SIDE));
            let _ = bytes.and_then(|bytes| ctx.preview_blocking("image/png", &bytes));
        }
    };
    let image = painter::paint_showing(&scene, &canvas, &mut on_stage, &mut on_sketch)
        .ok_or_else(TaskError::cancelled)?;
    ctx.check()?;
    let extra = [
        ("prompt", input.prompt.clone()),
        ("negative_prompt", input.negative_prompt.clone()),
        ("seed", input.seed.to_string()),
        ("model", input.model.clone()),
    ];
    let bytes = provenance::encode_png(&image, ctx, &extra)?;
    ctx.check()?;
    let name = format!("{}-{}.png", file_stem(&input.prompt), input.seed);
    let artifact = ctx.save_blocking(&name, "image/png", &bytes)?;
    ctx.progress(1.0, "painted");
    Ok(Output {
        image: artifact,
        prompt: input.prompt,
        negative_prompt: input.negative_prompt,
        seed: input.seed,
        model: input.model,
        width: image.width(),
        height: image.height(),
        understood,
        ignored,
    })
}

/// The prompt's first words, as a file name.
fn file_stem(prompt: &str) -> String {
    let words: Vec<String> = prompt
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(6)
        .map(|word| word.chars().take(24).collect::<String>().to_lowercase())
        .collect();
    if words.is_empty() {
        "picture".to_owned()
    } else {
        words.join("-")
    }
}
