//! Opens pictures that others made, within limits said aloud.
//!
//! A picture is a program for a decoder: a few kilobytes may ask for gigabytes.
//! So its kind is read from its bytes, never from its name, and its size is
//! known and judged before a single pixel is decoded.

use std::io::Cursor;

use aquatint_engine::task::TaskError;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

/// The most pixels a picture may have that a task opens: 8192 × 8192.
pub(crate) const MAX_PIXELS: u64 = 64 * 1024 * 1024;
/// The longest side; PNG itself would allow two thousand million.
const MAX_SIDE: u32 = 65_535;
/// What a decoder may allocate: [`MAX_PIXELS`] at 16 bits a channel, and as much again to work in.
const MAX_ALLOC_BYTES: u64 = 1024 * 1024 * 1024;

/// Decodes PNG, JPEG or WebP; `field` names the input in the error.
///
/// A photograph lying on its side (EXIF orientation) is set upright.
///
/// # Errors
/// Fatal: class `too_large` with the numbers, or `invalid_image`.
pub(crate) fn decode(bytes: &[u8], field: &str) -> Result<DynamicImage, TaskError> {
    let broken = |error: image::ImageError| {
        TaskError::fatal(
            "invalid_image",
            format!(
                "`{field}` is no picture that can be opened ({error}); give a PNG, JPEG or WebP file"
            ),
        )
    };
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(TaskError::fatal(
            "too_large",
            format!(
                "`{field}` is {width}×{height}, {} megapixels; pictures of up to {} are opened: scale it down first",
                megapixels(pixels),
                megapixels(MAX_PIXELS)
            ),
        ));
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Pixels for people, in millions, rounded up so that "over the limit" looks over it.
pub(crate) fn megapixels(pixels: u64) -> u64 {
    pixels.div_ceil(1_000_000)
}

/// A file name for what a task makes of another picture: `lake.png` → `lake-x2.png`.
pub(crate) fn derived_name(name: &str, suffix: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = if stem.is_empty() { "picture" } else { stem };
    format!("{stem}{suffix}.png")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_header_that_promises_a_billion_pixels_is_refused_before_decoding() {
        let mut bomb = Vec::new();
        // No pixels follow: were any decoded, the error would be another one.
        let mut encoder = png::Encoder::new(&mut bomb, 40_000, 40_000);
        encoder.set_color(png::ColorType::Rgb);
        encoder
            .write_header()
            .unwrap()
            .write_chunk(png::chunk::IDAT, &[0; 16])
            .unwrap();
        let error = decode(&bomb, "image").unwrap_err();
        assert_eq!(error.class, "too_large");
        assert!(error.message.contains("40000×40000"), "{error}");
        assert!(error.message.contains("68"), "{error}");
    }

    #[test]
    fn the_kind_is_read_from_the_bytes_and_rubbish_is_named() {
        let error = decode(b"<svg xmlns='...'/>", "images[3]").unwrap_err();
        assert_eq!(error.class, "invalid_image");
        assert!(error.message.contains("`images[3]`"), "{error}");
    }

    #[test]
    fn derived_names_keep_the_stem() {
        assert_eq!(
            derived_name("lake.at.dusk.jpg", "-x2"),
            "lake.at.dusk-x2.png"
        );
        assert_eq!(derived_name(".png", "-x2"), "picture-x2.png");
    }
}
