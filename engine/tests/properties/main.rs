//! Random graphs, random failures, random orders: what must hold for every run.
#![expect(clippy::unwrap_used, reason = "tests")]

mod model;
mod script;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aquatint_engine::id::{QueueName, RunId};
use aquatint_engine::run::{AttemptOutcome, Event, EventKind};
use aquatint_engine::{
    Engine, EngineConfig, Library, Registry, RunState, Submission, TaskState, WorkerConfig,
};
use model::{Act, End, Graph, Policy, Script, Shape, Step, name};
use proptest::collection::vec;
use proptest::prelude::*;
use script::{CHILD, Play, without_words};
use serde_json::Value;

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Succeed),
        3 => Just(Act::Stumble),
        1 => Just(Act::Panic),
        1 => Just(Act::Fall),
    ]
}

fn a_script() -> impl Strategy<Value = Script> {
    vec(act(), 0..=3)
}

fn shape() -> impl Strategy<Value = Shape> {
    let mapped = (
        vec(a_script(), 0..=6),
        proptest::option::of(1..=3_u32),
        any::<bool>(),
    );
    prop_oneof![
        3 => a_script().prop_map(Shape::One),
        2 => mapped.prop_map(|(items, max_parallel, tolerate)| Shape::Mapped { items, max_parallel, tolerate }),
    ]
}

/// A step that may need any of the `before` steps ahead of it.
fn step(before: usize) -> impl Strategy<Value = Step> {
    let policy = prop_oneof![
        1 => Just(Policy::Fail),
        2 => Just(Policy::Continue),
        1 => Just(Policy::Skip),
    ];
    let flags = (proptest::bool::weighted(0.2), proptest::bool::weighted(0.1));
    (
        vec(proptest::bool::weighted(0.3), before),
        shape(),
        flags,
        1..=3_usize,
        policy,
    )
        .prop_map(|(needs, shape, (is_sub, is_idle), attempts, policy)| Step {
            needs: (0..)
                .zip(needs)
                .filter(|(_, is_needed)| *is_needed)
                .map(|(need, _)| need)
                .collect(),
            shape,
            is_sub,
            attempts,
            policy,
            is_idle,
        })
}

fn graph() -> impl Strategy<Value = Graph> {
    let steps = (2..=12_usize).prop_flat_map(|count| (0..count).map(step).collect::<Vec<_>>());
    (
        steps,
        proptest::option::weighted(0.4, 1..=4_u32),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(steps, max_parallel, has_outputs, has_last_word)| Graph {
            steps,
            max_parallel,
            has_outputs,
            has_last_word,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40 * ProptestConfig::default().cases / 256, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_as_its_graph_says(graphs in vec(graph(), 8)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(&graphs))?;
    }
}

/// Runs all graphs at once on one worker, and looks at what became of each.
async fn play(graphs: &[Graph]) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = Registry::new();
    registry.register(Play);
    let mut library = Library::new(registry);
    library.add("child", "child.yaml", CHILD);
    for (number, graph) in graphs.iter().enumerate() {
        let called = format!("g{number}");
        library.add(&called, format!("{called}.yaml"), graph.definition(&called));
    }
    let engine = Engine::open(EngineConfig::new(folder.path()), library)
        .await
        .unwrap();
    let queue = QueueName::new("default").unwrap();
    let worker = engine
        .start_worker(WorkerConfig::new([(queue, 8)]))
        .await
        .unwrap();
    let submits = graphs
        .iter()
        .enumerate()
        .map(|(n, graph)| engine.submit(Submission::new(format!("g{n}"), graph.inputs().into())));
    let runs = futures_util::future::join_all(submits).await;
    let mut verdict = Ok(());
    for (graph, run) in graphs.iter().zip(runs) {
        let run = run
            .map_err(|refusal| {
                TestCaseError::fail(format!("{refusal}\n{}", graph.definition("g")))
            })?
            .run;
        let seen = look(&engine, graph, run).await;
        if let Err(reason) = seen {
            verdict = Err(TestCaseError::fail(format!(
                "{reason}\n{}",
                graph.definition("g")
            )));
            break;
        }
    }
    let check = engine.check().await.unwrap();
    worker.stop().await;
    engine.close().await;
    verdict?;
    prop_assert!(check.is_clean(), "{check:#?}");
    Ok(())
}

macro_rules! hold {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}

async fn look(engine: &Engine, graph: &Graph, run: RunId) -> Result<(), String> {
    let waited = tokio::time::timeout(Duration::from_secs(20), engine.wait(run)).await;
    let Ok(view) = waited else {
        let tasks = engine.tasks(run, true).await.unwrap();
        let left: Vec<_> = tasks
            .iter()
            .filter(|t| !t.state.is_terminal())
            .map(|t| (t.step.to_string(), t.item, t.state, t.held))
            .collect();
        return Err(format!("the run does not end; what is left: {left:?}"));
    };
    let view = view.unwrap();
    let ends = graph.ends();
    let fails = graph.fails(&ends);
    let expected = if fails {
        RunState::Failed
    } else {
        RunState::Succeeded
    };
    hold!(
        view.state == expected,
        "the run is {}, and should be {expected}: {:?}",
        view.state,
        view.failure
    );
    if graph.outputs().next().is_some() && !fails {
        let wanted = Value::Object(graph.visible(graph.outputs(), &ends));
        let output = view.output.clone().map(without_words);
        hold!(
            output.as_ref() == Some(&wanted),
            "the output is\n{output:?}\nand should be\n{wanted}"
        );
    }
    tasks(engine, graph, &ends, run, fails).await?;
    order(graph, &all_events(engine, run).await)
}

