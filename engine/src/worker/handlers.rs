//! Threads for the tasks' own code, apart from ours: a handler that blocks one
//! blocks no heartbeat, no time-out and no page.
//!
//! A thread cannot be taken from code that never yields. So a handler that
//! does not end when it is dropped costs its pool: a fresh one takes what comes
//! next, and the old one keeps its threads for whatever still runs there.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Pools given up at most; each keeps its threads until the process ends.
const MAX_BLOCKED: usize = 32;

/// Where handlers run.
#[derive(Debug)]
pub(crate) struct Handlers {
    /// The last one is in use; those before have a thread that is blocked.
    pools: Mutex<Vec<Runtime>>,
}

/// Which pool a handler was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool(usize);

impl Handlers {
    /// # Errors
    /// When the system has no threads to give.
    pub(crate) fn start() -> std::io::Result<Self> {
        Ok(Self {
            pools: Mutex::new(vec![pool()?]),
        })
    }

    /// Runs a handler.
    pub(crate) fn spawn<F>(&self, handler: F) -> (JoinHandle<F::Output>, Pool)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = pools.last().expect("one pool is always in use");
        (newest.spawn(handler), Pool(pools.len()))
    }

    /// A handler was dropped, and still holds a thread of its pool.
    pub(crate) fn give_up(&self, blocked: Pool) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if blocked != Pool(pools.len()) {
            // Another of that pool's handlers has said so before.
            return;
        }
        if pools.len() > MAX_BLOCKED {
            tracing::error!(
                "handlers have blocked {MAX_BLOCKED} pools of threads for good; restart this worker, and let tasks block only in `ctx.blocking`"
            );
            return;
        }
        match pool() {
            Ok(fresh) => {
                tracing::warn!(
                    "a handler blocks its thread and cannot be stopped; others go on in fresh threads. Let tasks block only in `ctx.blocking`"
                );
                pools.push(fresh);
            }
            Err(error) => tracing::error!(%error, "no fresh threads for handlers"),
        }
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        let pools = self.pools.get_mut().unwrap_or_else(PoisonError::into_inner);
        for pool in pools.drain(..) {
            // A handler that never yields must not keep the process from ending.
            pool.shutdown_background();
        }
    }
}

fn pool() -> std::io::Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("aquatint-task")
        .enable_all()
        .build()
}
