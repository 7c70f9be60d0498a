//! A thread of the writer's own.
//!
//! The writer talks to the database driver's thread several times per commit,
//! and each answer is a few microseconds away. Woken through a work-stealing
//! scheduler it would take longer to be told than to do the work; here it looks
//! for the answer a moment before it goes to sleep, and is woken directly.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::writer::message_of;

/// How long to look before sleeping: about what one statement takes.
const LOOK: Duration = Duration::from_micros(40);

struct Bell {
    thread: Thread,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

/// Runs a future to its end on a thread of its own; timers are the present runtime's. `on_panic` is told what a panic
/// of it said, and is the last that runs there then.
///
/// # Panics
/// When the system has no thread to give, or there is no runtime.
pub(super) fn run<F>(name: &str, future: F, on_panic: impl FnOnce(String) + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || {
        let _entered = runtime.enter();
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| block_on(future)));
        if let Err(panic) = ended {
            on_panic(message_of(&*panic));
        }
    });
    started.expect("the system has a thread for the writer");
}

fn block_on(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let bell = Arc::new(Bell {
        thread: std::thread::current(),
        rung: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    loop {
        bell.rung.store(false, Ordering::Release);
        if let Poll::Ready(()) = future.as_mut().poll(&mut context) {
            return;
        }
        let began = Instant::now();
        while !bell.rung.load(Ordering::Acquire) {
            if began.elapsed() < LOOK {
                std::hint::spin_loop();
            } else {
                // Returns at once when the bell was rung since it was last looked at.
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_runs_there_can_wait_for_channels_and_timers() {
        let (questions, mut inbox) = tokio::sync::mpsc::unbounded_channel::<u32>();
        let (outbox, mut answers) = tokio::sync::mpsc::unbounded_channel();
        run(
            "test",
            async move {
                while let Some(question) = inbox.recv().await {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let _ = outbox.send(question + 1);
                }
            },
            |_| {},
        );
        for n in 0..20 {
            questions.send(n).expect("it listens");
            assert_eq!(answers.recv().await, Some(n + 1));
        }
        drop(questions);
        assert_eq!(answers.recv().await, None, "it ends with its future");
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        let (told, heard) = tokio::sync::oneshot::channel();
        let end = |what| drop(told.send(what));
        run("test", async { panic!("so it ends") }, end);
        assert_eq!(heard.await.as_deref(), Ok("so it ends"));
    }
}
