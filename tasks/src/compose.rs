//! `image.compose`: a contact sheet, many pictures on one.
//!
//! Pictures are scaled to their cells in linear light: shrinking averages, and
//! the average of two lights is not the average of their sRGB values, which
//! would make fine bright detail too dark. (Enlarging is the other way round,
//! see `image.upscale`.) A picture that is missing or cannot be opened leaves a
//! crossed box, so places keep their meaning: the third cell is the third item.

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{LogLevel, Task, TaskContext, TaskError};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer, create_srgb_mapper};
use image::{DynamicImage, Rgb, RgbImage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod draw;

use crate::picture::{self, MAX_PIXELS, megapixels};
use crate::provenance::encode_png;
use draw::{Area, TEXT_HEIGHT};

/// Lays out pictures on one sheet, with a crossed box for each that is missing.
#[derive(Debug, Clone, Copy)]
pub struct Compose;

/// What `image.compose` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The pictures, row by row; null where there is none. 1,000 at most.
    #[schemars(length(min = 1, max = 1000))]
    pub images: Vec<Option<Artifact>>,
    /// A line under each picture; leave it out for a sheet without text.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Cells in a row; as square as can be without it.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub columns: Option<u32>,
    /// A cell's side in pixels; 256 without it, less when there are many pictures.
    #[serde(default)]
    #[schemars(range(min = 16, max = 2048))]
    pub cell: Option<u32>,
    /// Pixels between cells and around them.
    #[serde(default = "default_gap")]
    #[schemars(range(max = 256))]
    pub gap: u32,
    /// The colour between the pictures: `#rrggbb`.
    #[serde(default = "default_background")]
    #[schemars(regex(pattern = "^#[0-9a-fA-F]{6}$"))]
    pub background: String,
}

/// What `image.compose` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The sheet, a PNG.
    pub image: Artifact,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Cells in a row.
    pub columns: u32,
    /// Rows of cells.
    pub rows: u32,
    /// Cells with a crossed box instead of a picture.
    pub placeholders: u32,
}

const MAX_IMAGES: usize = 1000;
const CELL: u32 = 256;
/// The pixels a sheet may have when nobody chose the cell: 4096 × 4096.
const COMFORTABLE_PIXELS: u64 = 16 * 1024 * 1024;

fn default_gap() -> u32 {
    8
}

fn default_background() -> String {
    "#16181d".to_owned()
}

impl Task for Compose {
    const NAME: &'static str = "image.compose";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Lays out pictures on a contact sheet.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let layout = Layout::of(&input)?;
        let (cell, ground) = (layout.cell, layout.background);
        let (width, height) = (layout.width(), layout.height());
        let (mut sheet, missing) = ctx
            .blocking(move |_| {
                let missing = draw::placeholder(cell, ground, draw::ink(ground, 0.4));
                Ok((RgbImage::from_pixel(width, height, ground), missing))
            })
            .await?;
        let total = input.images.len() as u64;
        let mut placeholders = 0;
        for (index, image) in input.images.iter().enumerate() {
            ctx.check()?;
            ctx.progress_items(index as u64, total, "placing the pictures");
            let area = layout.area(index);
            let thumbnail = match image {
                Some(artifact) => thumbnail(&ctx, &layout, artifact, index).await?,
                None => None,
            };
            placeholders += u32::from(thumbnail.is_none());
            let tile = thumbnail.as_ref().unwrap_or(&missing);
            let left = area.left + (area.width - tile.width()) / 2;
            let top = area.top + (area.height - tile.height()) / 2;
            image::imageops::replace(&mut sheet, tile, left.into(), top.into());
            if let Some(label) = input.labels.get(index) {
                let line = layout.label_area(index);
                draw::text(&mut sheet, line, label, draw::ink(ground, 0.8));
            }
        }
        ctx.progress_items(total, total, "storing the sheet");
        let extra = [("pictures", total.to_string())];
        let image = ctx
            .blocking(move |ctx| {
                let png = encode_png(&sheet, ctx, &extra)?;
                ctx.save_blocking("sheet.png", "image/png", &png)
            })
            .await?;
        Ok(Output {
            image,
            width,
            height,
            columns: layout.columns,
            rows: layout.rows,
            placeholders,
        })
    }
}

