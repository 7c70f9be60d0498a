//! `image.upscale`: the same picture with more pixels.
//!
//! Lanczos with three lobes, on the stored (sRGB) values rather than on linear
//! light. Both have a fault: a sharp kernel overshoots at edges, and in linear
//! light the overshoot on the dark side of an edge, small in light, is large to
//! the eye — a dark outline grows a bright halo. On stored values the overshoot
//! is even on both sides, and smooth gradients stay smooth. (Scaling *down* is
//! the other way round, see `image.compose`.) Colour under transparent pixels
//! is weighted by its alpha, so no fringe of it shows.
//!
//! The picture is made in bands, each compressed as it is done: the enlarged
//! pixels are never in memory together, and a cancelled attempt stops within a
//! band.

use std::io::Write;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{Task, TaskContext, TaskError};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::DynamicImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::picture::{self, megapixels};
use crate::provenance::{Provenance, encode_error, read_png};

/// Enlarges a picture by a whole factor.
#[derive(Debug, Clone, Copy)]
pub struct Upscale;

/// What `image.upscale` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The picture: PNG, JPEG or WebP, up to 64 megapixels.
    pub image: Artifact,
    /// How many times wider and higher; 1 gives a PNG of the same size.
    #[serde(default = "default_factor")]
    #[schemars(range(min = 1, max = 8))]
    pub factor: u32,
    /// How: `lanczos`.
    #[serde(default = "default_model")]
    pub model: String,
}

/// What `image.upscale` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The enlarged picture, a PNG.
    pub image: Artifact,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// The factor it was enlarged by.
    pub factor: u32,
    /// How it was enlarged.
    pub model: String,
}

const MODELS: [&str; 1] = ["lanczos"];
/// The most pixels an enlarged picture may have: 16,384 × 16,384.
const MAX_OUTPUT_PIXELS: u64 = 256 * 1024 * 1024;
/// Enlarged pixels made between two looks at the cancel sign: some 20 ms of work.
const BAND_PIXELS: u64 = 1024 * 1024;
/// Source rows a band needs beyond its own: Lanczos3 reaches three, and one to be safe.
const MARGIN: u32 = 4;

fn default_factor() -> u32 {
    2
}

fn default_model() -> String {
    MODELS[0].to_owned()
}

impl Task for Upscale {
    const NAME: &'static str = "image.upscale";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Enlarges a picture by a whole factor.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        check(&input)?;
        ctx.progress(0.0, "opening the picture");
        let bytes = ctx.read(&input.image).await?;
        ctx.blocking(move |ctx| upscale(ctx, &input, &bytes)).await
    }
}

fn check(input: &Input) -> Result<(), TaskError> {
    let refuse = |why| Err(TaskError::fatal("invalid_input", why));
    if !(1..=8).contains(&input.factor) {
        return refuse(format!(
            "`factor` is {}; give a whole number from 1 to 8",
            input.factor
        ));
    }
    if !MODELS.contains(&input.model.as_str()) {
        return refuse(format!(
            "`model`: unknown model `{}`; this build upscales with `{}`",
            input.model,
            MODELS.join("`, `")
        ));
    }
    Ok(())
}

fn upscale(ctx: &TaskContext, input: &Input, bytes: &[u8]) -> Result<Output, TaskError> {
    let source = picture::decode(bytes, "image")?;
    ctx.check()?;
    let factor = input.factor;
    let pixels = u64::from(source.width()) * u64::from(source.height()) * u64::from(factor).pow(2);
    if pixels > MAX_OUTPUT_PIXELS {
        return Err(TaskError::fatal(
            "too_large",
            format!(
                "`image` is {}×{}: {factor} times that is {} megapixels, and at most {} are made; give a smaller `factor` or picture",
                source.width(),
                source.height(),
                megapixels(pixels),
                megapixels(MAX_OUTPUT_PIXELS)
            ),
        ));
    }
    let (width, height) = (source.width() * factor, source.height() * factor);
    let extra = [
        ("upscale_factor", factor.to_string()),
        ("upscale_model", input.model.clone()),
    ];
    // A source without readable texts is a picture all the same.
    let of_source = read_png(bytes).unwrap_or_default();
    let provenance = Provenance::derived(ctx, &input.image, &of_source, &extra);
    let mut png = Vec::new();
    let source = Pixels::of(source);
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(source.color);
    // Seven times faster than the default, for half as many bytes again: an
    // enlarged picture would otherwise take longer to compress than to make.
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(encode_error)?;
    provenance.write(&mut writer).map_err(encode_error)?;
    let mut rows = writer.stream_writer().map_err(encode_error)?;
    for_each_band(&source, factor, |band, done| {
        ctx.check()?;
        ctx.progress(0.1 + 0.85 * done, "enlarging");
        Ok(rows.write_all(band)?)
    })?;
    rows.finish().map_err(encode_error)?;
    writer.finish().map_err(encode_error)?;
    ctx.progress(0.97, "storing the picture");
    let name = picture::derived_name(&input.image.name, &format!("-x{factor}"));
    Ok(Output {
        image: ctx.save_blocking(&name, "image/png", &png)?,
        width,
        height,
        factor,
        model: input.model.clone(),
    })
}

