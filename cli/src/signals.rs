//! Ctrl-C and termination: once to end in good order, twice to leave at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::{self, Exit, Result};
use crate::output;

/// What the process was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or the terminal is gone.
    Terminate,
}

/// The first signal, and what to say should there be a second.
#[derive(Debug)]
pub(crate) struct Signals {
    first: mpsc::UnboundedReceiver<Signal>,
    farewell: Arc<Mutex<String>>,
}

impl Signals {
    /// From now on signals no longer end the process by themselves.
    pub(crate) fn watch() -> Result<Self> {
        let cannot =
            |error: std::io::Error| Exit::Error(format!("cannot watch for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(cannot)?;
        let (tell, first) = mpsc::unbounded_channel();
        let farewell = Arc::new(Mutex::new(String::new()));
        let last_words = Arc::clone(&farewell);
        // In a task of its own: whatever the command waits for, a second signal is heard.
        tokio::spawn(async move {
            for heard in 0.. {
                let signal = tokio::select! {
                    _ = interrupt.recv() => Signal::Interrupt,
                    _ = terminate.recv() => Signal::Terminate,
                    _ = hangup.recv() => Signal::Terminate,
                };
                if heard > 0 {
                    output::note(&last_words.lock().unwrap_or_else(PoisonError::into_inner));
                    std::process::exit(signal.code().into());
                }
                let _ = tell.send(signal);
            }
        });
        Ok(Self { first, farewell })
    }

    /// Waits for the first signal; never returns a second.
    pub(crate) async fn first(&mut self) -> Signal {
        match self.first.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// Whether a signal came that nobody waited for.
    pub(crate) fn is_told(&mut self) -> bool {
        self.first.try_recv().is_ok()
    }

    /// What to say when a second signal ends the process at once.
    pub(crate) fn set_farewell(&self, text: String) {
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

impl Signal {
    /// The exit code that shells expect after it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Interrupt => exit::INTERRUPTED,
            Self::Terminate => exit::TERMINATED,
        }
    }
}