/// A picture scaled to its cell, or nothing when it cannot be opened: one bad
/// file does not cost the sheet.
async fn thumbnail(
    ctx: &TaskContext,
    layout: &Layout,
    artifact: &Artifact,
    index: usize,
) -> Result<Option<RgbImage>, TaskError> {
    let (cell, background) = (layout.cell, layout.background);
    let made = match ctx.read(artifact).await {
        Ok(bytes) => {
            let field = format!("images[{index}]");
            ctx.blocking(move |_| Ok(shrink(picture::decode(&bytes, &field)?, cell, background)))
                .await
        }
        Err(error) => Err(error),
    };
    match made {
        Ok(thumbnail) => Ok(Some(thumbnail)),
        Err(error) => {
            // A cancel is not a bad picture.
            ctx.check()?;
            ctx.log(LogLevel::Warn, error.to_string());
            Ok(None)
        }
    }
}

/// Scales a picture to fit a square of `cell` pixels, transparent parts upon `background`.
fn shrink(image: DynamicImage, cell: u32, background: Rgb<u8>) -> RgbImage {
    let rgb = flatten(image, background);
    let fit = |side: u32, longest: u32| {
        let fitted = u64::from(side) * u64::from(cell) / u64::from(longest.max(1));
        u32::try_from(fitted).map_or(cell, |side| side.clamp(1, cell))
    };
    let longest = rgb.width().max(rgb.height());
    let (width, height) = (fit(rgb.width(), longest), fit(rgb.height(), longest));
    let to_linear = create_srgb_mapper();
    let stored = ImageRef::new(rgb.width(), rgb.height(), rgb.as_raw(), PixelType::U8x3)
        .expect("a picture's pixels fill its sides");
    let mut light = Image::new(rgb.width(), rgb.height(), PixelType::U16x3);
    let mut small_light = Image::new(width, height, PixelType::U16x3);
    let mut small = Image::new(width, height, PixelType::U8x3);
    to_linear
        .forward_map(&stored, &mut light)
        .and_then(|()| {
            Resizer::new()
                .resize(&light, &mut small_light, None)
                .expect("both have three channels of 16 bits");
            to_linear.backward_map(&small_light, &mut small)
        })
        .expect("sides and channels agree");
    RgbImage::from_raw(width, height, small.into_vec()).expect("a resized picture is whole")
}

fn flatten(image: DynamicImage, background: Rgb<u8>) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0.map(u16::from);
        let [br, bg, bb] = background.0.map(u16::from);
        let over = |top: u16, under: u16| {
            u8::try_from((top * a + under * (255 - a) + 127) / 255).unwrap_or(u8::MAX)
        };
        Rgb([over(r, br), over(g, bg), over(b, bb)])
    })
}

/// Where everything goes.
#[derive(Debug)]
struct Layout {
    columns: u32,
    rows: u32,
    cell: u32,
    gap: u32,
    label: u32,
    background: Rgb<u8>,
}

