//! What a command says: read to the end, kept to a bound, logged by lines.

use aquatint_engine::task::{LogLevel, TaskContext};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The beginning and the end of a stream.
#[derive(Debug, Default)]
pub(super) struct Capture {
    head: Vec<u8>,
    tail: Vec<u8>,
    is_truncated: bool,
}

/// As much of a stream as is kept from its beginning, also as text.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_TAIL_BYTES: usize = 1024;
/// A line longer than this is logged in pieces.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Lines logged of a stream; a chatty program must not fill the database.
const MAX_LOGGED_LINES: usize = 500;

impl Capture {
    /// Reads all there is; what exceeds the bounds is read too, and dropped, so
    /// that the command never waits for a reader.
    pub(super) async fn drain(
        &mut self,
        mut stream: impl AsyncRead + Unpin,
        ctx: &TaskContext,
        level: LogLevel,
    ) {
        let mut buffer = vec![0; 16 * 1024];
        let mut line = Vec::new();
        let mut logged = 0;
        // A stream that breaks has ended, as far as we are concerned.
        while let Ok(read) = stream.read(&mut buffer).await
            && read > 0
        {
            let chunk = &buffer[..read];
            self.keep(chunk);
            for &byte in chunk {
                if byte == b'\n' || line.len() >= MAX_LINE_BYTES {
                    log(ctx, level, &mut line, &mut logged);
                }
                if byte != b'\n' {
                    line.push(byte);
                }
            }
        }
        log(ctx, level, &mut line, &mut logged);
    }

    fn keep(&mut self, chunk: &[u8]) {
        let room = MAX_HEAD_BYTES - self.head.len();
        let kept = &chunk[..chunk.len().min(room)];
        self.head.extend_from_slice(kept);
        self.is_truncated |= kept.len() < chunk.len();
        self.tail.extend_from_slice(chunk);
        let excess = self.tail.len().saturating_sub(MAX_TAIL_BYTES);
        self.tail.drain(..excess);
    }

    /// The beginning as text, and whether it was cut.
    pub(super) fn head(&self) -> (String, bool) {
        let mut text = clean(&self.head, &['\n', '\t']);
        let cut = text.floor_char_boundary(MAX_HEAD_BYTES);
        let is_cut = self.is_truncated || cut < text.len();
        text.truncate(cut);
        (text, is_cut)
    }

    /// The last words, on one line.
    pub(super) fn tail(&self) -> String {
        let text = clean(&self.tail, &[]);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn log(ctx: &TaskContext, level: LogLevel, line: &mut Vec<u8>, logged: &mut usize) {
    let text = clean(line, &['\t']);
    line.clear();
    if text.trim().is_empty() {
        return;
    }
    *logged += 1;
    if *logged < MAX_LOGGED_LINES {
        ctx.log(level, text);
    } else if *logged == MAX_LOGGED_LINES {
        ctx.log(LogLevel::Warn, "more lines follow; they are not logged");
    }
}

/// Text without what could move a terminal's cursor: other control characters become spaces.
fn clean(bytes: &[u8], kept: &[char]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| {
            if c.is_control() && !kept.contains(&c) {
                ' '
            } else {
                c
            }
        })
        .collect()
}
