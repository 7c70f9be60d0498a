//! Where a picture came from, written into the picture itself.
//!
//! A PNG leaves the house alone: its file name changes, the database it was
//! recorded in stays behind. So every picture carries text chunks that say which
//! workflow made it, at which version, in which run, from which inputs. Any
//! program that shows PNG metadata shows them; [`read_png`] reads them back.
//!
//! | keyword | text |
//! | --- | --- |
//! | `Software` | `Aquatint 0.1.0` |
//! | `aquatint:workflow`, `:version`, `:run`, `:step` | names and ids |
//! | `aquatint:inputs` | the run's inputs as JSON |
//! | `aquatint:prompt`, `:seed`, … | what the task adds |
//! | `aquatint:derived_from` | for a picture made from a picture: the step, run and content hash of each, oldest first |

use std::io::{Cursor, Write};

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{TaskContext, TaskError};
use png::text_metadata::{ITXtChunk, TEXtChunk, ZTXtChunk};
use serde_json::Value;

/// Texts longer than this are compressed.
const COMPRESS_FROM_BYTES: usize = 1024;
/// Inputs longer than this stay out: a batch's sheet need not carry 10,000 prompts.
const MAX_INPUTS_BYTES: usize = 64 * 1024;
/// Limits of what is read from a foreign file: texts, one text, all texts.
const MAX_TEXTS: usize = 256;
const MAX_TEXT_BYTES: usize = 256 * 1024;
const MAX_TOTAL_BYTES: usize = 1024 * 1024;
/// What the PNG decoder may allocate for chunks while looking for texts.
const MAX_CHUNK_BYTES: usize = 8 * 1024 * 1024;

const PREFIX: &str = "aquatint:";

/// Encodes a picture as PNG with the attempt's provenance.
///
/// `extra` are further facts, stored as `aquatint:<key>`; keys are short words.
///
/// # Errors
/// Fatal, class `encode`, when PNG cannot hold it (a side of zero, a key over 70 characters).
pub fn encode_png(
    image: &image::RgbImage,
    ctx: &TaskContext,
    extra: &[(&str, String)],
) -> Result<Vec<u8>, TaskError> {
    let provenance = Provenance::of(ctx, extra);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(encode_error)?;
    provenance.write(&mut writer).map_err(encode_error)?;
    writer
        .write_image_data(image.as_raw())
        .map_err(encode_error)?;
    writer.finish().map_err(encode_error)?;
    Ok(bytes)
}

/// Encodes a picture without a word of where it comes from: a preview.
pub(crate) fn encode_plain(image: &image::RgbImage) -> Result<Vec<u8>, TaskError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(encode_error)?;
    writer
        .write_image_data(image.as_raw())
        .map_err(encode_error)?;
    writer.finish().map_err(encode_error)?;
    Ok(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "stands in `map_err`")]
pub(crate) fn encode_error(error: png::EncodingError) -> TaskError {
    TaskError::fatal("encode", format!("the picture does not fit a PNG: {error}"))
}

/// Texts found in a picture, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    texts: Vec<(String, String)>,
}

/// Why a file's provenance could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// Not a PNG, or a broken one.
    #[error("not a PNG that can be read: {0}")]
    Png(#[from] png::DecodingError),
    /// More text than a picture has reason to carry.
    #[error("the file carries more than {limit} {what}; that much is not read")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much would be read.
        limit: usize,
    },
}

/// Reads the texts of a PNG, whoever wrote them; pixels are not decoded.
///
/// A picture without texts gives an empty [`Provenance`].
///
/// # Errors
/// When the file is no PNG, is broken, or holds more text than any picture
/// needs (compressed texts are inflated up to 256 KiB each, 1 MiB in all).
pub fn read_png(bytes: &[u8]) -> Result<Provenance, ProvenanceError> {
    let limits = png::Limits {
        bytes: MAX_CHUNK_BYTES,
    };
    let mut reader = png::Decoder::new_with_limits(Cursor::new(bytes), limits).read_info()?;
    // Other programs append their texts after the pixels; a file cut off there
    // still has those before.
    let _ = reader.finish();
    let info = reader.info();
    let count = info.uncompressed_latin1_text.len()
        + info.compressed_latin1_text.len()
        + info.utf8_text.len();
    if count > MAX_TEXTS {
        return Err(ProvenanceError::TooMuch {
            what: "texts",
            limit: MAX_TEXTS,
        });
    }
    let mut provenance = Provenance::default();
    for chunk in &info.uncompressed_latin1_text {
        provenance.add(&chunk.keyword, chunk.text.clone())?;
    }
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MAX_TEXT_BYTES)?;
        provenance.add(&chunk.keyword, chunk.get_text()?)?;
    }
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MAX_TEXT_BYTES)?;
        provenance.add(&chunk.keyword, chunk.get_text()?)?;
    }
    Ok(provenance)
}

