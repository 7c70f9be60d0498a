//! Schedules: times by the calendar, and what becomes of ticks, under a clock that a test moves.
#![expect(clippy::unwrap_used, reason = "tests")]

mod timing;

use std::time::Duration;

use aquatint_engine::engine::ScheduleError;
use aquatint_engine::id::{QueueName, RunId};
use aquatint_engine::run::RunState;
use aquatint_engine::schedule::{Happened, Misfire, Overlap, Schedule, Timing};
use aquatint_engine::time::{Clock, Timestamp};
use aquatint_engine::{
    Engine, EngineConfig, EngineError, Library, Permission, Registry, RunAction, RunFilter, Task,
    TaskContext, TaskError, WorkerConfig,
};
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
/// A Thursday, 12:00 UTC.
const NOON: Timestamp = Timestamp(1_782_993_600_000);

const JOB: &str = "name: job\ninputs:\n  day: { type: string, default: none }\nsteps:\n  a: { task: nothing, with: { day: \"${{ inputs.day }}\" } }\n";

struct Nothing;

#[derive(Deserialize, JsonSchema)]
struct Anything {
    #[serde(flatten)]
    _fields: serde_json::Map<String, Value>,
}

impl Task for Nothing {
    const NAME: &'static str = "nothing";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Does nothing.";
    type Input = Anything;
    type Output = Value;

    async fn run(&self, _: TaskContext, _: Anything) -> Result<Value, TaskError> {
        Ok(Value::Null)
    }
}

struct House {
    engine: Engine,
    clock: Clock,
    folder: tempfile::TempDir,
}

fn library(definitions: &[(&str, &str)]) -> Library {
    let mut registry = Registry::new();
    registry.register(Nothing);
    let mut library = Library::new(registry);
    for (name, text) in definitions {
        library.add(name, format!("{name}.yaml"), (*text).to_owned());
    }
    library
}

impl House {
    async fn new(definitions: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOON);
        let engine = Self::open(&folder, &clock, definitions).await;
        Self {
            engine,
            clock,
            folder,
        }
    }

    /// Another process over the same database.
    async fn open(folder: &tempfile::TempDir, clock: &Clock, all: &[(&str, &str)]) -> Engine {
        let mut config = EngineConfig::new(folder.path());
        config.clock = clock.clone();
        Engine::open(config, library(all)).await.unwrap()
    }

    async fn put(&self, text: &str, change: impl FnOnce(&mut Schedule)) {
        let mut schedule =
            Schedule::new("job".parse().unwrap(), Timing::parse(text, None).unwrap());
        change(&mut schedule);
        self.engine
            .put_schedule("s", schedule, None, Permission::Submit)
            .await
            .unwrap();
    }

    async fn tick(&self) -> usize {
        self.engine.tick().await.unwrap().started
    }

    async fn runs(&self) -> Vec<RunId> {
        let runs = self.engine.runs(&RunFilter::default()).await.unwrap();
        runs.into_iter().map(|run| run.id).rev().collect()
    }

    /// Ends every run that is under way.
    async fn finish(&self) {
        for run in self.runs().await {
            if !self.engine.run(run).await.unwrap().state.is_terminal() {
                self.engine.act(run, RunAction::Cancel).await.unwrap();
            }
        }
    }

    async fn outcomes(&self) -> Vec<&'static str> {
        let recent = self.engine.schedule("s").await.unwrap().recent;
        let word = |happened: &Happened| match happened {
            Happened::Started { .. } => "started",
            Happened::Skipped => "skipped",
            Happened::Missed => "missed",
            Happened::Refused { .. } => "refused",
        };
        recent.iter().rev().map(|f| word(&f.happened)).collect()
    }
}

