//! Files in and out. What comes in is looked at before anybody trusts it: its kind is read from its
//! bytes, a picture's size from its header, and nothing of its name becomes a path.

use std::io::{Read as _, Seek as _, SeekFrom};

use aquatint_engine::artifact::Artifact;
use axum::body::Body;
use axum::extract::FromRequest;
use axum::extract::Request;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use image::ImageDecoder as _;
use tokio_util::io::ReaderStream;

use crate::app::App;
use crate::budget::{self, Arrival};
use crate::problem::Problem;

/// Files named by one request's inputs at most.
pub(crate) const MAX_ATTACHMENTS: usize = 10_000;

/// Largest side of a thumbnail.
const MAX_THUMBNAIL: u32 = 1_024;

/// What a file is, by its bytes; `claimed` counts only for plain text, which has no mark.
pub(crate) fn media_type(content: &[u8], claimed: &str) -> &'static str {
    if let Some(kind) = infer::get(content) {
        return kind.mime_type();
    }
    let is_text = !content.contains(&0) && std::str::from_utf8(content).is_ok();
    match claimed.split(';').next().unwrap_or_default().trim() {
        "application/json" if is_text => "application/json",
        "text/csv" if is_text => "text/csv",
        "application/yaml" | "application/x-yaml" | "text/yaml" if is_text => "application/yaml",
        _ if is_text => "text/plain",
        _ => "application/octet-stream",
    }
}

/// Refuses pictures that would take more memory to open than they are worth.
fn check_pixels(app: &App, content: &[u8], kind: &str) -> Result<(), Problem> {
    if !kind.starts_with("image/") {
        return Ok(());
    }
    let size = imagesize::blob_size(content).map_err(|_| {
        Problem::invalid(
            format!("the file begins as {kind} and its size cannot be read"),
            Vec::new(),
        )
    })?;
    let pixels = (size.width as u64).saturating_mul(size.height as u64);
    if pixels == 0 || pixels > app.config.max_pixels {
        return Err(Problem::too_large(format!(
            "the picture has {} × {} pixels; {} at most",
            size.width, size.height, app.config.max_pixels
        )));
    }
    Ok(())
}

/// Stores an uploaded file.
pub(crate) async fn store(
    app: &App,
    name: &str,
    claimed: &str,
    content: Vec<u8>,
) -> Result<Artifact, Problem> {
    if content.is_empty() {
        return Err(Problem::invalid("the file is empty", Vec::new()));
    }
    if content.len() > app.config.max_file_bytes {
        return Err(Problem::too_large(format!(
            "the file has {} bytes; {} at most",
            content.len(),
            app.config.max_file_bytes
        )));
    }
    let kind = media_type(&content, claimed);
    check_pixels(app, &content, kind)?;
    let stored = app.engine.upload(name, kind, content).await?;
    budget::brought(&stored.digest);
    Ok(stored)
}

/// A part of a form.
pub(crate) enum Part {
    Text(String),
    File(Artifact),
}

/// Reads a form, part by part, in order; files are stored as they come.
pub(crate) async fn form(app: &App, request: Request) -> Result<Vec<(String, Part)>, Problem> {
    let mut form = <Multipart as FromRequest<App>>::from_request(request, app)
        .await
        .map_err(|error| Problem::bad_request(error.body_text()))?;
    let mut parts = Vec::new();
    let mut arrival = Arrival::new(&app.budget);
    while let Some(field) = form.next_field().await.map_err(|e| unreadable(&e))? {
        let name = field.name().unwrap_or_default().to_owned();
        parts.push((name, part(app, field, &mut arrival).await?));
        if parts.len() > MAX_ATTACHMENTS {
            return Err(Problem::too_large(format!(
                "a form has {MAX_ATTACHMENTS} parts at most"
            )));
        }
    }
    Ok(parts)
}

async fn part(app: &App, mut field: Field<'_>, arrival: &mut Arrival<'_>) -> Result<Part, Problem> {
    let claimed = field.content_type().unwrap_or_default().to_owned();
    let file_name = field.file_name().map(str::to_owned);
    let mut content = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|e| unreadable(&e))? {
        arrival.add(piece.len()).await?;
        content.extend_from_slice(&piece);
        if file_name.is_some() && content.len() > app.config.max_file_bytes {
            return Err(Problem::too_large(format!(
                "a file has {} bytes at most",
                app.config.max_file_bytes
            )));
        }
    }
    let Some(file_name) = file_name else {
        let text = String::from_utf8(content);
        let text =
            text.map_err(|_| Problem::bad_request("a field of the form is no UTF-8 text"))?;
        return Ok(Part::Text(text));
    };
    let stored = store(app, &file_name, &claimed, content).await?;
    Ok(Part::File(stored))
}

fn unreadable(error: &MultipartError) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::too_large("the form is larger than this server takes")
    } else {
        Problem::bad_request(format!("the form cannot be read: {}", error.body_text()))
    }
}