impl Layout {
    fn of(input: &Input) -> Result<Self, TaskError> {
        let refuse = |why: String| Err(TaskError::fatal("invalid_input", why));
        let count = input.images.len();
        if count == 0 || count > MAX_IMAGES {
            return refuse(format!(
                "`images` has {count} entries; give 1 to {MAX_IMAGES}, or skip the step with `when` if there are none"
            ));
        }
        if input.labels.len() > count {
            return refuse(format!(
                "`labels` has {} entries for {count} images; give one for each, or none",
                input.labels.len()
            ));
        }
        for (field, value, range) in [
            ("columns", input.columns.unwrap_or(1), 1..=1000),
            ("cell", input.cell.unwrap_or(CELL), 16..=2048),
            ("gap", input.gap, 0..=256),
        ] {
            if !range.contains(&value) {
                return refuse(format!(
                    "`{field}` is {value}; give {} to {}",
                    range.start(),
                    range.end()
                ));
            }
        }
        let Some(background) = parse_color(&input.background) else {
            return refuse(format!(
                "`background`: `{}` is no colour; write it as `#rrggbb`, for example `#16181d`",
                input.background.chars().take(40).collect::<String>()
            ));
        };
        let count = u32::try_from(count).expect("at most a thousand");
        let columns = input
            .columns
            .unwrap_or_else(|| (1..=count).find(|n| n * n >= count).unwrap_or(count))
            .min(count);
        let mut layout = Self {
            columns,
            rows: count.div_ceil(columns),
            cell: input.cell.unwrap_or(CELL),
            gap: input.gap,
            label: if input.labels.is_empty() {
                0
            } else {
                TEXT_HEIGHT
            },
            background,
        };
        if input.cell.is_none() {
            while layout.cell > 16 && layout.pixels() > COMFORTABLE_PIXELS {
                layout.cell -= 8;
            }
        }
        if layout.pixels() > MAX_PIXELS {
            return refuse(format!(
                "`cell` of {} for {count} images makes a sheet of {} megapixels, and at most {} are drawn; give a smaller `cell` or `gap`",
                layout.cell,
                megapixels(layout.pixels()),
                megapixels(MAX_PIXELS)
            ));
        }
        Ok(layout)
    }

    fn width(&self) -> u32 {
        self.gap + self.columns * (self.cell + self.gap)
    }

    fn height(&self) -> u32 {
        self.gap + self.rows * (self.cell + self.label + self.gap)
    }

    fn pixels(&self) -> u64 {
        u64::from(self.width()) * u64::from(self.height())
    }

    /// The cell of the picture at `index`.
    fn area(&self, index: usize) -> Area {
        let index = u32::try_from(index).expect("at most a thousand pictures");
        let (row, column) = (index / self.columns, index % self.columns);
        Area {
            left: self.gap + column * (self.cell + self.gap),
            top: self.gap + row * (self.cell + self.label + self.gap),
            width: self.cell,
            height: self.cell,
        }
    }

    /// The line beneath it.
    fn label_area(&self, index: usize) -> Area {
        let area = self.area(index);
        Area {
            top: area.top + area.height,
            height: self.label,
            ..area
        }
    }
}