#[tokio::test]
async fn a_tick_begins_one_run_when_it_is_due_and_not_before() {
    let house = House::new(&[("job", JOB)]).await;
    house.put("30 12 * * *", |_| {}).await;
    assert_eq!(house.tick().await, 0);
    house.clock.advance(30 * MINUTE - Duration::from_millis(1));
    assert_eq!(house.tick().await, 0, "a moment too early");
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(house.tick().await, 1);
    assert_eq!(house.tick().await, 0, "once is enough");
    let view = house.engine.schedule("s").await.unwrap();
    assert_eq!(view.due, Some(NOON.after(30 * MINUTE + 24 * 60 * MINUTE)));
    let run = house.engine.run(house.runs().await[0]).await.unwrap();
    assert_eq!(run.tags, ["aquatint:schedule:s"]);
    let due = NOON.after(30 * MINUTE).0;
    assert_eq!(run.idempotency_key, Some(format!("schedule/s/{due}")));
    house.engine.close().await;
}

#[tokio::test]
async fn ten_processes_that_look_at_once_begin_one_run() {
    let house = House::new(&[("job", JOB)]).await;
    house.put("@every 1m", |s| s.overlap = Overlap::Allow).await;
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(House::open(&house.folder, &house.clock, &[("job", JOB)]).await);
    }
    for round in 1..=5 {
        house.clock.advance(MINUTE);
        let looks = others.iter().chain([&house.engine]).map(|engine| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.tick().await.unwrap().started })
        });
        let mut begun = 0;
        for look in looks.collect::<Vec<_>>() {
            begun += look.await.unwrap();
        }
        assert_eq!(begun, 1, "round {round}");
        assert_eq!(house.runs().await.len(), round);
    }
    for engine in others {
        engine.close().await;
    }
    house.engine.close().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_fires_nothing_again() {
    let house = House::new(&[("job", JOB)]).await;
    house.put("@every 1m", |_| {}).await;
    house.clock.advance(5 * MINUTE);
    assert_eq!(house.tick().await, 1);
    house.finish().await;
    let earlier = Clock::manual(NOON);
    let back = House::open(&house.folder, &earlier, &[("job", JOB)]).await;
    for _ in 0..5 {
        assert_eq!(back.tick().await.unwrap().started, 0);
        earlier.advance(MINUTE);
    }
    earlier.advance(MINUTE);
    assert_eq!(
        back.tick().await.unwrap().started,
        1,
        "the next one comes in its time"
    );
    back.close().await;
    house.engine.close().await;
}

#[tokio::test]
async fn a_clock_that_was_far_ahead_and_is_set_right_silences_no_schedule() {
    let house = House::new(&[("job", JOB)]).await;
    house.put("@every 1m", |s| s.overlap = Overlap::Allow).await;
    house.clock.advance(30 * 24 * 60 * MINUTE);
    assert_eq!(house.tick().await, 1, "what was missed is made up for once");
    house.finish().await;
    let right = Clock::manual(NOON);
    let back = House::open(&house.folder, &right, &[("job", JOB)]).await;
    right.advance(MINUTE);
    assert_eq!(
        back.tick().await.unwrap().started,
        0,
        "it waits for a month"
    );
    assert_eq!(back.set_schedules_right().await.unwrap(), 1);
    assert_eq!(
        back.set_schedules_right().await.unwrap(),
        0,
        "once is enough"
    );
    for _ in 0..3 {
        right.advance(MINUTE);
        assert_eq!(back.tick().await.unwrap().started, 1);
    }
    back.close().await;
    house.engine.close().await;
}