/// A step's name, and the item's number where it is mapped.
type TaskName = (String, Option<u32>);

/// Every task ended as the model says, or was cancelled by a failure it did not cause.
async fn tasks(
    engine: &Engine,
    graph: &Graph,
    ends: &[End],
    run: RunId,
    fails: bool,
) -> Result<(), String> {
    let mut attempts: BTreeMap<TaskName, Vec<(i64, AttemptOutcome)>> = BTreeMap::new();
    for attempt in engine.attempts(run).await.unwrap() {
        let of = (attempt.step.to_string(), attempt.item);
        attempts
            .entry(of)
            .or_default()
            .push((attempt.attempt, attempt.outcome));
    }
    for ((step, item), list) in &attempts {
        let good = list
            .iter()
            .filter(|(_, outcome)| *outcome == AttemptOutcome::Succeeded)
            .count();
        hold!(good <= 1, "{step}/{item:?} succeeded {good} times");
        let numbers: Vec<i64> = list.iter().map(|(number, _)| *number).collect();
        hold!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "{step}/{item:?}: attempts {numbers:?}"
        );
    }
    let views = engine.tasks(run, true).await.unwrap();
    for (number, (step, end)) in graph.steps.iter().zip(ends).enumerate() {
        let called = name(number);
        let rows: HashMap<Option<u32>, TaskState> = views
            .iter()
            .filter(|v| v.step.as_str() == called)
            .map(|v| (v.item, v.state))
            .collect();
        let whole = rows[&None];
        hold!(
            whole == end.state || (fails && whole == TaskState::Cancelled),
            "{called} is {whole}, and should be {}",
            end.state
        );
        let is_mapped = matches!(step.shape, Shape::Mapped { .. });
        for (index, fate) in (0_u32..).zip(&end.fates) {
            let item = is_mapped.then_some(index);
            let Some(state) = rows.get(&item) else {
                hold!(fails, "{called}/{item:?} is missing");
                continue;
            };
            let wanted = if fate.is_good {
                TaskState::Succeeded
            } else {
                TaskState::Failed
            };
            // A strict step's first bad item, and a failing run, cut others short.
            let may_be_cut = fails || (is_mapped && end.state == TaskState::Failed);
            hold!(
                *state == wanted || (may_be_cut && *state == TaskState::Cancelled),
                "{called}/{item:?} is {state}, and should be {wanted}"
            );
            if *state == wanted && !(step.is_sub && fate.is_good) {
                let made = attempts.get(&(called.clone(), item)).map_or(0, Vec::len);
                hold!(
                    made == fate.attempts,
                    "{called}/{item:?} took {made} attempts, and should take {}",
                    fate.attempts
                );
            }
        }
    }
    Ok(())
}

async fn all_events(engine: &Engine, run: RunId) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let seq = events.last().map_or(0, |e| e.seq);
        let more = engine.events(run, seq).await.unwrap();
        if more.is_empty() {
            return events;
        }
        events.extend(more);
    }
}

/// Events are numbered without gaps, and no step begins before what it needs has ended.
fn order(graph: &Graph, events: &[Event]) -> Result<(), String> {
    let numbers: HashMap<String, usize> = (0..graph.steps.len()).map(|n| (name(n), n)).collect();
    let mut is_over = vec![false; graph.steps.len()];
    let mut open_items: HashMap<usize, u64> = HashMap::new();
    for (at, event) in (1..).zip(events) {
        hold!(
            event.seq == at,
            "event {} stands where {at} should",
            event.seq
        );
        match &event.kind {
            EventKind::TaskStarted { step, .. } => {
                let Some(&step) = numbers.get(step.as_str()) else {
                    continue;
                };
                let early: Vec<_> = graph.steps[step]
                    .needs
                    .iter()
                    .filter(|need| !is_over[**need])
                    .collect();
                hold!(
                    early.is_empty(),
                    "{} began before {early:?} had ended",
                    name(step)
                );
                hold!(!is_over[step], "{} began after it had ended", name(step));
            }
            EventKind::TaskMapped { step, items } => {
                let step = numbers[step.as_str()];
                open_items.insert(step, *items);
                is_over[step] = *items == 0;
            }
            EventKind::TaskSucceeded { step, item, .. } | EventKind::TaskSkipped { step, item } => {
                let Some(&step) = numbers.get(step.as_str()) else {
                    continue;
                };
                is_over[step] = item.is_none() || last_of(&mut open_items, step);
            }
            EventKind::TaskFailed { step, item, .. } => {
                let Some(&step) = numbers.get(step.as_str()) else {
                    continue;
                };
                let is_strict = matches!(
                    graph.steps[step].shape,
                    Shape::Mapped {
                        tolerate: false,
                        ..
                    }
                );
                is_over[step] = item.is_none() || last_of(&mut open_items, step) || is_strict;
            }
            _ => {}
        }
    }
    let ends = events.iter().filter(|e| e.kind.ends_run()).count();
    hold!(
        ends == 1 && events.last().is_some_and(|e| e.kind.ends_run()),
        "the run ended {ends} times"
    );
    Ok(())
}

fn last_of(open: &mut HashMap<usize, u64>, step: usize) -> bool {
    let left = open.get_mut(&step).unwrap();
    *left -= 1;
    *left == 0
}