impl Provenance {
    /// What an attempt says of a picture it makes.
    pub(crate) fn of(ctx: &TaskContext, extra: &[(&str, String)]) -> Self {
        let info = ctx.info();
        let mut texts = vec![(
            "Software".to_owned(),
            concat!("Aquatint ", env!("CARGO_PKG_VERSION")).to_owned(),
        )];
        let mut ours = |key: &str, text: String| texts.push((format!("{PREFIX}{key}"), text));
        ours("workflow", info.workflow.to_string());
        ours("version", info.workflow_version.clone());
        ours("run", info.run.to_string());
        ours("step", info.step.to_string());
        if let Some(item) = info.item {
            ours("item", item.to_string());
        }
        let inputs = info.run_inputs.to_string();
        if inputs.len() <= MAX_INPUTS_BYTES {
            ours("inputs", inputs);
        } else {
            ours("inputs_left_out", format!("{} bytes", inputs.len()));
        }
        for (key, text) in extra {
            ours(key, text.clone());
        }
        Self { texts }
    }

    /// What an attempt says of a picture made from `source`: what the source
    /// said of itself, then what is new. Its step and run become `derived_from`.
    pub(crate) fn derived(
        ctx: &TaskContext,
        source: &Artifact,
        of_source: &Self,
        extra: &[(&str, String)],
    ) -> Self {
        let new = Self::of(ctx, extra);
        let origin = match (of_source.step(), of_source.run()) {
            (Some(step), Some(run)) => {
                format!("step {step} of run {run}, content {}", source.digest)
            }
            _ => format!("{}, content {}", source.name, source.digest),
        };
        let mut texts: Vec<(String, String)> = of_source
            .texts
            .iter()
            .filter(|(key, _)| new.get(key).is_none())
            .cloned()
            .collect();
        texts.push((format!("{PREFIX}derived_from"), origin));
        texts.extend(new.texts);
        Self { texts }
    }