#[tokio::test]
async fn overlap_skips_queues_cancels_or_allows() {
    for (overlap, expected, outcomes) in [
        (
            Overlap::Skip,
            1,
            ["started", "skipped", "skipped"].as_slice(),
        ),
        (Overlap::Queue, 1, ["started"].as_slice()),
        (
            Overlap::Cancel,
            3,
            ["started", "started", "started"].as_slice(),
        ),
        (
            Overlap::Allow,
            3,
            ["started", "started", "started"].as_slice(),
        ),
    ] {
        let house = House::new(&[("job", JOB)]).await;
        house.put("@every 1m", |s| s.overlap = overlap).await;
        for _ in 0..3 {
            house.clock.advance(MINUTE);
            house.tick().await;
        }
        assert_eq!(house.runs().await.len(), expected, "{overlap:?}");
        assert_eq!(house.outcomes().await, outcomes, "{overlap:?}");
        let mut live = 0;
        for run in house.runs().await {
            live += usize::from(
                house.engine.run(run).await.unwrap().state == RunState::Pending
                    || house.engine.run(run).await.unwrap().state == RunState::Running,
            );
        }
        let expected_live = if overlap == Overlap::Allow { 3 } else { 1 };
        assert_eq!(live, expected_live, "{overlap:?}");
        if overlap == Overlap::Queue {
            assert_eq!(
                house.tick().await,
                0,
                "its turn comes when the first has ended"
            );
            for _ in 0..2 {
                house.finish().await;
                assert_eq!(house.tick().await, 1);
                assert_eq!(house.tick().await, 0, "one after the other");
            }
            house.finish().await;
            assert_eq!(house.tick().await, 0);
            assert_eq!(house.runs().await.len(), 3);
        }
        house.engine.close().await;
    }
}

#[tokio::test]
async fn an_outage_over_several_ticks_does_what_the_policy_says() {
    for (misfire, started, missed) in [
        (Misfire::Skip, 0, 9),
        (Misfire::Once, 1, 8),
        // Nine ticks, of which the last five lie in the window.
        (Misfire::CatchUp, 5, 4),
    ] {
        let house = House::new(&[("job", JOB)]).await;
        house
            .put("*/10 * * * *", |s| {
                s.misfire = misfire;
                s.window_ms = 45 * 60_000;
            })
            .await;
        // Nobody looks for 95 minutes.
        house.clock.advance(95 * MINUTE);
        for _ in 0..10 {
            house.tick().await;
            house.finish().await;
        }
        let view = house.engine.schedule("s").await.unwrap();
        assert_eq!(house.runs().await.len(), started, "{misfire:?}");
        assert_eq!(view.counts.started, started as u64, "{misfire:?}");
        assert_eq!(view.counts.missed, missed, "{misfire:?}");
        house.clock.advance(5 * MINUTE);
        assert_eq!(
            house.tick().await,
            1,
            "{misfire:?}: then all goes on as ever"
        );
        house.engine.close().await;
    }
}

#[tokio::test]
async fn a_pause_lets_ticks_pass_and_is_not_made_up_for() {
    let house = House::new(&[("job", JOB)]).await;
    house
        .put("@every 1m", |s| s.misfire = Misfire::CatchUp)
        .await;
    house.engine.pause_schedule("s").await.unwrap();
    house.clock.advance(10 * MINUTE);
    assert_eq!(house.tick().await, 0);
    assert_eq!(house.engine.schedule("s").await.unwrap().due, None);
    house.engine.resume_schedule("s").await.unwrap();
    assert_eq!(house.tick().await, 0);
    house.clock.advance(MINUTE);
    assert_eq!(house.tick().await, 1);
    assert_eq!(house.outcomes().await, ["started"]);
    house.engine.close().await;
}

#[tokio::test]
async fn a_wish_begins_a_run_at_once_and_moves_no_tick() {
    let house = House::new(&[("job", JOB)]).await;
    house.put("@every 10m", |_| {}).await;
    let due = house.engine.schedule("s").await.unwrap().due;
    let run = house
        .engine
        .trigger_schedule("s", Permission::Submit)
        .await
        .unwrap();
    assert_eq!(house.runs().await, [run]);
    assert_eq!(house.engine.schedule("s").await.unwrap().due, due);
    house.clock.advance(10 * MINUTE);
    assert_eq!(
        house.tick().await,
        0,
        "the wish is still under way, and overlap says skip"
    );
    assert_eq!(house.outcomes().await, ["started", "skipped"]);
    house.engine.close().await;
}

