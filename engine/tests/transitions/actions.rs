//! What people and time do to a run, in each of its states.

use aquatint_engine::run::{Held, RunOptions, RunState, TaskKey, TaskState};
use aquatint_engine::time::Timestamp;
use aquatint_engine::transition::{Effect, TransitionError, Workset};

use super::desk::{Desk, fatal, items, succeeded};

const CHAIN: &str = "name: chain
timeout: 1h
steps:
  a: { task: t }
  b: { task: t, needs: [a] }
  c: { task: t, needs: [b] }
";

type Action = fn(&mut Workset, Timestamp) -> Result<(), TransitionError>;
/// From which states it leads to which.
type Moves = &'static [(RunState, RunState)];

#[test]
fn every_action_is_allowed_in_exactly_the_states_where_it_means_something() {
    use RunState::{Cancelled, Failed, Pending, Running};
    let actions: [(&str, Action, Moves); 5] = [
        (
            "cancel",
            Workset::cancel,
            &[(Pending, Cancelled), (Running, Cancelled)],
        ),
        (
            "time out",
            Workset::expire,
            &[(Pending, Failed), (Running, Failed)],
        ),
        (
            "pause",
            Workset::pause,
            &[(Pending, Pending), (Running, Running)],
        ),
        (
            "resume",
            Workset::resume,
            &[(Pending, Pending), (Running, Running)],
        ),
        (
            "retry",
            |w, now| w.retry(false, now),
            &[(Failed, Running), (Cancelled, Running)],
        ),
    ];
    for (name, action, legal) in actions {
        for &from in RunState::ALL {
            let mut desk = in_state(from);
            let before = (desk.rows.clone(), desk.run.clone());
            let result = desk.act(action);
            match legal.iter().find(|(state, _)| *state == from) {
                Some((_, to)) => {
                    result.unwrap_or_else(|e| panic!("{name} a run that is {from}: {e}"));
                    assert_eq!(desk.run.state, *to, "{name} a run that is {from}");
                }
                None => {
                    assert_eq!(
                        result,
                        Err(TransitionError::Illegal {
                            action: name,
                            state: from
                        })
                    );
                    assert_eq!(
                        (desk.rows, desk.run),
                        before,
                        "{name} a run that is {from}: nothing has changed"
                    );
                }
            }
        }
    }
}

fn in_state(state: RunState) -> Desk {
    let mut desk = Desk::new(CHAIN);
    match state {
        RunState::Pending => {}
        RunState::Running => desk.step("a", succeeded()),
        RunState::Succeeded => ["a", "b", "c"]
            .into_iter()
            .for_each(|s| desk.step(s, succeeded())),
        RunState::Failed => {
            desk.step("a", succeeded());
            desk.step("b", fatal());
        }
        RunState::Cancelled => {
            desk.step("a", succeeded());
            desk.act(Workset::cancel).unwrap();
        }
    }
    assert_eq!(desk.run.state, state);
    desk
}

#[test]
fn cancelling_ends_all_that_has_not_ended_and_nothing_that_has() {
    let mut desk = Desk::new(CHAIN);
    desk.step("a", succeeded());
    let token = desk.claim("b", TaskKey::WHOLE);
    desk.act(Workset::cancel).unwrap();
    let states: Vec<_> = desk.states().into_iter().map(|(_, s)| s).collect();
    assert_eq!(
        states,
        [
            TaskState::Succeeded,
            TaskState::Cancelled,
            TaskState::Cancelled
        ]
    );
    assert_eq!((desk.run.open, desk.run.finished_at), (0, Some(desk.now)));
    assert!(
        desk.settle("b", TaskKey::WHOLE, token, succeeded())
            .is_err(),
        "what still ran can report nothing"
    );
}

#[test]
fn a_run_that_fails_cancels_the_rest_at_once() {
    let definition =
        "name: wide\nsteps:\n  a: { task: t }\n  b: { task: t }\n  c: { task: t, needs: [a, b] }\n";
    let mut desk = Desk::new(definition);
    let other = desk.claim("b", TaskKey::WHOLE);
    desk.step("a", fatal());
    let states: Vec<_> = desk.states().into_iter().map(|(_, s)| s).collect();
    assert_eq!(
        states,
        [
            TaskState::Failed,
            TaskState::Cancelled,
            TaskState::Cancelled
        ]
    );
    assert_eq!((desk.run.state, desk.run.open), (RunState::Failed, 0));
    assert!(
        desk.settle("b", TaskKey::WHOLE, other, succeeded())
            .is_err()
    );
}

