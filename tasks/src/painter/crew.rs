//! Shares rows among threads, asks now and then whether to go on.
//!
//! A row's colours never depend on which thread paints it, or when: so the
//! number of hands never shows in the picture.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Stage;

/// The hands that paint, and the one who may stop them.
pub(super) struct Crew<'a> {
    threads: usize,
    on_stage: &'a mut dyn FnMut(Stage, f32) -> ControlFlow<()>,
}

impl std::fmt::Debug for Crew<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// A stage and the share of it that a piece of work covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part(pub(super) Stage, pub(super) f32, pub(super) f32);

impl<'a> Crew<'a> {
    pub(super) fn new(
        threads: usize,
        on_stage: &'a mut dyn FnMut(Stage, f32) -> ControlFlow<()>,
    ) -> Self {
        Self {
            threads: threads.max(1),
            on_stage,
        }
    }

    /// Says how far a stage is; `Break` means stop.
    pub(super) fn report(&mut self, stage: Stage, share: f32) -> ControlFlow<()> {
        (self.on_stage)(stage, share)
    }

    /// Calls `paint` once for each piece of `len` items, with the piece's number.
    pub(super) fn pieces<T: Send>(
        &mut self,
        part: Part,
        items: &mut [T],
        len: usize,
        paint: impl Fn(usize, &mut [T]) + Sync,
    ) -> ControlFlow<()> {
        let Part(stage, from, to) = part;
        // Said even where the other hands take every piece.
        (self.on_stage)(stage, from)?;
        let total = items.len().div_ceil(len.max(1)).max(1);
        let queue = Mutex::new(items.chunks_mut(len.max(1)).enumerate());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let stop = AtomicBool::new(false);
        let done = AtomicUsize::new(0);
        let step = |(number, piece)| {
            paint(number, piece);
            done.fetch_add(1, Ordering::Relaxed) + 1
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads.min(total) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let Some(piece) = next() else { break };
                        step(piece);
                    }
                });
            }
            while let Some(piece) = next() {
                let share = step(piece) as f32 / total as f32;
                if (self.on_stage)(stage, from + (to - from) * share).is_break() {
                    stop.store(true, Ordering::Relaxed);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })
    }
}
