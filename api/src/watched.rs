//! A request's body: whether anybody read it to its end, and whether more of it comes in time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

/// How long the next piece of a body may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing more came of a body for too long.
#[derive(Debug, thiserror::Error)]
#[error("nothing more came of the body for {} s", PATIENCE.as_secs())]
pub(crate) struct Stalled;

/// Passes a body on and remembers whether its end was seen; breaks it off where nothing more comes.
pub(crate) struct Watched {
    inner: Body,
    is_read: Arc<AtomicBool>,
    /// Since it was first waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    /// The same request, and a flag that is set once there is nothing of it left to read.
    pub(crate) fn wrap(request: Request) -> (Request, Arc<AtomicBool>) {
        if request.body().is_end_stream() {
            return (request, Arc::new(AtomicBool::new(true)));
        }
        let (parts, inner) = request.into_parts();
        let is_read = Arc::new(AtomicBool::new(false));
        let watched = Self {
            inner,
            is_read: Arc::clone(&is_read),
            patience: None,
        };
        (Request::from_parts(parts, Body::new(watched)), is_read)
    }

    fn note(&self) {
        self.is_read.store(true, Ordering::Release);
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.note();
        }
        if polled.is_ready() {
            self.patience = None;
            return polled;
        }
        let new = || Box::pin(tokio::time::sleep(PATIENCE));
        let patience = self.patience.get_or_insert_with(new);
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(axum::Error::new(Stalled))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
