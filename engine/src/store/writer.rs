//! The one writer: many decisions, one commit.
//!
//! Callers send an [`Op`] and wait. The writer takes whatever has gathered
//! while the last commit was under way and does it all in one transaction
//! ("natural batching": no timer, so an idle system answers at once and a busy
//! one shares each disk flush among hundreds). Its futures are never cancelled:
//! a caller that gives up only stops listening.
//!
//! When a transaction fails, the batch is halved and each half tried alone, so
//! that one poisonous request fails by itself.

use std::any::Any;
use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::Instrument as _;

use super::claim::{Asked, Granted};
use super::commit::{After, Commit};
use super::connection::Connection;
use super::demand::Demand;
use super::foresight::{Foreseen, Foresight, Next, Question};
use super::notifier::{Herald, Notifier, Tidings};
use super::op::{Answer, Op};
use super::outage::Outage;
use super::plans::Plans;
use super::preference;
use super::teardown::Teardowns;
use super::{StoreError, sql};
use crate::id::{QueueName, RunId};
use crate::run::TaskKey;
use crate::time::{Clock, Timestamp};

/// Requests in one commit at most.
const MAX_BATCH: usize = 512;

/// How often to look whether another process has written.
const FOREIGN_POLL: Duration = Duration::from_millis(100);

/// How often a batch that met another process's is tried again before it is halved.
const MAX_RACES: u32 = 8;

/// How long to wait between tries to reach a database that is away.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// An empty list, as JSON.
pub(super) const NOTHING: &str = "[]";

/// Words nobody waits for (progress, log lines) kept while the database is away.
const MAX_POSTED: usize = 10_000;

pub(super) struct Request {
    pub(super) op: Op,
    /// The slot that becomes free with this request.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) reply: oneshot::Sender<Result<Answer, StoreError>>,
}

pub(super) enum Message {
    Request(Box<Request>),
    /// From now on, claim for this worker whenever it has free slots.
    Serve(Arc<Demand>),
    /// Something may have become claimable.
    Ring,
    /// Finish what is queued, and close.
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) inbox: mpsc::UnboundedReceiver<Message>,
    pub(super) plans: Plans,
    pub(super) clock: Clock,
    pub(super) notifier: Arc<Notifier>,
    pub(super) teardowns: Arc<Teardowns>,
    pub(super) outage: Arc<Outage>,
    pub(super) demand: Option<Arc<Demand>>,
    /// Queues believed to have a cap.
    pub(super) capped: Arc<HashSet<QueueName>>,
    /// When the next task that waits for its back-off will be due, as far as this process knows.
    pub(super) wake_at: Option<Timestamp>,
    /// When [`Writer::must_tick`] last looked.
    pub(super) looked_at: tokio::time::Instant,
    /// The last claim got tasks that this program cannot run: it must claim again.
    pub(super) has_misclaimed: bool,
    /// What came in while the database was away.
    pub(super) waiting: VecDeque<Message>,
    /// Claims whose commit was not answered: nobody knows yet whether they stand.
    pub(super) doubtful: Option<Asked>,
    /// Reports to come.
    pub(super) foresight: Foresight,
    /// Versions of definitions that this program cannot read, as a JSON list: claims pass over their runs.
    pub(super) unreadable: Arc<str>,
    /// Claimed tasks that this program cannot run, with their token: others may.
    pub(super) to_return: Vec<(TaskKey, i64)>,
    /// How often a commit met another process's.
    #[cfg(test)]
    pub(super) races: Arc<std::sync::atomic::AtomicU64>,
    /// Told to close: a database that is away is not waited for any more.
    pub(super) is_closing: bool,
    /// Tells other processes, where there are any.
    pub(super) herald: Option<Arc<dyn Herald>>,
}

