//! Every decision about a run, as tables: states and facts in, states and effects out.
#![expect(clippy::unwrap_used, reason = "tests")]

mod actions;
mod desk;
mod fan;
mod places;

use std::time::Duration;

use aquatint_engine::run::{AttemptOutcome, RunState, TaskKey, TaskState};
use aquatint_engine::task::TaskError;
use aquatint_engine::transition::{Effect, MAX_LOSSES, Outcome, Proof, TransitionError};
use desk::{Desk, fatal, lost, retryable, succeeded};

const ONE: &str = "name: one
steps:
  a: { task: t, retry: { attempts: 2, delay: 1s, backoff: fixed, jitter: false } }
  b: { task: t, needs: [a] }
";

/// What an attempt can report of a step that is neither mapped nor a sub-workflow,
/// and what becomes of a `Running` task with one more try.
fn facts() -> Vec<(&'static str, Outcome, TaskState)> {
    let failed = |outcome, error| Outcome::Failed { outcome, error };
    vec![
        ("succeeded", succeeded(), TaskState::Succeeded),
        ("skipped", Outcome::Skipped, TaskState::Skipped),
        ("failed, worth a try", retryable(), TaskState::Retrying),
        ("failed for good", fatal(), TaskState::Failed),
        (
            "timed out",
            failed(
                AttemptOutcome::TimedOut,
                TaskError::retryable("timeout", "late"),
            ),
            TaskState::Retrying,
        ),
        (
            "panicked",
            failed(AttemptOutcome::Failed, TaskError::retryable("panic", "oh")),
            TaskState::Retrying,
        ),
        ("lost", lost(), TaskState::Retrying),
        (
            "told to stop",
            failed(AttemptOutcome::Failed, TaskError::cancelled()),
            TaskState::Failed,
        ),
        ("released", Outcome::Released, TaskState::Ready),
    ]
}

#[test]
fn every_pair_of_state_and_fact_follows_the_table_or_changes_nothing() {
    for &state in TaskState::ALL {
        for (fact, outcome, becomes) in facts() {
            for (proof, is_holder) in [(7, true), (8, false)] {
                let mut desk = Desk::new(ONE);
                desk.claim("a", TaskKey::WHOLE);
                let row = desk.rows.get_mut(&(0, TaskKey::WHOLE)).unwrap();
                // Even a token that somebody forgot to clear opens nothing but `Running`.
                row.state = state;
                row.token = Some(7);
                let before = (desk.rows.clone(), desk.run.clone());
                let result = desk.settle("a", TaskKey::WHOLE, proof, outcome.clone());
                if state == TaskState::Running && is_holder {
                    result.unwrap_or_else(|e| panic!("{state} + {fact}: {e}"));
                    assert_eq!(desk.row("a").state, becomes, "{state} + {fact}");
                    assert_eq!(
                        desk.row("a").token,
                        None,
                        "{state} + {fact}: the token is spent"
                    );
                } else {
                    assert_eq!(
                        result,
                        Err(TransitionError::Stale {
                            state: state.as_str()
                        }),
                        "{state} + {fact}, token {proof}"
                    );
                    assert_eq!(
                        (desk.rows, desk.run),
                        before,
                        "{state} + {fact}, token {proof}: nothing has changed"
                    );
                }
            }
        }
    }
}

#[test]
fn no_report_counts_once_its_run_has_ended() {
    for &state in RunState::ALL {
        for (fact, outcome, _) in facts() {
            let mut desk = Desk::new(ONE);
            let token = desk.claim("a", TaskKey::WHOLE);
            desk.run.state = state;
            let result = desk.settle("a", TaskKey::WHOLE, token, outcome);
            assert_eq!(
                result.is_ok(),
                !state.is_terminal(),
                "a report of `{fact}` to a run that is {state}: {result:?}"
            );
        }
    }
}

#[test]
fn a_report_counts_once() {
    for (fact, outcome, _) in facts() {
        let mut desk = Desk::new(ONE);
        let token = desk.claim("a", TaskKey::WHOLE);
        desk.settle("a", TaskKey::WHOLE, token, outcome.clone())
            .unwrap();
        let before = (desk.rows.clone(), desk.run.clone());
        let again = desk.settle("a", TaskKey::WHOLE, token, outcome);
        assert!(
            matches!(again, Err(TransitionError::Stale { .. })),
            "`{fact}`, twice: {again:?}"
        );
        assert_eq!((desk.rows, desk.run), before);
    }
}

