//! Following one run to its end, with a worker of our own, whatever signals come.
//!
//! ```text
//!   events ──▶ live        first Ctrl-C: cancel the run, wait for its steps, exit 130
//!   wait   ──▶ the end     second: leave at once (leases repair what was held)
//!   signal ──▶ ───────     SIGTERM: give the work back, exit 143
//! ```

use aquatint_engine::id::RunId;
use aquatint_engine::store::RunView;
use aquatint_engine::{Engine, RunAction, Worker};

use crate::exit::{Exit, Result};
use crate::live::Live;
use crate::output;
use crate::signals::{Signal, Signals};

/// How following a run ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) run: RunView,
    /// The signal that ended it early.
    pub(crate) signal: Option<Signal>,
}

/// Follows a run until it has ended or a signal says otherwise, then stops the worker.
pub(crate) async fn follow(
    engine: &Engine,
    worker: Worker,
    run: RunId,
    mut live: Live,
    mut signals: Signals,
) -> Result<Ending> {
    signals.set_farewell(format!(
        "left at once; `aquatint resume {run}` goes on with it"
    ));
    let mut signal = None;
    let mut ended = std::pin::pin!(engine.wait(run));
    let outcome = loop {
        tokio::select! {
            biased;
            heard = signals.first() => {
                signal = Some(heard);
                match heard {
                    Signal::Interrupt => {
                        live.say("cancelling the run; Ctrl-C again leaves at once");
                        // One that has just ended by itself cannot be cancelled, and need not be.
                        if engine.act(run, RunAction::Cancel).await.is_ok() {
                            signals.set_farewell(format!("left at once; the run is cancelled, `aquatint retry {run}` begins again where it stopped"));
                        }
                    }
                    Signal::Terminate => break engine.run(run).await.map_err(Exit::from),
                }
            }
            view = &mut ended => break view.map_err(Exit::from),
            never = live.follow(engine, run) => match never {
                Ok(never) => match never {},
                Err(error) => break Err(error),
            },
        }
    };
    worker.stop().await;
    live.finish(engine, run).await?;
    let run = match (outcome?, signal) {
        // It may have ended while the work was given back.
        (_, Some(Signal::Terminate)) => engine.run(run).await?,
        (view, _) => view,
    };
    Ok(Ending { run, signal })
}

impl Ending {
    /// Says why it ended early, where it did.
    pub(crate) fn stopped_by_signal(&self) -> Option<Exit> {
        let signal = self.signal?;
        let (run, state) = (self.run.id, self.run.state);
        if signal == Signal::Terminate && !state.is_terminal() {
            output::note(&format!(
                "stopped; the work was given back, and `aquatint resume {run}` goes on with it"
            ));
        } else if signal == Signal::Interrupt && state == aquatint_engine::RunState::Cancelled {
            output::note(&format!(
                "cancelled; `aquatint retry {run}` begins again where it stopped"
            ));
        }
        Some(Exit::Told(signal.code()))
    }
}