/// Hands out the enlarged picture from top to bottom, a few rows at a time,
/// with the share that is done.
///
/// A band is made from its own source rows and [`MARGIN`] more on either side,
/// as far as the kernel reaches, so bands join unseen.
fn for_each_band(
    source: &Pixels,
    factor: u32,
    mut take: impl FnMut(&[u8], f64) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    let row_bytes = source.width as usize * source.pixel_type.size();
    let pixels_per_row = u64::from(source.width) * u64::from(factor).pow(2);
    let band_rows = u32::try_from(BAND_PIXELS / pixels_per_row.max(1)).unwrap_or(u32::MAX);
    let band_rows = band_rows.clamp(1, source.height.max(1));
    let mut resizer = Resizer::new();
    let mut top = 0;
    while top < source.height {
        let bottom = (top + band_rows).min(source.height);
        let first = top.saturating_sub(MARGIN);
        let last = (bottom + MARGIN).min(source.height);
        let rows = &source.raw[first as usize * row_bytes..last as usize * row_bytes];
        let view = ImageRef::new(source.width, last - first, rows, source.pixel_type)
            .expect("whole rows fill a picture");
        let mut band = Image::new(
            source.width * factor,
            (bottom - top) * factor,
            source.pixel_type,
        );
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
            .crop(
                0.0,
                f64::from(top - first),
                f64::from(source.width),
                f64::from(bottom - top),
            );
        resizer
            .resize(&view, &mut band, &options)
            .expect("a band lies within the picture and has its pixel type");
        top = bottom;
        take(band.buffer(), f64::from(top) / f64::from(source.height))?;
    }
    Ok(())
}

/// A picture as the resizer and the encoder want it: eight bits, with alpha only where it has any.
struct Pixels {
    width: u32,
    height: u32,
    color: png::ColorType,
    pixel_type: PixelType,
    raw: Vec<u8>,
}

impl Pixels {
    fn of(image: DynamicImage) -> Self {
        let (width, height) = (image.width(), image.height());
        let (color, pixel_type, raw) = if image.color().has_alpha() {
            let raw = image.into_rgba8().into_raw();
            (png::ColorType::Rgba, PixelType::U8x4, raw)
        } else {
            let raw = image.into_rgb8().into_raw();
            (png::ColorType::Rgb, PixelType::U8x3, raw)
        };
        Self {
            width,
            height,
            color,
            pixel_type,
            raw,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::provenance::encode_png;
    use crate::testing::Bench;
    use image::{Rgb, RgbImage};
    use serde_json::{Value, json};

    fn sample(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let hash = (x.wrapping_mul(73) ^ y.wrapping_mul(151)).wrapping_mul(2_654_435_761);
            Rgb([hash.to_be_bytes()[0], u8::from(x % 16 < 8) * 200, 90])
        })
    }

    async fn stored(bench: &Bench, image: &RgbImage) -> Value {
        let extra = [("prompt", "Leuchtturm über den Klippen".to_owned())];
        let png = encode_png(image, &bench.ctx, &extra).unwrap();
        let artifact = bench.ctx.save("lake.png", "image/png", png).await.unwrap();
        serde_json::to_value(artifact).unwrap()
    }