#[test]
fn a_report_from_an_earlier_lease_changes_nothing() {
    let mut desk = Desk::new(ONE);
    let first = desk.claim("a", TaskKey::WHOLE);
    desk.settle("a", TaskKey::WHOLE, first, lost()).unwrap();
    let second = desk.claim("a", TaskKey::WHOLE);
    assert!(
        desk.settle("a", TaskKey::WHOLE, first, succeeded())
            .is_err()
    );
    assert_eq!(
        (desk.row("a").state, desk.row("b").state),
        (TaskState::Running, TaskState::Blocked)
    );
    desk.settle("a", TaskKey::WHOLE, second, succeeded())
        .unwrap();
    assert_eq!(desk.row("b").state, TaskState::Ready);
}

#[test]
fn every_ending_but_success_leaves_its_attempt_behind_and_success_is_told_by_the_task() {
    let mut desk = Desk::new(ONE);
    desk.step("a", Outcome::Released);
    desk.step("a", lost());
    desk.step("a", retryable());
    desk.rows.get_mut(&(0, TaskKey::WHOLE)).unwrap().held = Default::default();
    desk.step("a", succeeded());
    let attempts: Vec<_> = desk
        .attempts
        .iter()
        .map(|a| (a.attempt, a.outcome))
        .collect();
    let expected = [
        (1, AttemptOutcome::Released),
        (2, AttemptOutcome::Lost),
        (3, AttemptOutcome::Failed),
    ];
    assert_eq!(attempts, expected);
    let row = desk.row("a");
    assert_eq!((row.state, row.attempt), (TaskState::Succeeded, 4));
}

#[test]
fn what_a_shutdown_gives_back_is_not_counted_as_a_try() {
    let mut desk = Desk::new(ONE);
    for _ in 0..10 {
        desk.step("a", Outcome::Released);
    }
    let row = desk.row("a");
    assert_eq!(
        (row.state, row.attempt, row.tries, row.losses),
        (TaskState::Ready, 10, 0, 0)
    );
    desk.step("a", retryable());
    assert_eq!(
        desk.row("a").state,
        TaskState::Retrying,
        "it has its two tries still"
    );
}

#[test]
fn a_task_that_loses_three_workers_is_quarantined_whatever_its_tries() {
    for attempts in [1, 50] {
        let definition =
            format!("name: one\nsteps:\n  a: {{ task: t, retry: {{ attempts: {attempts} }} }}\n");
        let mut desk = Desk::new(&definition);
        for n in 1..MAX_LOSSES {
            desk.step("a", lost());
            let row = desk.row("a");
            assert_eq!(
                (row.state, row.losses, row.tries),
                (TaskState::Retrying, n, 0),
                "a loss is nobody's failed try"
            );
            assert_eq!(row.due_at, desk.now, "another worker may begin at once");
        }
        desk.step("a", lost());
        assert_eq!(
            (desk.row("a").state, desk.run.state),
            (TaskState::Failed, RunState::Failed)
        );
        let failure = desk.run.failure.clone().unwrap();
        assert_eq!(
            (failure.class.as_str(), failure.outcome),
            ("quarantined", AttemptOutcome::Lost)
        );
        assert!(failure.message.contains("3 workers"), "{}", failure.message);
    }
}

#[test]
fn losses_and_tries_have_budgets_of_their_own() {
    let mut desk = Desk::new(ONE);
    desk.step("a", lost());
    desk.step("a", lost());
    desk.step("a", retryable());
    assert_eq!(
        desk.row("a").state,
        TaskState::Retrying,
        "two losses took none of the two tries"
    );
}

