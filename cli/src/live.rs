//! What is happening to a run, told on stderr while it happens.
//!
//! The run's events are read from the store, so it does not matter which process
//! does the work. On a terminal the running steps have bars at the bottom; in a
//! pipe everything is a line.

mod bars;
mod plain;

use std::collections::HashMap;
use std::future::Future as _;
use std::io::IsTerminal as _;
use std::pin::pin;
use std::task::Poll;

use anstyle::Style;
use aquatint_engine::Engine;
use aquatint_engine::id::RunId;
use aquatint_engine::run::{Event, EventKind};
use aquatint_engine::time::Timestamp;
use aquatint_engine::workflow::{Action, FailMode, Plan};

use crate::exit::Result;
use crate::output::{self, CYAN, DIM, GREEN, PLAIN, RED, YELLOW};

/// Failed items of a mapped step that get a line each; the rest is counted.
const ITEMS_TOLD: u64 = 5;

/// Tells what happens to one run.
#[derive(Debug)]
pub(crate) struct Live {
    face: Face,
    seq: i64,
    steps: HashMap<String, Step>,
    /// Mapped steps: they begin with a count of their items, and end with the last of them.
    mapped: HashMap<String, FailMode>,
    /// Step names by their place in the plan.
    names: Vec<String>,
    /// While catching up with what happened before we came.
    silent: bool,
}

#[derive(Debug)]
enum Face {
    Quiet,
    Plain(plain::Plain),
    Bars(bars::Bars),
}

#[derive(Debug, Default)]
struct Step {
    started: Option<Timestamp>,
    items: Option<u64>,
    done: u64,
    failed: u64,
}

impl Live {
    /// For a run of this plan.
    pub(crate) fn new(plan: &Plan, quiet: bool) -> Self {
        let shown = plan.steps.iter().filter(|s| s.action != Action::Outputs);
        let width = shown
            .map(|s| s.name.as_str().len())
            .max()
            .unwrap_or(0)
            .min(24);
        let face = if quiet {
            Face::Quiet
        } else if std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        {
            Face::Bars(bars::Bars::new(width))
        } else {
            Face::Plain(plain::Plain::new(width))
        };
        let mapped = plan
            .steps
            .iter()
            .filter_map(|step| Some((step.name.to_string(), step.map.as_ref()?.fail)))
            .collect();
        Self {
            face,
            seq: 0,
            steps: HashMap::new(),
            mapped,
            names: plan.steps.iter().map(|s| s.name.to_string()).collect(),
            silent: false,
        }
    }

    /// Takes in what has happened so far without telling it again.
    pub(crate) async fn skip(&mut self, engine: &Engine, run: RunId) -> Result {
        self.silent = true;
        let done = self.catch_up(engine, run).await;
        self.silent = false;
        done
    }

    /// Tells what happens, for as long as it is polled.
    pub(crate) async fn follow(
        &mut self,
        engine: &Engine,
        run: RunId,
    ) -> Result<std::convert::Infallible> {
        loop {
            // Listening begins before looking, so that nothing falls in between.
            let mut changed = pin!(engine.changed(run));
            let early =
                std::future::poll_fn(|cx| Poll::Ready(changed.as_mut().poll(cx).is_ready())).await;
            self.catch_up(engine, run).await?;
            for (step, item, progress) in engine.progress(run).await? {
                // Items are counted, not followed one by one.
                let name = usize::try_from(step)
                    .ok()
                    .and_then(|at| self.names.get(at).cloned());
                let Some(name) = name.filter(|_| item < 0) else {
                    continue;
                };
                let message = output::clean(&progress.message);
                let text = format!("{:.0} % {message}", progress.fraction * 100.0);
                self.working(&name, Some(progress.fraction), text.trim_end());
            }
            if !early {
                changed.await;
            }
        }
    }

    /// Tells what is left to tell, and takes the bars away.
    pub(crate) async fn finish(&mut self, engine: &Engine, run: RunId) -> Result {
        self.catch_up(engine, run).await?;
        if let Face::Bars(bars) = &mut self.face {
            bars.clear();
        }
        Ok(())
    }

    /// Says something beside the steps.
    pub(crate) fn say(&mut self, text: &str) {
        match &mut self.face {
            Face::Quiet => {}
            Face::Plain(_) => output::note(text),
            Face::Bars(bars) => bars.print(text),
        }
    }

    async fn catch_up(&mut self, engine: &Engine, run: RunId) -> Result {
        loop {
            let events = engine.events(run, self.seq).await?;
            if events.is_empty() {
                return Ok(());
            }
            for event in events {
                self.seq = event.seq;
                self.event(event);
            }
        }
    }

