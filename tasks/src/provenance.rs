//! Writes into a picture where it came from, as PNG text chunks.

use aquatint_engine::task::{TaskContext, TaskError};

/// Encodes a picture as PNG with the attempt's provenance and `extra` facts.
///
/// # Errors
/// Fatal, class `encode`, when PNG cannot hold it.
pub fn encode_png(
    image: &image::RgbImage,
    ctx: &TaskContext,
    extra: &[(&str, String)],
) -> Result<Vec<u8>, TaskError> {
    let info = ctx.info();
    let mut texts = vec![
        (
            "Software".to_owned(),
            format!("Aquatint {}", env!("CARGO_PKG_VERSION")),
        ),
        ("aquatint:workflow".to_owned(), info.workflow.to_string()),
        ("aquatint:version".to_owned(), info.workflow_version.clone()),
        ("aquatint:run".to_owned(), info.run.to_string()),
        ("aquatint:step".to_owned(), info.step.to_string()),
        ("aquatint:inputs".to_owned(), info.run_inputs.to_string()),
    ];
    texts.extend(
        extra
            .iter()
            .map(|(key, text)| (format!("aquatint:{key}"), text.clone())),
    );
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    let fail = |error: png::EncodingError| {
        TaskError::fatal("encode", format!("the picture does not fit a PNG: {error}"))
    };
    for (key, text) in texts {
        encoder.add_itxt_chunk(key, text).map_err(fail)?;
    }
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(image.as_raw()).map_err(fail)?;
    writer.finish().map_err(fail)?;
    Ok(bytes)
}