const ALARM: &str = "name: alarm
steps:
  a: { task: t }
  b: { task: t, needs: [a] }
on_failure: { task: t }
";

#[test]
fn the_last_word_is_had_once_and_only_when_the_run_fails() {
    let mut good = Desk::new(ALARM);
    good.step("a", succeeded());
    good.step("b", succeeded());
    assert_eq!(
        (good.run.state, good.row("on_failure").state),
        (RunState::Succeeded, TaskState::Skipped)
    );

    for last in [succeeded(), fatal()] {
        let mut bad = Desk::new(ALARM);
        bad.step("a", fatal());
        assert_eq!(
            (bad.run.state, bad.run.open),
            (RunState::Running, 1),
            "it runs before the run has ended"
        );
        assert_eq!(bad.claimable(), [("on_failure".to_owned(), TaskKey::WHOLE)]);
        bad.step("on_failure", last);
        assert_eq!(
            bad.run.state,
            RunState::Failed,
            "its own outcome changes nothing"
        );
        assert_eq!(
            bad.run
                .failure
                .as_ref()
                .unwrap()
                .step
                .as_ref()
                .unwrap()
                .as_str(),
            "a"
        );
    }
}

#[test]
fn a_run_whose_time_is_up_has_its_last_word_once() {
    let mut desk = Desk::new(&ALARM.replace("steps:", "timeout: 1m\nsteps:"));
    desk.step("a", succeeded());
    desk.act(Workset::expire).unwrap();
    let token = desk.claim("on_failure", TaskKey::WHOLE);
    let again = desk.act(Workset::expire);
    assert!(
        again.is_err(),
        "it has failed already: a second look must not begin the last word again"
    );
    desk.settle("on_failure", TaskKey::WHOLE, token, succeeded())
        .unwrap();
    assert_eq!(desk.run.failure.as_ref().unwrap().class, "timeout");
    assert_eq!(desk.run.state, RunState::Failed);
}

#[test]
fn a_failed_run_keeps_its_reason_when_its_time_is_up_during_the_last_word() {
    let mut desk = Desk::new(&ALARM.replace("steps:", "timeout: 1m\nsteps:"));
    desk.step("a", fatal());
    let token = desk.claim("on_failure", TaskKey::WHOLE);
    assert!(desk.act(Workset::expire).is_err());
    desk.settle("on_failure", TaskKey::WHOLE, token, succeeded())
        .unwrap();
    assert_eq!(desk.run.failure.as_ref().unwrap().class, "test");
}

#[test]
fn a_manual_retry_goes_on_from_what_failed_and_keeps_what_stands() {
    let mut desk = in_state(RunState::Failed);
    desk.act(|w, now| w.retry(false, now)).unwrap();
    assert_eq!(
        (desk.run.generation, desk.run.open, desk.run.failure.clone()),
        (1, 2, None)
    );
    let states: Vec<_> = desk.states().into_iter().map(|(_, s)| s).collect();
    assert_eq!(
        states,
        [TaskState::Succeeded, TaskState::Ready, TaskState::Blocked]
    );
    desk.step("b", succeeded());
    desk.step("c", succeeded());
    assert_eq!(desk.run.state, RunState::Succeeded);
    assert_eq!(
        desk.row("b").attempt,
        2,
        "attempts are counted on, never from the start"
    );
}

#[test]
fn a_manual_retry_gives_tries_and_losses_back() {
    let mut desk =
        Desk::new("name: one\nsteps:\n  a: { task: t, retry: { attempts: 2, delay: 0s } }\n");
    for generation in 1..=3 {
        for _ in 0..2 {
            desk.step("a", super::retryable());
        }
        assert_eq!(desk.run.state, RunState::Failed);
        desk.act(|w, now| w.retry(false, now)).unwrap();
        assert_eq!((desk.run.generation, desk.row("a").tries), (generation, 0));
    }
}

#[test]
fn a_manual_retry_of_a_wide_run_repeats_only_what_did_not_end_well() {
    let definition = "name: wide
steps:
  a: { task: t }
  b: { task: t }
  c: { task: t, on_failure: continue }
  d: { task: t, needs: [a, b, c] }
  e: { task: t, needs: [a] }
  f: { task: t, needs: [d, e] }
";
    let mut desk = Desk::new(definition);
    desk.step("a", succeeded());
    desk.step("c", fatal());
    desk.step("e", succeeded());
    desk.step("b", fatal());
    desk.act(|w, now| w.retry(false, now)).unwrap();
    assert_eq!(desk.run.open, 3, "b, d and f");
    assert_eq!(desk.claimable(), [("b".to_owned(), TaskKey::WHOLE)]);
    assert_eq!(
        (desk.row("d").pending, desk.row("f").pending),
        (1, 1),
        "each waits for what is repeated, no more"
    );
    assert_eq!(
        desk.row("c").state,
        TaskState::Failed,
        "a failure that was tolerated stands"
    );
    desk.step("b", succeeded());
    desk.step("d", succeeded());
    desk.step("f", succeeded());
    assert_eq!(desk.run.state, RunState::Succeeded);
}