/// Whether a request carries a form.
pub(crate) fn is_form(request: &Request) -> bool {
    crate::extract::media_type(request.headers()) == "multipart/form-data"
}

/// Sends a stored file: whole, in part, not at all when it is known, or as a download.
pub(crate) async fn send(
    app: &App,
    artifact: &Artifact,
    method: &Method,
    headers: &HeaderMap,
    as_download: bool,
) -> Result<Response, Problem> {
    let tag = format!("\"{}\"", artifact.digest);
    let mut response = if is_known(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let size = artifact.size_bytes;
        match range(headers, &tag, size) {
            Wanted::Whole => {
                let mut response = Body::empty().into_response();
                if method != Method::HEAD {
                    response = body(app, artifact, 0, size).await?.into_response();
                }
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, size.into());
                response
            }
            Wanted::Part(from, to) => {
                let length = to - from + 1;
                let mut response = if method == Method::HEAD {
                    Body::empty().into_response()
                } else {
                    body(app, artifact, from, length).await?.into_response()
                };
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                response.headers_mut().insert(
                    header::CONTENT_RANGE,
                    text(&format!("bytes {from}-{to}/{size}")),
                );
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length.into());
                response
            }
            Wanted::Nothing => {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                response
                    .headers_mut()
                    .insert(header::CONTENT_RANGE, text(&format!("bytes */{size}")));
                return Ok(response);
            }
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, text(&tag));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // What is addressed by its content never changes; it may be a secret of its owner all the same.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=31536000, immutable"),
    );
    headers.insert(header::CONTENT_TYPE, text(&artifact.media_type));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // A page or drawing that somebody's prompt made must not run as one of ours.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    let how = if as_download || !is_shown(&artifact.media_type) {
        "attachment"
    } else {
        "inline"
    };
    headers.insert(
        header::CONTENT_DISPOSITION,
        disposition(how, &artifact.name),
    );
    Ok(response)
}

/// Kinds that a browser may show by itself.
fn is_shown(media_type: &str) -> bool {
    let raster = ["image/png", "image/jpeg", "image/webp", "image/gif"];
    raster.contains(&media_type)
        || ["video/", "audio/"]
            .iter()
            .any(|p| media_type.starts_with(p))
        || ["application/json", "text/plain", "text/csv"].contains(&media_type)
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok());
    known.is_some_and(|known| {
        known == "*"
            || known
                .split(',')
                .any(|k| k.trim().trim_start_matches("W/") == tag)
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// First and last byte.
    Part(u64, u64),
    Nothing,
}

/// One range of bytes (RFC 9110, 14.2); of several, or of what cannot be read, the whole is sent.
fn range(headers: &HeaderMap, tag: &str, size: u64) -> Wanted {
    let condition = headers.get(header::IF_RANGE).and_then(|v| v.to_str().ok());
    if condition.is_some_and(|condition| condition != tag) {
        return Wanted::Whole;
    }
    let asked = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    let Some((first, last)) = asked
        .and_then(|r| r.strip_prefix("bytes="))
        .and_then(|r| r.split_once('-'))
    else {
        return Wanted::Whole;
    };
    if last.contains(',') {
        return Wanted::Whole;
    }
    let (from, to) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.min(size.saturating_sub(1))),
        (Ok(from), Err(_)) if last.trim().is_empty() => (from, size.saturating_sub(1)),
        (Err(_), Ok(suffix)) if first.trim().is_empty() && suffix > 0 => {
            (size.saturating_sub(suffix), size.saturating_sub(1))
        }
        (Err(_), Ok(_)) if first.trim().is_empty() => return Wanted::Nothing,
        _ => return Wanted::Whole,
    };
    if from >= size {
        Wanted::Nothing
    } else {
        Wanted::Part(from, to)
    }
}

async fn body(app: &App, artifact: &Artifact, from: u64, length: u64) -> Result<Body, Problem> {
    let mut file = app.engine.open_artifact(artifact).await.map_err(|error| {
        tracing::error!(%error, "a stored file cannot be opened");
        Problem::not_found("file", &artifact.digest)
    })?;
    file.seek(SeekFrom::Start(from))
        .map_err(|_| Problem::internal())?;
    let reader = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), length);
    Ok(Body::from_stream(ReaderStream::with_capacity(
        reader,
        64 * 1024,
    )))
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

/// RFC 6266: a name for everybody, and the true one in RFC 8187 for those who read it.
fn disposition(how: &str, name: &str) -> HeaderValue {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && c != '"' && c != '\\' || c == ' ' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut exact = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            exact.push(char::from(byte));
        } else {
            exact.push_str(&format!("%{byte:02X}"));
        }
    }
    text(&format!(
        "{how}; filename=\"{plain}\"; filename*=UTF-8''{exact}"
    ))
}

