//! What a contact sheet draws by itself: a place left empty, and a line of text.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{
    FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width,
};

/// A rectangle on the sheet, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The height of a line of text.
pub(super) const TEXT_HEIGHT: u32 = 20;

const WEIGHT: FontWeight = FontWeight::Regular;
const SIZE: RasterHeight = RasterHeight::Size16;

/// A colour that stands out from `ground`, `strength` of the way to black or white.
pub(super) fn ink(ground: Rgb<u8>, strength: f32) -> Rgb<u8> {
    let [r, g, b] = ground.0.map(f32::from);
    // Rec. 709 luma: near enough for choosing a side.
    let is_light = 0.2126 * r + 0.7152 * g + 0.0722 * b > 127.0;
    let end = if is_light { Rgb([0; 3]) } else { Rgb([255; 3]) };
    mix(ground, end, strength)
}

fn mix(from: Rgb<u8>, to: Rgb<u8>, share: f32) -> Rgb<u8> {
    let channel = |i: usize| {
        let (a, b) = (f32::from(from.0[i]), f32::from(to.0[i]));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a mean of two bytes is a byte"
        )]
        let mean = (a + (b - a) * share.clamp(0.0, 1.0)).round() as u8;
        mean
    };
    Rgb([channel(0), channel(1), channel(2)])
}

/// A square with a crossed box: here belongs a picture that was not made.
pub(super) fn placeholder(side: u32, ground: Rgb<u8>, ink: Rgb<u8>) -> RgbImage {
    #[expect(clippy::cast_precision_loss, reason = "a cell's side is small")]
    let float = |n: u32| n as f32;
    let far = float(side);
    let half_line = (far / 128.0).max(0.75);
    RgbImage::from_fn(side, side, |x, y| {
        let (x, y) = (float(x) + 0.5, float(y) + 0.5);
        let frame = x.min(y).min(far - x).min(far - y) - half_line;
        let falling = (x - y).abs() * std::f32::consts::FRAC_1_SQRT_2;
        let rising = (far - x - y).abs() * std::f32::consts::FRAC_1_SQRT_2;
        let away = frame.abs().min(falling).min(rising);
        mix(ground, ink, half_line + 0.5 - away)
    })
}

/// One line of text, centred; what does not fit is cut and ends in dots.
///
/// Letters the font lacks (it has Latin ones) are drawn as `?`.
pub(super) fn text(sheet: &mut RgbImage, area: Area, text: &str, ink: Rgb<u8>) {
    let advance = u32::try_from(get_raster_width(WEIGHT, SIZE)).expect("a letter is narrow");
    let room = (area.width / advance) as usize;
    let count = text.chars().count();
    let line: String = if count <= room {
        text.to_owned()
    } else {
        let kept = text.chars().take(room.saturating_sub(2));
        kept.chain("..".chars()).take(room).collect()
    };
    let width = u32::try_from(line.chars().count()).map_or(area.width, |n| n * advance);
    let left = area.left + (area.width.saturating_sub(width)) / 2;
    for (letter, x) in line.chars().zip((left..).step_by(advance as usize)) {
        let glyph = get_raster(letter, WEIGHT, SIZE).or_else(|| get_raster('?', WEIGHT, SIZE));
        let rows = glyph.iter().flat_map(RasterizedChar::rows);
        for (row, y) in rows.zip(area.top + 2..area.top + area.height) {
            for (&cover, x) in row.iter().zip(x..) {
                let pixel = sheet.get_pixel_mut(x, y);
                *pixel = mix(*pixel, ink, f32::from(cover) / 255.0);
            }
        }
    }
}