#[test]
fn the_wait_before_the_next_try_follows_the_policy() {
    let second = 1_000;
    for (policy, waits_ms) in [
        ("backoff: fixed, delay: 2s", vec![2 * second; 4]),
        (
            "backoff: linear, delay: 2s",
            vec![2 * second, 4 * second, 6 * second, 8 * second],
        ),
        (
            "backoff: exponential, delay: 2s",
            vec![2 * second, 4 * second, 8 * second, 16 * second],
        ),
        (
            "backoff: exponential, delay: 2s, max_delay: 5s",
            vec![2 * second, 4 * second, 5 * second, 5 * second],
        ),
    ] {
        let definition = format!(
            "name: one\nsteps:\n  a: {{ task: t, retry: {{ attempts: 5, jitter: false, {policy} }} }}\n"
        );
        let mut desk = Desk::new(&definition);
        for wait_ms in waits_ms {
            desk.step("a", retryable());
            let row = desk.row("a");
            assert_eq!(
                (row.state, row.due_at.since_ms(desk.now)),
                (TaskState::Retrying, wait_ms),
                "{policy}"
            );
            assert!(row.held.any(), "nobody may claim it before it is due");
            assert!(
                desk.effects.contains(&Effect::WakeAt { at: row.due_at }),
                "somebody must be told when"
            );
            desk.now = row.due_at;
            desk.rows.get_mut(&(0, TaskKey::WHOLE)).unwrap().held = Default::default();
        }
        desk.step("a", retryable());
        assert_eq!(
            desk.row("a").state,
            TaskState::Failed,
            "the fifth try was the last"
        );
    }
}

#[test]
fn a_service_that_names_its_wait_is_given_that_wait_or_ours_if_longer() {
    for (asked_ms, wait_ms) in [(5_000, 5_000), (10, 1_000)] {
        let mut desk = Desk::new(ONE);
        let error = TaskError::retry_after(Duration::from_millis(asked_ms), "rate_limit", "later");
        desk.step(
            "a",
            Outcome::Failed {
                outcome: AttemptOutcome::Failed,
                error,
            },
        );
        assert_eq!(desk.row("a").due_at.since_ms(desk.now), wait_ms);
    }
}

#[test]
fn an_error_class_that_the_policy_does_not_name_is_final() {
    let definition = "name: one\nsteps:\n  a: { task: t, retry: { attempts: 9, on: [network] } }\n";
    for (class, becomes) in [
        ("network", TaskState::Retrying),
        ("other", TaskState::Failed),
    ] {
        let mut desk = Desk::new(definition);
        let error = TaskError::retryable(class, "hm");
        desk.step(
            "a",
            Outcome::Failed {
                outcome: AttemptOutcome::Failed,
                error,
            },
        );
        assert_eq!(desk.row("a").state, becomes, "{class}");
    }
}

#[test]
fn only_the_child_that_was_begun_last_may_answer_for_its_step() {
    use aquatint_engine::run::RunOptions;
    let definition =
        "name: one\nsteps:\n  a: { workflow: other, retry: { attempts: 2, delay: 0s } }\n";
    let mut desk = Desk::new(definition);
    let other = desk::plan("name: other\nsteps:\n  x: { task: t }\n");
    let mut children = Vec::new();
    for attempt in 1..=2 {
        let child = desk::new_run(&other, RunOptions::default());
        children.push((child.id, attempt));
        let token = desk.claim("a", TaskKey::WHOLE);
        desk.settle(
            "a",
            TaskKey::WHOLE,
            token,
            Outcome::Delegated(Box::new(child)),
        )
        .unwrap();
        assert!(
            desk.settle("a", TaskKey::WHOLE, token, succeeded())
                .is_err(),
            "the token went with the work"
        );
        if attempt == 1 {
            let mut failed = desk.settlement("a", TaskKey::WHOLE, 0, retryable());
            failed.proof = Proof::Child {
                run: children[0].0,
                attempt: 1,
            };
            desk.deliver(&failed).unwrap();
        }
    }
    let mut answer = desk.settlement("a", TaskKey::WHOLE, 0, succeeded());
    for (run, attempt, counts) in [
        (children[0].0, 1, false),
        (children[1].0, 1, false),
        (children[1].0, 2, true),
    ] {
        answer.proof = Proof::Child { run, attempt };
        assert_eq!(desk.deliver(&answer).is_ok(), counts);
    }
    assert_eq!(desk.run.state, RunState::Succeeded);
}