/// A smaller copy of a picture, PNG, at most `side` pixels wide and high.
pub(crate) async fn thumbnail(
    app: &App,
    artifact: &Artifact,
    side: u32,
) -> Result<Vec<u8>, Problem> {
    let side = side.clamp(16, MAX_THUMBNAIL);
    if !artifact.media_type.starts_with("image/") {
        return Err(Problem::media_type(format!(
            "{} has no thumbnail",
            artifact.media_type
        )));
    }
    let mut file = app.engine.open_artifact(artifact).await?;
    let (most_bytes, most_pixels) = (app.config.max_file_bytes as u64, app.config.max_pixels);
    let size = file.metadata().map_or(most_bytes, |facts| facts.len());
    let size = usize::try_from(size.min(most_bytes)).unwrap_or(usize::MAX);
    app.budget.reserve(size).await?;
    let refused = |reason: String| {
        Problem::invalid(
            format!("the picture cannot be made smaller: {reason}"),
            Vec::new(),
        )
    };
    let weighed = tokio::task::spawn_blocking(move || {
        let mut content = Vec::with_capacity(size);
        let read = file.by_ref().take(most_bytes).read_to_end(&mut content);
        read.map_err(|e| e.to_string())?;
        let decoded = decoded_bytes(&content, most_pixels)?;
        Ok((content, decoded))
    });
    let weighed = weighed.await.map_err(|_| Problem::internal())?;
    let (content, decoded) = weighed.map_err(refused)?;
    // It is opened whole; a decoder may need some of it a second time.
    app.budget.reserve(decoded + decoded / 4).await?;
    let made = tokio::task::spawn_blocking(move || shrink(&content, side, most_pixels));
    made.await
        .map_err(|_| Problem::internal())?
        .map_err(refused)
}

fn reader(
    content: &[u8],
    most_pixels: u64,
) -> Result<image::ImageReader<std::io::Cursor<&[u8]>>, String> {
    let reader = image::ImageReader::new(std::io::Cursor::new(content));
    let mut reader = reader.with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(most_pixels.saturating_mul(8));
    reader.limits(limits);
    Ok(reader)
}

/// What a picture would take, decoded: as its header says, before anything is.
fn decoded_bytes(content: &[u8], most_pixels: u64) -> Result<usize, String> {
    let decoder = reader(content, most_pixels)?.into_decoder();
    let decoder = decoder.map_err(|e| e.to_string())?;
    usize::try_from(decoder.total_bytes()).map_err(|e| e.to_string())
}

fn shrink(content: &[u8], side: u32, most_pixels: u64) -> Result<Vec<u8>, String> {
    let small = reader(content, most_pixels)?
        .decode()
        .map_err(|e| e.to_string())?
        .thumbnail(side, side);
    let mut png = std::io::Cursor::new(Vec::new());
    small
        .write_to(&mut png, image::ImageFormat::Png)
        .map_err(|e| e.to_string())?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_range(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, value.parse().expect("a header"));
        headers
    }

    #[test]
    fn ranges_are_those_of_the_standard() {
        for (asked, wanted) in [
            ("bytes=0-9", Wanted::Part(0, 9)),
            ("bytes=90-", Wanted::Part(90, 99)),
            ("bytes=90-500", Wanted::Part(90, 99)),
            ("bytes=-10", Wanted::Part(90, 99)),
            ("bytes=-1000", Wanted::Part(0, 99)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=9-0", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
        ] {
            assert_eq!(range(&with_range(asked), "\"t\"", 100), wanted, "{asked}");
        }
        let mut stale = with_range("bytes=0-9");
        stale.insert(header::IF_RANGE, "\"other\"".parse().expect("a header"));
        assert_eq!(range(&stale, "\"t\"", 100), Wanted::Whole);
        assert_eq!(range(&with_range("bytes=0-0"), "\"t\"", 0), Wanted::Nothing);
    }

    #[test]
    fn what_a_file_is_shows_in_its_bytes() {
        assert_eq!(
            media_type(b"\x89PNG\r\n\x1a\n0000", "text/plain"),
            "image/png"
        );
        assert_eq!(media_type(b"a,b\n1,2\n", "text/csv"), "text/csv");
        assert_eq!(
            media_type(b"<svg onload=alert(1)>", "image/svg+xml"),
            "text/plain"
        );
        assert_eq!(
            media_type(b"\0\x01\x02", "image/png"),
            "application/octet-stream"
        );
    }

    #[test]
    fn names_cannot_break_out_of_their_header() {
        let value = disposition("attachment", "a\"b\r\nX: y\u{e9}.png");
        let value = value.to_str().expect("plain");
        assert_eq!(
            value,
            "attachment; filename=\"a_b__X: y_.png\"; filename*=UTF-8''a%22b%0D%0AX%3A%20y%C3%A9.png"
        );
    }
}