#[tokio::test]
async fn a_range_is_made_up_for_one_by_one_and_each_tick_once() {
    let house = House::new(&[("job", JOB)]).await;
    house
        .put("0 * * * *", |s| {
            s.inputs = json!({ "day": "${{ run.scheduled_at }}" });
        })
        .await;
    let from = Timestamp(NOON.0 - 3 * 3_600_000);
    assert_eq!(
        house
            .engine
            .backfill_schedule("s", from, NOON, Permission::Submit)
            .await
            .unwrap(),
        4
    );
    for _ in 0..6 {
        house.tick().await;
        house.finish().await;
    }
    let mut days = Vec::new();
    for run in house.runs().await {
        let run = house.engine.run(run).await.unwrap();
        days.push(run.inputs.unwrap()["day"].as_str().unwrap().to_owned());
    }
    let hours = ["09", "10", "11", "12"].map(|h| format!("2026-07-02T{h}:00:00Z"));
    assert_eq!(days, hours);
    // The same range again: every tick has its run.
    house
        .engine
        .backfill_schedule("s", from, NOON, Permission::Submit)
        .await
        .unwrap();
    for _ in 0..6 {
        house.tick().await;
    }
    assert_eq!(house.runs().await.len(), 4);
    for (from, until) in [
        (NOON, from),
        (NOON, NOON.after(MINUTE)),
        (Timestamp(0), NOON),
    ] {
        let refused = house
            .engine
            .backfill_schedule("s", from, until, Permission::Submit)
            .await;
        assert!(
            matches!(
                refused,
                Err(EngineError::Schedule(ScheduleError::Range { .. }))
            ),
            "{refused:?}"
        );
    }
    house.engine.close().await;
}

#[tokio::test]
async fn schedules_of_definitions_come_change_and_go_with_them() {
    let with = |schedule: &str| format!("{JOB}schedule: {schedule}\n");
    let hourly = with("\"0 * * * *\"");
    let house = House::new(&[("job", &hourly)]).await;
    house.engine.adopt_schedules().await.unwrap();
    let view = house.engine.schedule("job").await.unwrap();
    assert!(view.is_defined);
    assert_eq!(view.due, Some(NOON.after(60 * MINUTE)));
    let refused = house
        .engine
        .put_schedule("job", view.schedule.clone(), None, Permission::Submit)
        .await;
    assert!(matches!(
        refused,
        Err(EngineError::Schedule(ScheduleError::Defined { .. }))
    ));
    assert!(house.engine.forget_schedule("job").await.is_err());
    house.engine.pause_schedule("job").await.unwrap();

    let twice = with("[{ name: day, cron: \"0 3 * * *\" }, { name: often, every: 90s }]");
    let other = House::open(&house.folder, &house.clock, &[("job", &twice)]).await;
    other.adopt_schedules().await.unwrap();
    let names: Vec<String> = other
        .schedules()
        .await
        .unwrap()
        .into_iter()
        .map(|s| s.id)
        .collect();
    assert_eq!(names, ["job.day", "job.often"]);

    let changed = with("{ name: day, cron: \"0 4 * * *\" }");
    let third = House::open(&house.folder, &house.clock, &[("job", &changed)]).await;
    third.pause_schedule("job.day").await.unwrap();
    third.adopt_schedules().await.unwrap();
    let all = third.schedules().await.unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].paused, "what is paused stays so");
    third.resume_schedule("job.day").await.unwrap();
    let due = third.schedule("job.day").await.unwrap().due;
    assert_eq!(
        due,
        Some(NOON.after(16 * 60 * MINUTE)),
        "at four in the morning"
    );

    // A process that does not know the workflow leaves its schedules alone.
    let stranger = House::open(&house.folder, &house.clock, &[]).await;
    stranger.adopt_schedules().await.unwrap();
    house.clock.advance(16 * 60 * MINUTE);
    assert_eq!(stranger.tick().await.unwrap().started, 0);
    assert_eq!(third.tick().await.unwrap().started, 1);
    for engine in [other, third, stranger] {
        engine.close().await;
    }
    house.engine.close().await;
}

