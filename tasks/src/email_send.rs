//! `email.send`: a message in plain text, with HTML beside it if wanted, handed to the mail server of the
//! installation.
//!
//! ```text
//! input ─ message: addresses, who may be written to, subject, length ─ session: connect, TLS, log in
//!                                                                         │
//!                 output: the Message-ID, the server's last word ◄── MAIL, RCPT …, DATA, the message
//! ```
//!
//! The server, its credentials and the sender come from the configuration alone ([`Server`]): whoever
//! may submit a run chooses neither. Either every recipient is accepted or nobody is written to.
//!
//! A crash between the server's last word and our report sends the message again. It has the same
//! `Message-ID` then, by which mailboxes and people know it.
//!
//! Sources: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 3834 (automatic messages).

mod message;
mod server;
mod session;
#[cfg(test)]
mod tests;

pub use server::{Security, Server, ServerError, ServerOptions};

use std::time::Duration;

use aquatint_engine::task::{Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a server may take for one message, all told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends mail; closed until the configuration names a server.
#[derive(Debug)]
pub struct EmailSend {
    server: Option<Server>,
    patience: Duration,
}

impl EmailSend {
    /// Sends by this server; `None` refuses every message.
    #[must_use]
    pub fn new(server: Option<Server>) -> Self {
        Self {
            server,
            patience: PATIENCE,
        }
    }
}

/// What `email.send` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Addresses, without names. All of them see each other, and either all are accepted or none.
    #[schemars(length(min = 1, max = 50))]
    pub to: Vec<String>,
    /// What it is about: one line.
    #[schemars(length(min = 1, max = 200))]
    pub subject: String,
    /// The message in plain text; 100,000 bytes at most.
    #[schemars(length(max = 100_000))]
    pub text: String,
    /// The same in HTML, for those who show it; 100,000 bytes at most.
    #[serde(default)]
    #[schemars(length(max = 100_000))]
    pub html: Option<String>,
    /// The message's id, what stands before the `@` of its `Message-ID`: the same for each attempt, and
    /// made of run and step where nothing is said.
    #[serde(default)]
    #[schemars(length(min = 1, max = 120))]
    pub message: Option<String>,
}

/// What `email.send` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The message's `Message-ID`, in angle brackets.
    pub message_id: String,
    /// How many recipients the server took it for.
    pub recipients: usize,
    /// What the server said to it; often its own number for the message.
    pub answer: String,
}

impl Task for EmailSend {
    const NAME: &'static str = "email.send";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Sends a message by the mail server that the configuration names.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let Some(server) = &self.server else {
            return Err(TaskError::fatal(
                "not_configured",
                "no mail server is configured; whoever runs this installation sets `host` and `from` under [smtp] in the configuration file, or AQUATINT_SMTP_URL and AQUATINT_SMTP_FROM",
            ));
        };
        let composed = message::compose(server, &input, &ctx.idempotency_key())?;
        let recipients = composed.to.len();
        let sending = session::send(server, &composed);
        let answer = tokio::select! {
            () = ctx.cancelled() => return Err(TaskError::cancelled()),
            sent = tokio::time::timeout(self.patience, sending) => sent,
        };
        let answer = answer.unwrap_or_else(|_| {
            Err(TaskError::retryable(
                "timeout",
                format!(
                    "{server} did not take the message within {}",
                    humantime::format_duration(self.patience)
                ),
            ))
        })?;
        Ok(Output {
            message_id: composed.id,
            recipients,
            answer,
        })
    }
}