const MAPPED: &str = "name: mapped
steps:
  each: { task: t, foreach: '${{ [1] }}', max_parallel: 2 }
  after: { task: t, needs: [each] }
";

#[test]
fn a_manual_retry_of_a_mapped_step_repeats_only_the_items_it_lacks() {
    let mut desk = Desk::new(MAPPED);
    desk.step("each", items(6));
    desk.play("each", 0, succeeded());
    desk.play("each", 1, succeeded());
    desk.play("each", 2, fatal());
    assert_eq!(desk.run.state, RunState::Failed);
    desk.act(|w, now| w.retry(false, now)).unwrap();
    let each = desk.row("each");
    assert_eq!(
        (each.state, each.open, each.failed, each.waiting),
        (TaskState::Running, 4, 0, 2)
    );
    assert_eq!(
        desk.claimable(),
        [("each".to_owned(), 2), ("each".to_owned(), 3)]
    );
    for item in 2..6 {
        desk.play("each", item, succeeded());
    }
    desk.step("after", succeeded());
    assert_eq!(desk.run.state, RunState::Succeeded);
}

#[test]
fn a_manual_retry_of_a_cancelled_mapped_step_finishes_its_items() {
    let mut desk = Desk::new(MAPPED);
    desk.step("each", items(3));
    desk.play("each", 0, succeeded());
    desk.claim("each", 1);
    desk.act(Workset::cancel).unwrap();
    desk.act(|w, now| w.retry(false, now)).unwrap();
    assert_eq!(desk.row("each").open, 2);
    desk.play("each", 1, succeeded());
    desk.play("each", 2, succeeded());
    assert_eq!(desk.row("after").state, TaskState::Ready);
}

#[test]
fn a_retried_run_waits_when_another_holds_its_concurrency_key() {
    let held = |desk: &Desk| {
        desk.rows
            .values()
            .filter(|r| r.held.0 & Held::CONCURRENCY != 0)
            .count()
    };
    let mut plain = in_state(RunState::Failed);
    plain.act(|w, now| w.retry(true, now)).unwrap();
    assert_eq!((plain.claimable().len(), held(&plain)), (0, 1));

    let mut mapped = Desk::new(MAPPED);
    mapped.step("each", items(5));
    mapped.play("each", 0, fatal());
    mapped.act(|w, now| w.retry(true, now)).unwrap();
    assert_eq!(
        mapped.claimable(),
        [],
        "a mapped step that goes on waits too"
    );
    assert!(held(&mapped) > 0);
}

#[test]
fn a_paused_run_readies_nothing_claimable() {
    let mut desk = Desk::new(CHAIN);
    let token = desk.claim("a", TaskKey::WHOLE);
    desk.act(Workset::pause).unwrap();
    desk.settle("a", TaskKey::WHOLE, token, succeeded())
        .unwrap();
    assert_eq!(
        (desk.row("b").state, desk.row("b").held),
        (TaskState::Ready, Held(Held::PAUSED))
    );
    assert!(
        !desk
            .effects
            .iter()
            .any(|e| matches!(e, Effect::Ring { .. })),
        "there is nothing to ring for"
    );
}

#[test]
fn a_run_that_must_wait_for_its_key_begins_held_and_hands_the_key_on_at_its_end() {
    let options = || RunOptions {
        concurrency_key: Some("k".into()),
        ..RunOptions::default()
    };
    let waiting = Desk::submitted(CHAIN, options(), true);
    assert_eq!(
        (waiting.claimable().len(), waiting.row("a").held),
        (0, Held(Held::CONCURRENCY))
    );

    let ends: [fn(&mut Desk); 3] = [
        |d| {
            ["a", "b", "c"]
                .into_iter()
                .for_each(|s| d.step(s, succeeded()));
        },
        |d| d.step("a", fatal()),
        |d| d.act(Workset::cancel).unwrap(),
    ];
    for end in ends {
        let mut desk = Desk::submitted(CHAIN, options(), false);
        end(&mut desk);
        assert_eq!(
            desk.effects
                .iter()
                .filter(|e| **e == Effect::ReleaseConcurrency)
                .count(),
            1
        );
    }
}
