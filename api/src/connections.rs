//! Connections: how many there may be, and how long each may take.
//!
//! A connection costs a file descriptor, of which the engine needs some itself: for the database, for
//! stored files, for what tasks run. So there are at most as many connections as two fifths of what the
//! process may open, since each may have a file open besides. Where there is one too many, the one that
//! has been idle longest makes room; where none is idle, the new one is told to come again.
//!
//! Nobody is waited for without end: for a request's head, between two requests, for the next piece of a
//! body (`watched`), for a client that takes nothing of its answer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How long a request's head may take, and a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A request's head is this long at most, and what is read ahead of a body.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// However many files the process may open.
const MOST: usize = 4_096;

/// After a connection could not be taken, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// What a client is told that there is no room for.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
retry-after: 2\r\nconnection: close\r\ncontent-length: 157\r\n\r\n\
{\"type\":\"urn:aquatint:problem:busy\",\"title\":\"This server is busy\",\"status\":503,\"code\":\"busy\",\
\"detail\":\"it has as many connections as it can have; try again\"}";

/// How many connections there may be, by what the process may open.
pub(crate) fn limit() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.map_or(MOST * 4, |files| usize::try_from(files).unwrap_or(MOST * 4));
    (files / 5 * 2).clamp(8, MOST)
}

/// Serves connections until `stopping`; then idle ones end, and requests under way may finish.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limit: usize,
    stopping: CancellationToken,
) {
    let table = Arc::new(Table::new(limit));
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(slot) = table.admit() else {
            tracing::debug!("a connection was refused: there are as many as there can be");
            let _ = stream.try_write(FULL);
            continue;
        };
        let (router, stopping) = (router.clone(), stopping.clone());
        tracker.spawn(carry(stream, peer, router, slot, stopping));
    }
    // Nobody is to connect to what takes nothing any more.
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

/// Carries one connection to its end.
async fn carry(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    slot: Slot,
    stopping: CancellationToken,
) {
    // Answers are whole: to gather them would only delay them.
    let _ = stream.set_nodelay(true);
    let slot = Arc::new(slot);
    let serving = Arc::clone(&slot);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let busy = Busy::new(Arc::clone(&serving));
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        async move {
            let response: Response = answer.await.unwrap_or_else(|never| match never {});
            let response = response.map(|body| Tracked { body, _busy: busy });
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Impatient::new(stream)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        // Idle, and in the way of somebody who is not.
        () = slot.evicted.cancelled() => return,
        () = stopping.cancelled() => {}
    }
    if slot.is_busy() {
        connection.as_mut().graceful_shutdown();
        note(connection.await);
    }
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Who is connected.
#[derive(Debug)]
struct Table {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// Since when each is idle; `None` while it is served.
    idle_since: HashMap<u64, (Option<Instant>, CancellationToken)>,
}

impl Table {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, made where it must be; `None` where all are being served.
    fn admit(self: &Arc<Self>) -> Option<Slot> {
        let mut open = self.open();
        if open.idle_since.len() >= self.limit {
            let idle = open.idle_since.iter();
            let idle = idle.filter_map(|(id, (since, _))| Some(((*since)?, *id)));
            let (_, longest) = idle.min()?;
            if let Some((_, evicted)) = open.idle_since.remove(&longest) {
                evicted.cancel();
            }
        }
        let id = open.next;
        open.next += 1;
        let evicted = CancellationToken::new();
        open.idle_since
            .insert(id, (Some(Instant::now()), evicted.clone()));
        Some(Slot {
            id,
            evicted,
            table: Arc::clone(self),
        })
    }
}

/// A place among the connections; free again when it is dropped.
#[derive(Debug)]
struct Slot {
    id: u64,
    evicted: CancellationToken,
    table: Arc<Table>,
}

impl Slot {
    fn set(&self, idle_since: Option<Instant>) {
        if let Some((since, _)) = self.table.open().idle_since.get_mut(&self.id) {
            *since = idle_since;
        }
    }

    fn is_busy(&self) -> bool {
        let open = self.table.open();
        let found = open.idle_since.get(&self.id);
        found.is_some_and(|(since, _)| since.is_none())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.table.open().idle_since.remove(&self.id);
    }
}

/// A request under way, from its head to the end of its answer.
#[derive(Debug)]
struct Busy(Arc<Slot>);

impl Busy {
    fn new(slot: Arc<Slot>) -> Self {
        slot.set(None);
        Self(slot)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(Some(Instant::now()));
    }
}

/// An answer that keeps its connection from being taken for idle.
struct Tracked {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that breaks when its peer takes nothing of what is written for too long.
struct Impatient {
    stream: TcpStream,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            patience: None,
        }
    }

    /// What a write came to; an error where it has come to nothing for too long.
    fn judge<T>(
        &mut self,
        written: Poll<std::io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let new = || Box::pin(tokio::time::sleep(WRITE_TIMEOUT));
        let patience = self.patience.get_or_insert_with(new);
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_makes_room_and_nobody_who_is_served() {
        let table = Arc::new(Table::new(2));
        let first = Arc::new(table.admit().expect("there is room"));
        let second = Arc::new(table.admit().expect("there is room"));
        let busy = Busy::new(Arc::clone(&first));
        let third = Arc::new(table.admit().expect("the second is idle"));
        assert!(second.evicted.is_cancelled() && !first.evicted.is_cancelled());
        let other = Busy::new(Arc::clone(&third));
        assert!(table.admit().is_none(), "both are served");
        drop((busy, second));
        assert!(table.admit().is_some() && first.evicted.is_cancelled());
        drop(other);
    }

    #[test]
    fn what_a_client_is_told_that_there_is_no_room_for_is_whole() {
        let text = std::str::from_utf8(FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["status"], 503);
    }
}