/// `#rrggbb`.
fn parse_color(text: &str) -> Option<Rgb<u8>> {
    let hex = text.strip_prefix('#')?;
    if hex.len() != 6 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let channel = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
    Some(Rgb([channel(0)?, channel(2)?, channel(4)?]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::Bench;
    use serde_json::{Value, json};

    const RED: Rgb<u8> = Rgb([200, 20, 20]);

    async fn stored(bench: &Bench, width: u32, height: u32) -> Value {
        let image = RgbImage::from_pixel(width, height, RED);
        let png = encode_png(&image, &bench.ctx, &[]).unwrap();
        let artifact = bench.ctx.save("a.png", "image/png", png).await.unwrap();
        serde_json::to_value(artifact).unwrap()
    }

    async fn sheet(bench: &Bench, output: &Value) -> RgbImage {
        let artifact: Artifact = serde_json::from_value(output["image"].clone()).unwrap();
        let bytes = bench.ctx.read(&artifact).await.unwrap();
        image::load_from_memory(&bytes).unwrap().to_rgb8()
    }

    fn counts(output: &Value) -> [u64; 5] {
        ["columns", "rows", "width", "height", "placeholders"]
            .map(|key| output[key].as_u64().unwrap())
    }

    #[tokio::test]
    async fn pictures_keep_their_places_and_missing_ones_are_crossed_out() {
        let bench = Bench::new();
        let wide = stored(&bench, 200, 100).await;
        let input =
            json!({ "images": [wide, null, wide], "cell": 64, "gap": 10, "background": "#000000" });
        let output = bench.run(Compose, input).await.unwrap();
        assert_eq!(counts(&output), [2, 2, 158, 158, 1]);
        let sheet = sheet(&bench, &output).await;
        // The wide picture is centred in its cell: colour at the middle, none above.
        assert_eq!(*sheet.get_pixel(10 + 32, 10 + 32), RED);
        assert_eq!(*sheet.get_pixel(10 + 32, 10 + 4), Rgb([0; 3]));
        assert_eq!(*sheet.get_pixel(10 + 32, 84 + 32), RED);
        // The crossed box: lines at the middle and the corner, nothing between.
        let box_at = |x: u32, y: u32| *sheet.get_pixel(84 + x, 10 + y);
        assert!(box_at(32, 32).0[0] > 60 && box_at(0, 63).0[0] > 60);
        assert_eq!(box_at(32, 10), Rgb([0; 3]));
    }

    #[tokio::test]
    async fn a_file_that_is_no_picture_does_not_cost_the_sheet() {
        let mut bench = Bench::new();
        let bad = bench
            .ctx
            .save("a.png", "image/png", b"no".to_vec())
            .await
            .unwrap();
        let gone = json!({ "artifact": "0".repeat(64), "name": "b.png", "media_type": "image/png", "size_bytes": 1 });
        let good = stored(&bench, 8, 8).await;
        let output = bench
            .run(Compose, json!({ "images": [bad, gone, good] }))
            .await
            .unwrap();
        assert_eq!(output["placeholders"], 2);
        let log = bench.log();
        assert!(
            log.iter().any(|line| line.message.contains("`images[0]`")),
            "{log:?}"
        );
    }

    #[tokio::test]
    async fn labels_are_drawn_beneath_and_cut_to_their_cells() {
        let bench = Bench::new();
        let image = stored(&bench, 8, 8).await;
        let labels = [
            "seed 7",
            "ein sehr langer Name über alle Zellen hinweg 漢字",
        ];
        let input = json!({ "images": [image, image, image], "labels": labels, "columns": 3, "cell": 48, "gap": 0, "background": "#ffffff" });
        let output = bench.run(Compose, input).await.unwrap();
        assert_eq!(counts(&output), [3, 1, 144, 68, 0]);
        let sheet = sheet(&bench, &output).await;
        let is_inked = |cell: u32| {
            (cell * 48..(cell + 1) * 48).any(|x| (48..68).any(|y| sheet.get_pixel(x, y).0[0] < 100))
        };
        assert_eq!([0, 1, 2].map(is_inked), [true, true, false]);
    }

    #[tokio::test]
    async fn a_thousand_pictures_shrink_their_cells_to_a_sheet_that_opens() {
        let bench = Bench::new();
        let images = vec![Value::Null; 1000];
        let output = bench
            .run(Compose, json!({ "images": images, "gap": 2 }))
            .await
            .unwrap();
        let [columns, rows, width, height, placeholders] = counts(&output);
        assert_eq!((columns, rows, placeholders), (32, 32, 1000));
        assert!(width * height <= COMFORTABLE_PIXELS, "{width}×{height}");
    }

    #[tokio::test]
    async fn bad_input_is_refused_with_field_value_and_remedy() {
        let bench = Bench::new();
        for (input, said) in [
            (json!({ "images": [] }), "`images` has 0 entries"),
            (
                json!({ "images": [null], "background": "red" }),
                "`red` is no colour",
            ),
            (
                json!({ "images": [null], "background": "#ééé" }),
                "is no colour",
            ),
            (json!({ "images": [null], "cell": 3 }), "`cell` is 3"),
            (json!({ "images": [null], "columns": 0 }), "`columns` is 0"),
            (
                json!({ "images": [null], "labels": ["a", "b"] }),
                "`labels` has 2 entries for 1",
            ),
            (
                json!({ "images": vec![Value::Null; 100], "cell": 2048 }),
                "megapixels",
            ),
        ] {
            let error = bench.run(Compose, input).await.unwrap_err();
            assert_eq!(error.class, "invalid_input");
            assert!(error.message.contains(said), "{error}");
        }
    }

    #[test]
    fn shrinking_averages_light_not_numbers() {
        let checks = RgbImage::from_fn(64, 64, |x, y| {
            Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3])
        });
        let small = shrink(DynamicImage::ImageRgb8(checks), 16, RED);
        // Half the light of white is 188 in sRGB; the mean of the numbers would be 128.
        let middle = small.get_pixel(8, 8).0[0];
        assert!((183..=193).contains(&middle), "{middle}");
    }
}