    async fn open(bench: &Bench, output: &Value) -> (Vec<u8>, DynamicImage) {
        let artifact: Artifact = serde_json::from_value(output["image"].clone()).unwrap();
        let bytes = bench.ctx.read(&artifact).await.unwrap();
        let image = image::load_from_memory(&bytes).unwrap();
        (bytes, image)
    }

    #[tokio::test]
    async fn a_picture_grows_by_its_factor_and_keeps_what_it_said_of_itself() {
        let mut bench = Bench::new();
        let image = stored(&bench, &sample(30, 20)).await;
        let output = bench
            .run(Upscale, json!({ "image": image, "factor": 3 }))
            .await
            .unwrap();
        assert_eq!(
            (&output["width"], &output["height"]),
            (&json!(90), &json!(60))
        );
        assert_eq!(output["image"]["name"], "lake-x3.png");
        let (bytes, enlarged) = open(&bench, &output).await;
        assert_eq!((enlarged.width(), enlarged.height()), (90, 60));
        let said = read_png(&bytes).unwrap();
        assert_eq!(said.fact("prompt"), Some("Leuchtturm über den Klippen"));
        assert_eq!(said.fact("upscale_factor"), Some("3"));
        let digest = image["artifact"].as_str().unwrap();
        assert!(said.fact("derived_from").unwrap().contains(digest));
        assert!(
            bench
                .progress()
                .is_sorted_by(|a, b| a.fraction <= b.fraction)
        );
    }

    #[test]
    fn bands_join_without_a_seam() {
        let image = sample(1500, 400);
        let view = ImageRef::new(1500, 400, image.as_raw(), PixelType::U8x3).unwrap();
        let mut banded = Vec::new();
        let mut bands = 0;
        let source = Pixels::of(DynamicImage::ImageRgb8(image.clone()));
        for_each_band(&source, 2, |band, _| {
            bands += 1;
            banded.extend_from_slice(band);
            Ok(())
        })
        .unwrap();
        let mut whole = Image::new(3000, 800, PixelType::U8x3);
        Resizer::new().resize(&view, &mut whole, None).unwrap();
        assert!(bands > 2);
        // The SIMD paths for a row alone and for rows in fours round differently.
        let away = banded
            .iter()
            .zip(whole.buffer())
            .map(|(a, b)| a.abs_diff(*b));
        assert!(away.max().unwrap() <= 2, "the bands differ from the whole");
    }

    #[tokio::test]
    async fn transparency_is_kept_and_flat_colour_stays_flat() {
        let bench = Bench::new();
        let flat = image::RgbaImage::from_pixel(8, 8, image::Rgba([10, 200, 30, 128]));
        let mut png = std::io::Cursor::new(Vec::new());
        flat.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let artifact = bench
            .ctx
            .save("glass.png", "image/png", png.into_inner())
            .await
            .unwrap();
        let output = bench
            .run(Upscale, json!({ "image": artifact, "factor": 2 }))
            .await
            .unwrap();
        let (_, enlarged) = open(&bench, &output).await;
        for pixel in enlarged.as_rgba8().unwrap().pixels() {
            let away = pixel
                .0
                .iter()
                .zip([10, 200, 30, 128])
                .map(|(a, b): (&u8, u8)| a.abs_diff(b));
            assert!(away.max().unwrap() <= 1, "{pixel:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_refused_with_numbers() {
        let bench = Bench::new();
        let image = stored(&bench, &sample(2100, 2100)).await;
        let refused = async |input: Value| bench.run(Upscale, input).await.unwrap_err();
        let error = refused(json!({ "image": image, "factor": 8 })).await;
        assert_eq!(error.class, "too_large");
        assert!(error.message.contains("283 megapixels"), "{error}");
        let error = refused(json!({ "image": image, "factor": 9 })).await;
        assert!(error.message.contains("`factor` is 9"), "{error}");
        let error = refused(json!({ "image": image, "model": "esrgan" })).await;
        assert!(error.message.contains("`lanczos`"), "{error}");
    }

    #[tokio::test]
    async fn a_cancelled_attempt_stops() {
        let bench = Bench::new();
        let image = stored(&bench, &sample(64, 64)).await;
        bench.cancel.cancel();
        let error = bench.run(Upscale, json!({ "image": image })).await;
        assert_eq!(error, Err(TaskError::cancelled()));
    }
}
