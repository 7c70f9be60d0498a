//! `webhook.deliver`: tells somebody's address what happened, signed per Standard Webhooks.
//!
//! What is sent is the step's input; where to, and the secret it is signed with, is looked up by
//! name at each attempt, so that neither is kept with a run, a webhook that was deleted meanwhile
//! is not called, and a new secret counts at once. Each attempt is signed anew: receivers refuse
//! signatures that are minutes old.
//!
//! Addresses within private networks are refused unless the installation says otherwise, whatever
//! name leads there; redirects are not followed.
//!
//! Source: <https://www.standardwebhooks.com>, specification 1.0.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aquatint_engine::Permission;
use aquatint_engine::task::{Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::http_request::Caller;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where to send, and how to sign.
#[derive(Clone)]
#[non_exhaustive]
pub struct Hook {
    /// The receiver's address.
    pub url: String,
    /// `whsec_` and base64.
    pub secret: String,
}

impl Hook {
    /// An address and a secret, `whsec_` and base64.
    #[must_use]
    pub fn new(url: String, secret: String) -> Self {
        Self { url, secret }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What an answer about a webhook is made of.
pub type Found = Pin<Box<dyn Future<Output = Result<Option<Hook>, TaskError>> + Send>>;

/// Knows the webhooks by their ids.
pub trait Hooks: fmt::Debug + Send + Sync {
    /// The webhook, or `None` when it is gone.
    fn find(&self, id: &str) -> Found;
}

/// Knows no webhook at all.
#[derive(Debug, Clone, Copy)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn find(&self, _: &str) -> Found {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Delivers to webhooks.
#[derive(Debug)]
pub struct WebhookDeliver {
    hooks: Arc<dyn Hooks>,
    caller: Caller,
}

impl WebhookDeliver {
    /// Delivers to these webhooks; to private addresses only if told so.
    #[must_use]
    pub fn new(hooks: Arc<dyn Hooks>, allow_private: bool) -> Self {
        Self {
            hooks,
            caller: Caller::to_anybody(allow_private),
        }
    }
}

/// What `webhook.deliver` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The webhook's id.
    pub hook: String,
    /// The message's id: the same for each attempt, so that receivers know it again.
    #[schemars(length(min = 1, max = 200))]
    pub message: String,
    /// What happened: sent as it is, as JSON.
    pub event: Value,
}

/// What `webhook.deliver` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// What the receiver answered: 200 to 299.
    pub status: u16,
}

impl Task for WebhookDeliver {
    const NAME: &'static str = "webhook.deliver";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Tells a webhook what happened, signed per Standard Webhooks.";
    // What it signs, receivers take for the installation's word.
    const PERMISSION: Permission = Permission::Admin;
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let hook = self.hooks.find(&input.hook).await?;
        let hook = hook.ok_or_else(|| {
            TaskError::fatal(
                "gone",
                format!("there is no webhook `{}` any more", input.hook),
            )
        })?;
        let body = input.event.to_string();
        let headers = signed(&hook, &input.message, &body, SystemTime::now())?;
        let sending = self.caller.post(&hook.url, &headers, body.into_bytes());
        let sent = tokio::select! {
            () = ctx.cancelled() => return Err(TaskError::cancelled()),
            sent = tokio::time::timeout(PATIENCE, sending) => sent,
        };
        let status = sent.unwrap_or_else(|_| {
            Err(TaskError::retryable(
                "timeout",
                "the receiver did not answer within 15 seconds",
            ))
        })?;
        Ok(Output { status })
    }
}

/// The headers of a signed message.
fn signed(
    hook: &Hook,
    message: &str,
    body: &str,
    now: SystemTime,
) -> Result<Vec<(&'static str, String)>, TaskError> {
    let broken = || {
        TaskError::fatal(
            "secret",
            "the webhook's secret is none: expected whsec_ and base64",
        )
    };
    let webhook = Webhook::new(&hook.secret).map_err(|_| broken())?;
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let signature = webhook
        .sign(message, seconds, body.as_bytes())
        .map_err(|_| broken())?;
    Ok(vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", message.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", signature),
    ])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::testing::Bench;

    #[derive(Debug)]
    struct One(Option<Hook>);

    impl Hooks for One {
        fn find(&self, _: &str) -> Found {
            let hook = self.0.clone();
            Box::pin(async move { Ok(hook) })
        }
    }

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn input() -> Input {
        Input {
            hook: "h".to_owned(),
            message: "msg_1".to_owned(),
            event: json!({"type": "run.succeeded"}),
        }
    }

    /// Answers one request with this, and gives back what was asked.
    async fn receiver(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = String::new();
            let mut buffer = [0_u8; 4096];
            while !heard.contains("run.succeeded") {
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "it hung up");
                heard.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            heard
        });
        (url, heard)
    }

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification's own libraries.
        let hook = Hook::new(
            String::new(),
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        );
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_614_265_330);
        let headers = signed(
            &hook,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "{\"test\": 2432232314}",
            at,
        )
        .unwrap();
        assert_eq!(
            headers[3].1,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[tokio::test]
    async fn a_receiver_can_check_what_it_gets() {
        let (url, heard) = receiver("HTTP/1.1 204 No Content\r\n\r\n").await;
        let task =
            WebhookDeliver::new(Arc::new(One(Some(Hook::new(url, SECRET.to_owned())))), true);
        let bench = Bench::new();
        assert_eq!(
            task.run(bench.ctx.clone(), input()).await.unwrap().status,
            204
        );
        let heard = heard.await.unwrap();
        let header = |name: &str| {
            let line = heard
                .lines()
                .find(|l| l.to_ascii_lowercase().starts_with(name))
                .unwrap();
            line.split_once(": ").unwrap().1.trim().to_owned()
        };
        let body = heard.split("\r\n\r\n").nth(1).unwrap();
        let seconds = header("webhook-timestamp").parse().unwrap();
        let expected = Webhook::new(SECRET)
            .unwrap()
            .sign("msg_1", seconds, body.as_bytes())
            .unwrap();
        assert_eq!(header("webhook-signature"), expected);
        assert_eq!(header("webhook-id"), "msg_1");
    }

    #[tokio::test]
    async fn a_receiver_that_is_busy_says_when_to_come_back() {
        let (url, _heard) =
            receiver("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n").await;
        let task =
            WebhookDeliver::new(Arc::new(One(Some(Hook::new(url, SECRET.to_owned())))), true);
        let error = task.run(Bench::new().ctx, input()).await.unwrap_err();
        assert_eq!(
            error.remedy,
            aquatint_engine::task::Remedy::RetryAfterMs(7_000)
        );
    }

    #[tokio::test]
    async fn private_addresses_are_refused_and_redirects_are_not_followed() {
        let (url, _heard) = receiver(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        let hook = Some(Hook::new(url, SECRET.to_owned()));
        let closed = WebhookDeliver::new(Arc::new(One(hook.clone())), false);
        assert_eq!(
            closed
                .run(Bench::new().ctx, input())
                .await
                .unwrap_err()
                .class,
            "not_allowed"
        );
        let open = WebhookDeliver::new(Arc::new(One(hook)), true);
        assert_eq!(
            open.run(Bench::new().ctx, input()).await.unwrap_err().class,
            "refused"
        );
    }

    #[tokio::test]
    async fn a_webhook_that_is_gone_is_not_called() {
        let task = WebhookDeliver::new(Arc::new(One(None)), true);
        let error = task.run(Bench::new().ctx, input()).await.unwrap_err();
        assert_eq!(
            (error.class.as_str(), error.remedy),
            ("gone", aquatint_engine::task::Remedy::Fail)
        );
    }
}
