//! Refusals, as RFC 9457 problems: a stable code, a sentence, and where in the request it lies.

use std::time::Duration;

use aquatint_engine::EngineError;
use aquatint_engine::engine::ScheduleError;
use aquatint_engine::library::LibraryError;
use aquatint_engine::store::StoreError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was refused (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem: `urn:aquatint:problem:` and its code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub(crate) kind: Kind,
    /// The kind of problem in a few words.
    #[schema(value_type = String)]
    pub(crate) title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "status")]
    #[schema(value_type = u16)]
    pub(crate) status: StatusCode,
    /// For programs; does not change.
    #[schema(value_type = String)]
    pub(crate) code: &'static str,
    /// What was wrong, with which value, and what would be right.
    pub(crate) detail: String,
    /// Each mistake with its place in the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Mistake>,
    #[serde(skip)]
    pub(crate) retry_after: Option<Duration>,
}

/// A code, written out as a URI.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind(&'static str);

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("urn:aquatint:problem:{}", self.0))
    }
}

/// One mistake in a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// JSON Pointer into the body: `/inputs/width`.
    pub(crate) pointer: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn status<S: serde::Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: Kind(code),
            title,
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "The request cannot be read",
            detail,
        )
    }

    /// A body, query or inputs that can be read and do not fit.
    pub(crate) fn invalid(detail: impl Into<String>, errors: Vec<Mistake>) -> Self {
        let problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "The request does not fit",
            detail,
        );
        Self { errors, ..problem }
    }

    pub(crate) fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let (pointer, message) = (pointer.into(), message.into());
        let mistake = Mistake {
            pointer,
            message: message.clone(),
            help: None,
        };
        Self::invalid(message, vec![mistake])
    }

    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(120).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such thing",
            format!("no {what} `{id}`"),
        )
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "conflict",
            "Its state does not allow it",
            detail,
        )
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "A valid API key is needed",
            detail,
        )
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This key may not do that",
            detail,
        )
    }

    /// What a page of another site, or a name that is not this server's, may not.
    pub(crate) fn foreign(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "foreign_site",
            "Not from there",
            detail,
        )
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The request is too large",
            detail,
        )
    }

    pub(crate) fn media_type(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "This kind of content is not taken here",
            detail,
        )
    }

    pub(crate) fn not_implemented(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_implemented",
            "This installation cannot do that",
            detail,
        )
    }

    pub(crate) fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        let problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "Too many requests",
            detail,
        );
        Self {
            retry_after: Some(retry_after),
            ..problem
        }
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Something this service needs is away",
            detail,
        );
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..problem
        }
    }

    pub(crate) fn timeout(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "The request took too long",
            detail,
        )
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "This is our mistake",
            "something went wrong here; the log of this server tells what, under this request's id",
        )
    }

    pub(crate) fn retry_after_secs(&self) -> Option<u64> {
        // Rounded up: to come back too early would be refused again.
        self.retry_after.map(|wait| {
            wait.as_millis()
                .div_ceil(1000)
                .try_into()
                .unwrap_or(u64::MAX)
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let wait = self.retry_after_secs();
        let mut response = (self.status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = wait {
            headers.insert(header::RETRY_AFTER, wait.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<LibraryError> for Problem {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Unknown { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "unknown_workflow",
                "There is no such workflow",
                error.to_string(),
            ),
            LibraryError::Invalid(diagnostics) => {
                let mistakes = diagnostics
                    .iter()
                    .map(|d| Mistake {
                        pointer: d.pointer.clone(),
                        message: format!("line {}, column {}: {}", d.line, d.column, d.message),
                        help: d.help.clone(),
                    })
                    .collect();
                let problem = Self::invalid("the definition has mistakes", mistakes);
                Self {
                    code: "invalid_definition",
                    kind: Kind("invalid_definition"),
                    ..problem
                }
            }
            other => {
                tracing::error!(error = %other, "a definition cannot be read");
                Self::internal()
            }
        }
    }
}

fn schedule(error: ScheduleError, said: String) -> Problem {
    match error {
        ScheduleError::Unknown { id } => Problem::not_found("schedule", &id),
        ScheduleError::Exists { .. } | ScheduleError::Defined { .. } => Problem::conflict(said),
        ScheduleError::Inputs { .. } => Problem::at("/inputs", said),
        ScheduleError::Timing(_) => Problem::at("/cron", said),
        _ => Problem::invalid(said, Vec::new()),
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let said = error.to_string();
        match error {
            EngineError::Library(error) => error.into(),
            EngineError::Inputs { problems, workflow } => {
                let mistakes = problems
                    .into_iter()
                    .map(|p| Mistake {
                        pointer: format!("/inputs{}", p.pointer),
                        message: p.message,
                        help: p.help,
                    })
                    .collect();
                Self::invalid(format!("`{workflow}` refuses its inputs"), mistakes)
            }
            EngineError::ConcurrencyKey { .. } => Self::at("/inputs", said),
            EngineError::Key { .. } => Self::bad_request(said),
            EngineError::Tag { .. } | EngineError::TooManyTags { .. } => Self::at("/tags", said),
            EngineError::Refused(_)
            | EngineError::Conflict { .. }
            | EngineError::OwnQueue { .. } => Self::conflict(said),
            EngineError::NotPermitted { .. } => Self::forbidden(said),
            EngineError::NotServed { .. } | EngineError::NoCap { .. } => {
                Self::invalid(said, Vec::new())
            }
            EngineError::NoSuchStep { step, .. } => {
                Self::not_found("step of this run to begin with", &step)
            }
            EngineError::NoSuchRun { what } => Self::not_found("run", &what),
            EngineError::NoSuchWorker { what } => Self::not_found("live worker", &what),
            EngineError::Ambiguous { .. } | EngineError::AmbiguousWorker { .. } => {
                Self::conflict(said)
            }
            EngineError::Notify { .. } => Self::at("/notify", said),
            EngineError::Schedule(error) => schedule(error, said),
            EngineError::NoRuns => Self::not_found("run", "@latest"),
            EngineError::Store(StoreError::NotFound { what, id }) => Self::not_found(what, &id),
            EngineError::Store(StoreError::Cancelling { .. }) => Self::conflict(said),
            EngineError::Store(StoreError::KeyReused { .. }) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "This idempotency key belongs to another request",
                said,
            ),
            EngineError::Store(
                StoreError::Unreachable { .. }
                | StoreError::Raced { .. }
                | StoreError::Locked { .. }
                | StoreError::Closed,
            )
            | EngineError::Doorbell { .. } => {
                tracing::warn!(error = %said, "a request could not be served");
                Self::unavailable("the database cannot be reached; try again")
            }
            EngineError::Store(StoreError::Full { .. }) => {
                tracing::error!(error = %said, "a request could not be served");
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "full",
                    "There is no room left",
                    "the disk that holds the database is full; nothing accepted so far is lost",
                )
            }
            _ => {
                tracing::error!(error = %said, "a request could not be served");
                Self::internal()
            }
        }
    }
}