    /// All texts, in the order of the file within each kind of chunk.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(k, t)| (k.as_str(), t.as_str()))
    }

    /// Whether the picture says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The text under a keyword as it stands in the file: `Software`, `aquatint:seed`.
    #[must_use]
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.iter().find(|(k, _)| *k == keyword).map(|(_, t)| t)
    }

    /// The text under one of our keywords, without its prefix: `seed`.
    #[must_use]
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.get(&format!("{PREFIX}{key}"))
    }

    /// The workflow's name.
    #[must_use]
    pub fn workflow(&self) -> Option<&str> {
        self.fact("workflow")
    }

    /// The workflow's content hash.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.fact("version")
    }

    /// The run's id.
    #[must_use]
    pub fn run(&self) -> Option<&str> {
        self.fact("run")
    }

    /// The step that wrote the file.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        self.fact("step")
    }

    /// The run's inputs, when they are there and are JSON.
    #[must_use]
    pub fn inputs(&self) -> Option<Value> {
        serde_json::from_str(self.fact("inputs")?).ok()
    }

    /// Writes the texts into a PNG before its pixels, each in the plainest chunk
    /// that holds it: `tEXt` for ASCII, since every program reads that; `iTXt`
    /// for the rest; compressed where it is long.
    pub(crate) fn write<W: Write>(
        &self,
        writer: &mut png::Writer<W>,
    ) -> Result<(), png::EncodingError> {
        for (keyword, text) in &self.texts {
            // A NUL ends a keyword and may not stand in a text.
            let text = text.replace('\0', "\u{fffd}");
            let is_long = text.len() >= COMPRESS_FROM_BYTES;
            if !text.is_ascii() {
                let mut chunk = ITXtChunk::new(keyword, text);
                chunk.compressed = is_long;
                writer.write_text_chunk(&chunk)?;
            } else if is_long {
                writer.write_text_chunk(&ZTXtChunk::new(keyword, text))?;
            } else {
                writer.write_text_chunk(&TEXtChunk::new(keyword, text))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, keyword: &str, text: String) -> Result<(), ProvenanceError> {
        let total: usize = self.texts.iter().map(|(k, t)| k.len() + t.len()).sum();
        if total + keyword.len() + text.len() > MAX_TOTAL_BYTES {
            return Err(ProvenanceError::TooMuch {
                what: "bytes of text",
                limit: MAX_TOTAL_BYTES,
            });
        }
        self.texts.push((keyword.to_owned(), text));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::Bench;
    use proptest::prelude::*;

    fn picture() -> image::RgbImage {
        image::RgbImage::from_fn(5, 3, |x, y| {
            image::Rgb([u8::from(x > y), u8::from(y > 1), 7])
        })
    }

    fn round_trip(bench: &Bench, extra: &[(&str, String)]) -> Provenance {
        read_png(&encode_png(&picture(), &bench.ctx, extra).unwrap()).unwrap()
    }

    #[test]
    fn a_picture_says_where_it_came_from() {
        let bench = Bench::with(|info| info.item = Some(3));
        let extra = [("seed", "7".to_owned()), ("model", "painter".to_owned())];
        let read = round_trip(&bench, &extra);
        assert_eq!(read.workflow(), Some("test-workflow"));
        assert_eq!(read.version(), Some("abc123"));
        assert_eq!(read.run(), Some(bench.ctx.info().run.to_string().as_str()));
        assert_eq!(read.step(), Some("step"));
        assert_eq!(read.fact("item"), Some("3"));
        assert_eq!(
            read.inputs(),
            Some(serde_json::json!({ "prompt": "a lake" }))
        );
        assert_eq!(read.fact("seed"), Some("7"));
        assert!(read.get("Software").unwrap().starts_with("Aquatint "));
    }

    #[test]
    fn the_pixels_are_untouched() {
        let png = encode_png(&picture(), &Bench::new().ctx, &[]).unwrap();
        assert_eq!(image::load_from_memory(&png).unwrap().to_rgb8(), picture());
    }

    #[test]
    fn inputs_too_long_for_a_picture_are_left_out_and_said_to_be() {
        let bench = Bench::with(|info| {
            info.run_inputs =
                std::sync::Arc::new(serde_json::json!({ "prompts": vec!["a lake"; 20_000] }));
        });
        let read = round_trip(&bench, &[]);
        assert_eq!(read.inputs(), None);
        assert!(read.fact("inputs_left_out").unwrap().ends_with(" bytes"));
    }

    #[test]
    fn texts_that_other_programs_append_after_the_pixels_are_read() {
        let mut png = Vec::new();
        let mut writer = png::Encoder::new(&mut png, 1, 1).write_header().unwrap();
        writer.write_image_data(&[0]).unwrap();
        writer
            .write_text_chunk(&TEXtChunk::new("Comment", "last"))
            .unwrap();
        writer.finish().unwrap();
        assert_eq!(read_png(&png).unwrap().get("Comment"), Some("last"));
    }

    #[test]
    fn a_text_that_inflates_to_a_hundred_megabytes_is_refused() {
        let mut png = Vec::new();
        let mut writer = png::Encoder::new(&mut png, 1, 1).write_header().unwrap();
        let bomb = ZTXtChunk::new("Comment", "a".repeat(100_000_000));
        writer.write_text_chunk(&bomb).unwrap();
        writer.write_image_data(&[0]).unwrap();
        writer.finish().unwrap();
        assert!(png.len() < 1_000_000);
        assert!(read_png(&png).is_err());
    }

    #[test]
    fn what_is_no_png_is_an_error_and_a_silent_png_is_not() {
        assert!(read_png(b"GIF89a").is_err());
        let mut png = Vec::new();
        let mut writer = png::Encoder::new(&mut png, 1, 1).write_header().unwrap();
        writer.write_image_data(&[0]).unwrap();
        writer.finish().unwrap();
        assert!(read_png(&png).unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64 * ProptestConfig::default().cases / 256))]

        #[test]
        fn any_prompt_survives_the_round_trip(prompt in "[^\u{0}]{0,2000}") {
            let read = round_trip(&Bench::new(), &[("prompt", prompt.clone())]);
            prop_assert_eq!(read.fact("prompt"), Some(prompt.as_str()));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
            bytes.append(&mut tail);
            let _ = read_png(&bytes);
        }
    }
}
