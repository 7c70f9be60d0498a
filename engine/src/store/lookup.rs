//! Single runs, looked up many in one trip.
//!
//! Fifty clients that ask how their runs are doing ask fifty questions that differ in an id. Each alone costs
//! little in the database and ten times as much on the way there; so whatever gathered while the last trip was
//! under way goes along in the next, as with commits.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};

use super::readers::Readers;
use super::statement::Statement;
use super::{StoreError, rows};
use crate::id::RunId;

/// Runs in one trip at most: their inputs and outputs come along, and must fit into memory.
const MAX_BATCH: usize = 64;

type Reply = oneshot::Sender<Result<Option<String>, StoreError>>;

/// Asks one question about many runs. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    asked: mpsc::UnboundedSender<(RunId, Reply)>,
}

impl Lookup {
    /// Answers for as long as somebody may ask.
    ///
    /// `statement` takes a JSON array of ids and answers with a row for each it finds: a JSON array whose
    /// first element is the id.
    pub(super) fn start(readers: Readers, statement: &'static Statement) -> Self {
        let (asked, inbox) = mpsc::unbounded_channel();
        tokio::spawn(serve(readers, statement, inbox));
        Self { asked }
    }

    /// The row of a run as it is at some moment after this was called; `None` where there is no such run.
    pub(super) async fn row(&self, run: RunId) -> Result<Option<String>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.asked.send((run, reply));
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

async fn serve(
    readers: Readers,
    statement: &'static Statement,
    mut inbox: mpsc::UnboundedReceiver<(RunId, Reply)>,
) {
    let (mut batch, mut held) = (Vec::new(), None);
    loop {
        tokio::select! {
            biased;
            // What is held must go back, or the others would wait for it.
            () = readers.closing() => return,
            count = inbox.recv_many(&mut batch, MAX_BATCH) => if count == 0 { return },
        }
        // Whoever went away while the last trip took its time needs no answer.
        batch.retain(|(_, reply)| !reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        let mut ids: Vec<RunId> = batch.iter().map(|(run, _)| *run).collect();
        ids.sort_unstable();
        ids.dedup();
        let which = [rows::json(&ids).into()];
        let found = readers.texts_over(&mut held, statement, &which).await;
        let found = found.map(|rows| {
            let by_id = rows.into_iter().filter_map(|row| Some((id_of(&row)?, row)));
            by_id.collect::<HashMap<RunId, String>>()
        });
        for (run, reply) in batch.drain(..) {
            let row = match &found {
                Ok(found) => Ok(found.get(&run).cloned()),
                Err(error) => Err(error.clone()),
            };
            let _ = reply.send(row);
        }
    }
}

/// The first element of an array: `["0199…", …`.
fn id_of(row: &str) -> Option<RunId> {
    row.strip_prefix("[\"")?.get(..36)?.parse().ok()
}