impl Writer {
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        // One timer for all waits: to set one for each would wake whoever keeps them.
        let mut ticker = tokio::time::interval(FOREIGN_POLL);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut closing = None;
            let mut tick = false;
            let soon = self.due_within(FOREIGN_POLL);
            let serving = self.demand.is_some();
            tokio::select! {
                biased;
                message = next(&mut self.waiting, &mut self.inbox) => match message {
                    Some(message) => self.accept(message, &mut batch, &mut closing),
                    None => return self.close(None).await,
                },
                () = tokio::time::sleep(soon.unwrap_or_default()), if soon.is_some() => tick = true,
                _ = ticker.tick(), if serving => tick = true,
            }
            while batch.len() < MAX_BATCH
                && closing.is_none()
                && let Some(message) = self
                    .waiting
                    .pop_front()
                    .or_else(|| self.inbox.try_recv().ok())
            {
                self.accept(message, &mut batch, &mut closing);
            }
            // One that never naps must look around all the same.
            let is_due =
                tick || (self.demand.is_some() && self.looked_at.elapsed() >= FOREIGN_POLL);
            // A request may have come in after the tick that ended the wait: it must not wait for the next.
            if is_due && !self.must_tick().await && tick && batch.is_empty() && closing.is_none() {
                continue;
            }
            let requests = std::mem::take(&mut batch);
            self.flush(requests).await;
            self.conn.bound_log().await;
            if let Some(done) = closing {
                return self.close(Some(done)).await;
            }
        }
    }

    fn accept(
        &mut self,
        message: Message,
        batch: &mut Vec<Request>,
        closing: &mut Option<oneshot::Sender<()>>,
    ) {
        match message {
            Message::Request(request) => batch.push(*request),
            Message::Serve(demand) => {
                self.demand = Some(demand);
                // What an earlier process sent into its back-off is for us to wake.
                self.wake_at = Some(self.clock.now());
            }
            Message::Ring => self.ring_all(),
            Message::Close(done) => {
                self.is_closing = true;
                *closing = Some(done);
            }
        }
    }

    fn ring_all(&self) {
        if let Some(demand) = &self.demand {
            demand.ring_all();
        }
    }

    /// How long until the next task's back-off has passed, where that is sooner than `limit`.
    fn due_within(&self, limit: Duration) -> Option<Duration> {
        let at = self.wake_at.filter(|_| self.demand.is_some())?;
        let wait_ms = u64::try_from(at.since_ms(self.clock.now())).unwrap_or(0);
        Some(Duration::from_millis(wait_ms)).filter(|wait| *wait < limit)
    }

    /// Whether anything outside our own requests asks for a look: a due retry, or another process.
    async fn must_tick(&mut self) -> bool {
        self.looked_at = tokio::time::Instant::now();
        let due = self.wake_at.is_some_and(|at| at <= self.clock.now());
        let foreign = match self.conn.has_news(&self.clock).await {
            Ok(news) => news,
            Err(error) => {
                tracing::warn!(%error, "cannot look for other processes' work; trying again");
                false
            }
        };
        if foreign {
            self.ring_all();
            self.notifier.foreign();
        }
        due || foreign
    }

    async fn flush(&mut self, mut requests: Vec<Request>) {
        // A slot is free once its attempt is over, whatever becomes of the report.
        for request in &mut requests {
            request.permit = None;
        }
        let (ops, replies): (Vec<_>, Vec<_>) =
            requests.into_iter().map(|r| (r.op, r.reply)).unzip();
        let mut answers: Vec<Option<Result<Answer, StoreError>>> =
            ops.iter().map(|_| None).collect();
        // Halves still to be tried; a plain stack, since async functions do not recurse cheaply.
        let mut ranges = Vec::with_capacity(8);
        ranges.extend(portions(&ops));
        let (mut races, mut is_resent) = (0, false);
        while let Some(range) = ranges.pop() {
            let commit = AssertUnwindSafe(self.commit(&ops[range.clone()], is_resent));
            let done = match commit.catch_unwind().await {
                Ok(done) => done,
                Err(panic) => Err(self.recover(message_of(&*panic)).await),
            };
            match done {
                Ok(done) => {
                    for (slot, answer) in answers[range].iter_mut().zip(done) {
                        *slot = Some(answer);
                    }
                }
                // Sent again as it is: what stood already is found standing.
                Err(error) if self.conn.is_lost() && self.regain(&error).await => {
                    is_resent = true;
                    ranges.push(range);
                }
                Err(StoreError::Raced { detail }) if races < MAX_RACES => {
                    races += 1;
                    #[cfg(test)]
                    self.races.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    tracing::debug!(%detail, "met another process at the same rows; trying again");
                    // Whoever waits longest finds the rows free.
                    let pause = Duration::from_millis(1 << races.min(6));
                    tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
                    ranges.push(range);
                }
                Err(error) if range.len() <= 1 || error.is_passing() => {
                    if range.is_empty() {
                        tracing::warn!(%error, "could not claim work; trying again");
                    }
                    for slot in &mut answers[range] {
                        *slot = Some(Err(error.clone()));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, requests = range.len(), "a batch failed; trying it in halves");
                    let middle = range.start + range.len() / 2;
                    ranges.push(middle..range.end);
                    ranges.push(range.start..middle);
                }
            }
        }
        for (reply, answer) in replies.into_iter().zip(answers) {
            // A caller that no longer listens has given up on the answer, not on the deed.
            let _ = reply.send(answer.expect("every request lies in exactly one range"));
        }
    }

    /// A decision panicked, in the middle of a transaction. What was asked for is halved until the one that cannot be
    /// decided fails alone; everybody else's goes on.
    async fn recover(&mut self, detail: String) -> StoreError {
        tracing::error!(%detail, "a commit panicked and was undone; this is a bug, please report it");
        self.foresight = Foresight::default();
        self.conn.rollback().await;
        self.ring_all();
        StoreError::Panicked { detail }
    }

    /// Waits until the database is there again; false when told to close meanwhile.
    async fn regain(&mut self, error: &StoreError) -> bool {
        if self.is_closing {
            return false;
        }
        tracing::warn!(%error, "the database is away; work goes on when it is back");
        let mut wait = RETRY_MIN;
        loop {
            let pause = tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    message = self.inbox.recv() => match message {
                        Some(Message::Request(request))
                            if request.reply.is_closed() && self.waiting.len() >= MAX_POSTED => {}
                        Some(message) => {
                            self.is_closing = matches!(message, Message::Close(_));
                            self.waiting.push_back(message);
                            if self.is_closing {
                                return false;
                            }
                        }
                        None => return false,
                    },
                }
            }
            match self.conn.restore(&self.clock).await {
                Ok(()) => {
                    tracing::info!("the database is back");
                    self.outage.ended();
                    self.ring_all();
                    self.notifier.foreign();
                    if let Err(error) = self.take_doubtful().await {
                        tracing::warn!(%error, "claims that may stand cannot be read; a sweep will give them back");
                    }
                    return true;
                }
                Err(error) => {
                    tracing::debug!(%error, "the database is still away");
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// One transaction: all of `ops`, then claims for whoever has free slots.
    async fn commit(
        &mut self,
        ops: &[Op],
        is_resent: bool,
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        if let Some(foreseen) = self.foresight.take(ops) {
            let span = tracing::debug_span!("commit", requests = ops.len(), foreseen = true);
            let done = self.commit_upon(ops, is_resent, Some(foreseen));
            match done.instrument(span).await {
                // Nothing was done; whatever it was, it will be seen again.
                Err(error) if !self.conn.is_lost() && !error.is_passing() => {
                    tracing::debug!(%error, "a report was not as foreseen; deciding anew");
                    self.foresight.learn(false);
                }
                done => {
                    if done.is_ok() {
                        self.foresight.learn(true);
                    }
                    return done;
                }
            }
        }
        let span = tracing::debug_span!("commit", requests = ops.len());
        let done = self.commit_upon(ops, is_resent, None);
        done.instrument(span).await
    }

    /// [`Writer::commit`], deciding upon what was foreseen.
    async fn commit_upon(
        &mut self,
        ops: &[Op],
        is_resent: bool,
        foreseen: Option<Foreseen>,
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let now = self.clock.now();
        let is_due = ops.is_empty() || self.wake_at.is_some_and(|at| at <= now);
        let demand = self.demand.clone();
        let mut commit = Commit::begin(&mut self.conn, &self.plans, now, After::default());
        commit.is_resent = is_resent;
        commit.capped = Arc::clone(&self.capped);
        commit.foreseen = foreseen;
        commit.unreadable = Arc::clone(&self.unreadable);
        if let Some(demand) = &demand {
            preference::learn(ops, demand);
        }
        commit.next = self.foresight.is_worthwhile(ops).then(Next::default);
        let (mut asked, mut question) = (None, None);
        let result = async {
            let answers = commit.apply(ops).await?;
            if is_due {
                commit.promote_due().await?;
            }
            asked = demand.as_deref().and_then(|d| commit.ask_for_claims(d));
            commit.make_ready();
            if let (true, Some(Next::One(task, plan))) = (asked.is_some(), commit.next.take())
                && let Some(next) = Question::new(task, &plan)
            {
                let (run, steps) = (next.run.as_str(), next.steps_json.as_str());
                commit.script.push(&sql::FORESEE_RUN, [run.into()]);
                commit
                    .script
                    .push(&sql::FORESEE_TASKS, [run.into(), steps.into()]);
                question = Some(next);
            }
            commit.script.push(&sql::COMMIT, []);
            let rows = commit.send().await?;
            Ok::<_, StoreError>((answers, rows))
        }
        .await;
        let after = std::mem::take(&mut commit.after);
        self.capped = commit.capped;
        match result {
            Ok((answers, mut rows)) => {
                // The last two rows answer the question.
                let read = question.and_then(|question| {
                    let (tasks, runs) = (rows.pop()?, rows.pop()?);
                    Some((question, runs, tasks))
                });
                let granted = match (asked, &demand) {
                    (Some(asked), Some(demand)) => self.grant(asked, demand, &rows).await,
                    _ => Ok(Vec::new()),
                };
                // It is committed: whatever went wrong since is no failure of the requests.
                let granted = granted.unwrap_or_else(|error| {
                    tracing::error!(%error, "claimed work cannot be read; a sweep will give it back");
                    Vec::new()
                });
                self.foresight.forget(after.touched.keys());
                if let Some((question, runs, tasks)) = read {
                    let mut claims = granted.iter().map(|(_, granted)| &granted.claim);
                    if let Some(claim) = claims.find(|claim| question.is_about(claim.key)) {
                        self.foresight.keep(question, claim.token, runs, tasks);
                    }
                }
                self.announce(after, granted);
                Ok(answers)
            }
            Err(error) => {
                if self.conn.is_lost() {
                    self.doubtful = asked;
                }
                self.conn.rollback().await;
                self.ring_all();
                Err(error)
            }
        }
    }

    /// What the world may know once it is true.
    pub(super) fn announce(&mut self, after: After, claimed: Vec<(usize, Granted)>) {
        let now = self.clock.now();
        if after.promoted || self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = after.next_due;
        }
        if let Some(at) = after.wake_at {
            self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
        }
        if after.has_teardowns {
            self.teardowns.wanted.notify_one();
        }
        if std::mem::take(&mut self.has_misclaimed) {
            self.wake_at = Some(now);
        }
        if let Some(herald) = &self.herald {
            herald.tell(self.tidings(&after, &claimed));
        }
        if let Some(demand) = &self.demand {
            for (lane, granted) in claimed {
                demand.grant(lane, granted);
            }
            for stop in after.stops {
                demand.stop(stop);
            }
            if after.is_steered {
                demand.refresh();
            }
        }
        self.notifier.touched(after.touched);
    }

    /// What of a commit concerns other processes.
    fn tidings(&self, after: &After, claimed: &[(usize, Granted)]) -> Tidings {
        let demand = self.demand.as_deref();
        let mut queues = after.rings.clone();
        // Whoever took as much as it could may have left some.
        if let Some(demand) = demand {
            let took = claimed.iter().map(|(lane, _)| &demand.lanes[*lane].queue);
            queues.extend(took.cloned());
        }
        // What is not for this worker may be for another.
        queues.retain(|queue| {
            after.is_picky
                || self.has_unreadable()
                || !demand.is_some_and(|demand| demand.has_all_of(queue))
        });
        let mut stopped: Vec<RunId> = after.stops.iter().map(|stop| stop.run).collect();
        stopped.sort_unstable();
        stopped.dedup();
        Tidings {
            queues: queues.into_iter().collect(),
            touched: after
                .touched
                .iter()
                .map(|(run, over)| (*run, *over))
                .collect(),
            stopped,
            steered: after.is_steered,
        }
    }

    async fn close(self, done: Option<oneshot::Sender<()>>) {
        if let Err(error) = self.conn.close().await {
            tracing::warn!(%error, "closing the database");
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

/// What a panic said.
pub(super) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

/// What shares a commit. Requests that look up for themselves what they change have one of their own: on `PostgreSQL`
/// they could lock runs in another order than the rest of the batch did.
fn portions(ops: &[Op]) -> Vec<Range<usize>> {
    let mut portions = vec![];
    let mut begin = 0;
    for (index, op) in ops.iter().enumerate() {
        if op.is_alone() {
            portions.extend((begin < index).then_some(begin..index));
            portions.push(index..index + 1);
            begin = index + 1;
        }
    }
    if begin < ops.len() || ops.is_empty() {
        portions.push(begin..ops.len());
    }
    // The last is taken first.
    portions.reverse();
    portions
}

/// What waited longest, or what comes next.
async fn next(
    waiting: &mut VecDeque<Message>,
    inbox: &mut mpsc::UnboundedReceiver<Message>,
) -> Option<Message> {
    match waiting.pop_front() {
        Some(message) => Some(message),
        None => inbox.recv().await,
    }
}
