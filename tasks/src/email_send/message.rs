//! Makes a message of what a step says, or says why not. Knows no network.

use std::time::SystemTime;

use aquatint_engine::task::TaskError;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};

use super::{Input, Server};

const MAX_RECIPIENTS: usize = 50;
const MAX_SUBJECT_CHARS: usize = 200;
const MAX_BODY_BYTES: usize = 100_000;
const MAX_ID_CHARS: usize = 120;

/// A message as it goes over the wire.
#[derive(Debug)]
pub(super) struct Composed {
    /// `<…@…>`.
    pub(super) id: String,
    pub(super) to: Vec<Address>,
    pub(super) bytes: Vec<u8>,
}

/// Makes the message; `key` names it where the input does not.
pub(super) fn compose(server: &Server, input: &Input, key: &str) -> Result<Composed, TaskError> {
    let to = recipients(server, &input.to)?;
    check_subject(&input.subject)?;
    for (field, body) in [("text", Some(&input.text)), ("html", input.html.as_ref())] {
        let length = body.map_or(0, String::len);
        if length > MAX_BODY_BYTES {
            return Err(refused(format!(
                "`{field}` has {length} bytes; {MAX_BODY_BYTES} at most: send a link to what is larger"
            )));
        }
    }
    let id = match &input.message {
        Some(id) => checked_id(id)?.to_owned(),
        // Ids, names and numbers.
        None => key.replace('/', "."),
    };
    let id = format!("<{id}@{}>", server.from.email.domain());
    let mut message = Message::builder()
        .from(server.from.clone())
        .date(SystemTime::now())
        .message_id(Some(id.clone()))
        .subject(&input.subject)
        // Out-of-office replies are for people.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    for address in &to {
        message = message.to(Mailbox::new(None, address.clone()));
    }
    let text = SinglePart::plain(lines(&input.text));
    let message = match &input.html {
        None => message.singlepart(text),
        Some(html) => message.multipart(
            MultiPart::alternative()
                .singlepart(text)
                .singlepart(SinglePart::html(lines(html))),
        ),
    };
    let message = message.map_err(|error| refused(format!("it makes no message: {error}")))?;
    Ok(Composed {
        id,
        to,
        bytes: message.formatted(),
    })
}

fn recipients(server: &Server, to: &[String]) -> Result<Vec<Address>, TaskError> {
    if to.is_empty() || to.len() > MAX_RECIPIENTS {
        return Err(refused(format!(
            "`to`: expected 1 to {MAX_RECIPIENTS} addresses, got {}",
            to.len()
        )));
    }
    let mut found: Vec<Address> = Vec::with_capacity(to.len());
    for text in to {
        let address = address(text)?;
        if !server.allows(&address) {
            return Err(TaskError::fatal(
                "not_allowed",
                format!(
                    "`{address}` may not be written to from here; whoever runs this installation can allow it with `allowed_recipients` under [smtp] in the configuration file"
                ),
            ));
        }
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// One bare address. Names, groups, comments and quotes are left to people's own mail programs.
fn address(text: &str) -> Result<Address, TaskError> {
    let is_plain = text.len() <= 254
        && !text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "<>()[],:;\\\"".contains(c));
    let parsed = text.parse::<Address>().ok().filter(|_| is_plain);
    parsed.ok_or_else(|| {
        refused(format!(
            "`to`: `{}` is no address; write for example `somebody@example.org`",
            shown(text)
        ))
    })
}

/// A line break in a subject would begin another header.
fn check_subject(subject: &str) -> Result<(), TaskError> {
    let length = subject.chars().count();
    if length == 0 || length > MAX_SUBJECT_CHARS {
        return Err(refused(format!(
            "`subject`: expected 1 to {MAX_SUBJECT_CHARS} characters, got {length}"
        )));
    }
    if subject.chars().any(is_break) {
        return Err(refused(format!(
            "`subject`: `{}` holds a line break or another control character; write one line",
            shown(subject)
        )));
    }
    Ok(())
}

fn checked_id(id: &str) -> Result<&str, TaskError> {
    let is_word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_=+".contains(&b))
    };
    if id.len() <= MAX_ID_CHARS && id.split('.').all(is_word) {
        Ok(id)
    } else {
        Err(refused(format!(
            "`message`: `{}` is no id; expected 1 to {MAX_ID_CHARS} letters, digits, `-`, `_`, `=`, `+`, and single dots between them",
            shown(id)
        )))
    }
}

/// Whether some mail program might take it for the end of a line.
fn is_break(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// One kind of line break, so that nobody reads the end of the message into a lone one.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn shown(text: &str) -> String {
    let clean = text
        .chars()
        .map(|c| if is_break(c) { '\u{fffd}' } else { c });
    clean.take(80).collect()
}

fn refused(message: String) -> TaskError {
    TaskError::fatal("invalid_input", message)
}
