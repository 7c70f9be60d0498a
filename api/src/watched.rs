//! A request's body, and whether anybody read it to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http_body::{Frame, SizeHint};

/// Passes a body on and remembers whether its end was seen.
pub(crate) struct Watched {
    inner: Body,
    is_read: Arc<AtomicBool>,
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
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