    fn event(&mut self, event: Event) {
        let at = event.at;
        match event.kind {
            EventKind::TaskStarted {
                step,
                item: None,
                attempt,
            } => {
                self.steps.entry(step.to_string()).or_default().started = Some(at);
                let again = if attempt > 1 {
                    format!("started, attempt {attempt}")
                } else {
                    "started".to_owned()
                };
                // A mapped step says so again, with the count of its items, a moment later.
                if !self.mapped.contains_key(step.as_str()) {
                    self.started(step.as_str(), &again);
                }
            }
            EventKind::TaskMapped { step, items } => {
                let known = self.steps.entry(step.to_string()).or_default();
                known.started.get_or_insert(at);
                known.items = Some(items);
                self.started(
                    step.as_str(),
                    &format!("started with {}", output::count(items, "item")),
                );
                if items == 0 {
                    self.perhaps_all(step.as_str(), at);
                }
            }
            EventKind::ChildStarted {
                step,
                item: None,
                child,
            } => {
                self.started(step.as_str(), &format!("runs as {child}"));
            }
            EventKind::TaskSucceeded {
                step,
                item: None,
                cached,
                ..
            } => {
                let how = self.took(step.as_str(), at, cached);
                self.ended(step.as_str(), GREEN, &how);
            }
            EventKind::TaskFailed {
                step,
                item: None,
                class,
                message,
                ..
            } => {
                self.ended(
                    step.as_str(),
                    RED,
                    &format!("failed: {} ({class})", output::clean(&message)),
                );
            }
            EventKind::TaskSkipped { step, item: None } => {
                self.ended(step.as_str(), DIM, "skipped");
            }
            EventKind::TaskRetrying {
                step,
                item: None,
                attempt,
                due_at,
                class,
                message,
            } => {
                let wait = output::duration(due_at.since_ms(at));
                let text = format!(
                    "attempt {attempt} failed: {} ({class}); again in {wait}",
                    output::clean(&message)
                );
                self.ended(step.as_str(), YELLOW, &text);
            }
            EventKind::TaskReleased {
                step, item: None, ..
            } => self.ended(step.as_str(), DIM, "given back to the queue"),
            EventKind::TaskSucceeded {
                step,
                item: Some(_),
                ..
            }
            | EventKind::TaskSkipped {
                step,
                item: Some(_),
            } => {
                self.item_ended(step.as_str(), false);
                self.perhaps_all(step.as_str(), at);
            }
            EventKind::TaskFailed {
                step,
                item: Some(item),
                class,
                message,
                ..
            } => {
                let failed = self.item_ended(step.as_str(), true);
                if failed <= ITEMS_TOLD {
                    let text = format!("item {item} failed: {} ({class})", output::clean(&message));
                    self.line(step.as_str(), YELLOW, &text);
                }
                self.perhaps_all(step.as_str(), at);
            }
            EventKind::RunPaused => self.tell("the run is paused; `aquatint resume` lets it go on"),
            EventKind::RunResumed => self.tell("the run goes on"),
            EventKind::RunRetried { steps, .. } => {
                for step in steps {
                    // Of a mapped step, only the failed items begin again.
                    let step = self.steps.entry(step.to_string()).or_default();
                    step.done -= std::mem::take(&mut step.failed).min(step.done);
                }
            }
            // The run's own beginning and end are told by the command; single
            // starts and retries of items would drown the rest.
            _ => {}
        }
    }

    fn took(&mut self, step: &str, at: Timestamp, cached: bool) -> String {
        let step = self.steps.entry(step.to_owned()).or_default();
        let mut text = match step.started {
            _ if cached => "done, taken from the cache".to_owned(),
            Some(started) => format!("done in {}", output::duration(at.since_ms(started))),
            None => "done".to_owned(),
        };
        if let Some(items) = step.items {
            let failed = if step.failed > 0 {
                format!(", {} failed", step.failed)
            } else {
                String::new()
            };
            text.push_str(&format!(" ({}{failed})", output::count(items, "item")));
        }
        text
    }

    /// Counts an item, and ends the step with its last one; returns how many have failed.
    fn item_ended(&mut self, name: &str, failed: bool) -> u64 {
        let step = self.steps.entry(name.to_owned()).or_default();
        step.done += 1;
        step.failed += u64::from(failed);
        let (done, failed, items) = (
            step.done,
            step.failed,
            step.items.unwrap_or_default().max(step.done),
        );
        let broken = if failed > 0 {
            format!(", {failed} failed")
        } else {
            String::new()
        };
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = done as f64 / items.max(1) as f64;
        self.working(name, Some(share), &format!("{done}/{items}{broken}"));
        failed
    }

    /// The store tells of each item's end, and not again of the step's: it ends with the
    /// last item, or the first that fails where the definition says so.
    fn perhaps_all(&mut self, name: &str, at: Timestamp) {
        let step = self.steps.entry(name.to_owned()).or_default();
        let is_last = step.items.is_some_and(|items| step.done >= items);
        let gives_up = step.failed > 0 && self.mapped.get(name) == Some(&FailMode::Fast);
        if gives_up {
            self.ended(name, RED, "failed with this item");
        } else if is_last {
            let how = self.took(name, at, false);
            self.ended(name, GREEN, &how);
        }
    }

    fn started(&mut self, step: &str, text: &str) {
        if self.silent || step == "outputs" {
            return;
        }
        match &mut self.face {
            Face::Quiet => {}
            Face::Plain(plain) => plain.started(step, text),
            Face::Bars(bars) => bars.working(step, None, if text == "started" { "" } else { text }),
        }
    }

    fn working(&mut self, step: &str, share: Option<f64>, text: &str) {
        if self.silent {
            return;
        }
        match &mut self.face {
            Face::Quiet => {}
            Face::Plain(plain) => plain.working(step, text),
            Face::Bars(bars) => bars.working(step, share, text),
        }
    }

    fn ended(&mut self, step: &str, style: Style, text: &str) {
        if let Face::Bars(bars) = &mut self.face {
            bars.remove(step);
        }
        self.line(step, style, text);
    }

    fn line(&mut self, step: &str, style: Style, text: &str) {
        if self.silent || step == "outputs" {
            return;
        }
        match &mut self.face {
            Face::Quiet => {}
            Face::Plain(plain) => plain.line(step, style, text),
            Face::Bars(bars) => bars.line(step, mark(style), style, text),
        }
    }

    fn tell(&mut self, text: &str) {
        if !self.silent {
            self.say(&output::styled(CYAN, text));
        }
    }
}

/// A sign that tells the styles apart without colour.
fn mark(style: Style) -> &'static str {
    match style {
        GREEN => "✓",
        RED => "✗",
        YELLOW => "!",
        PLAIN => " ",
        _ => "·",
    }
}