#[tokio::test]
async fn inputs_that_the_workflow_refuses_are_refused_at_once_and_later_written_down() {
    let house = House::new(&[("job", JOB)]).await;
    let timing = Timing::parse("@every 1m", None).unwrap();
    let mut schedule = Schedule::new("job".parse().unwrap(), timing);
    schedule.inputs = json!({ "day": 7 });
    let refused = house
        .engine
        .put_schedule("s", schedule.clone(), None, Permission::Submit)
        .await;
    assert!(
        matches!(refused, Err(EngineError::Inputs { .. })),
        "{refused:?}"
    );
    schedule.inputs = json!({ "day": "${{ run.nonsense.more }}" });
    let refused = house
        .engine
        .put_schedule("s", schedule.clone(), None, Permission::Submit)
        .await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Schedule(ScheduleError::Inputs { .. }))
        ),
        "{refused:?}"
    );
    schedule.inputs = json!({ "day": "monday" });
    house
        .engine
        .put_schedule("s", schedule, None, Permission::Submit)
        .await
        .unwrap();
    // The definition moves on, and the schedule does not.
    let strict = JOB.replace("default: none", "maxLength: 3");
    let other = House::open(&house.folder, &house.clock, &[("job", &strict)]).await;
    house.clock.advance(MINUTE);
    assert_eq!(other.tick().await.unwrap().started, 0);
    assert_eq!(house.outcomes().await, ["refused"]);
    assert_eq!(
        other.tick().await.unwrap().moved,
        0,
        "it is tried again with its next tick only"
    );
    other.close().await;
    house.engine.close().await;
}

#[tokio::test]
async fn a_scheduler_of_a_process_begins_what_is_due_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let every = format!("{JOB}schedule: \"@every 1s\"\n");
    let engine = Engine::open(
        EngineConfig::new(folder.path()),
        library(&[("job", &every)]),
    )
    .await;
    let engine = engine.unwrap();
    let queue = QueueName::new("default").unwrap();
    let worker = engine
        .start_worker(WorkerConfig::new([(queue, 1)]))
        .await
        .unwrap();
    let mut changes = engine.changes();
    let scheduler = engine.start_scheduler(None);
    let done = async {
        loop {
            let runs = engine.runs(&RunFilter::default()).await.unwrap();
            if runs
                .iter()
                .filter(|r| r.state == RunState::Succeeded)
                .count()
                >= 3
            {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done)
        .await
        .unwrap();
    scheduler.stop().await;
    worker.stop().await;
    assert!(engine.check().await.unwrap().is_clean());
    engine.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64 * ProptestConfig::default().cases / 256, ..ProptestConfig::default() })]

    /// However late somebody looks: under `catch_up` with a wide window and `allow`, each due time
    /// gets exactly one run, in order.
    #[test]
    fn every_due_time_is_seen_to_once(
        steps in prop::collection::vec(0_u64..7_200, 1..12),
        jitter_s in 0_u64..200,
        period in prop::sample::select(vec!["*/7 * * * *", "@every 95s", "13 * * * *"]),
    ) {
        use aquatint_engine::schedule::{Standing, decide};
        let mut schedule = Schedule::new("job".parse().unwrap(), Timing::parse(period, None).unwrap());
        schedule.overlap = Overlap::Allow;
        schedule.misfire = Misfire::CatchUp;
        schedule.window_ms = 30 * 24 * 3_600_000;
        schedule.jitter_ms = jitter_s * 1_000;
        let clockwork = schedule.timing.clockwork(NOON).unwrap();
        let mut standing = Standing::new(&clockwork, NOON);
        let (mut now, mut started) = (NOON, Vec::new());
        for step in steps {
            now = now.after(Duration::from_secs(step));
            loop {
                let decision = decide(&schedule, "s", &clockwork, &standing, now, false);
                let is_done = decision.start.is_empty();
                started.extend(decision.start);
                standing = decision.standing;
                if is_done {
                    break;
                }
            }
        }
        let next = standing.due.unwrap();
        let expected: Vec<Timestamp> = clockwork.upcoming(NOON, 10_000).into_iter()
            .take_while(|due| *due < next).collect();
        prop_assert_eq!(&started, &expected);
        prop_assert!(schedule.fires_at("s", next) > now);
        for due in expected {
            prop_assert!(schedule.fires_at("s", due) <= now);
        }
    }
}
