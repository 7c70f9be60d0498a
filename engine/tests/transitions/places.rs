//! Limits on how much of a run goes on at a time: `max_parallel` of a step, of a run, of both.

use std::collections::VecDeque;

use aquatint_engine::run::{RunState, TaskKey, TaskState};
use aquatint_engine::transition::Outcome;

use super::desk::{Desk, fatal, items, retryable, succeeded};

/// Plays a run to its end, as many tasks at a time as it allows, and returns the most that ran at once.
fn play(desk: &mut Desk, mut outcome: impl FnMut(&str, i32) -> Outcome) -> usize {
    let mut running: VecDeque<(String, i32, i64)> = VecDeque::new();
    let mut most = 0;
    for _ in 0..10_000 {
        for (step, item) in desk.claimable() {
            let token = desk.claim(&step, item);
            running.push_back((step, item, token));
        }
        let is_work = |(step, item, token): &&(String, i32, i64)| {
            let is_alive = desk.rows[&(desk.index(step), *item)].token == Some(*token);
            is_alive && (*item >= 0 || desk.plan.steps[desk.index(step) as usize].map.is_none())
        };
        most = most.max(running.iter().filter(is_work).count());
        let Some((step, item, token)) = running.pop_front() else {
            break;
        };
        let is_map =
            item == TaskKey::WHOLE && desk.plan.steps[desk.index(&step) as usize].map.is_some();
        let outcome = if is_map {
            items(7)
        } else {
            outcome(&step, item)
        };
        // What a failure has cancelled meanwhile is refused, and that is right.
        let _ = desk.settle(&step, item, token, outcome);
    }
    assert!(
        desk.run.state.is_terminal(),
        "stuck: {:#?} {:?}",
        desk.run,
        desk.states()
    );
    most
}

#[test]
fn a_step_limit_bounds_its_items_and_all_of_them_run() {
    let definition = "name: l\nsteps:\n  each: { task: t, foreach: '${{ [1] }}', max_parallel: 3 }\n  free: { task: t, foreach: '${{ [1] }}' }\n";
    let mut desk = Desk::new(definition);
    assert!(play(&mut desk, |_, _| succeeded()) <= 3 + 7);
    assert_eq!(desk.run.state, RunState::Succeeded);
    assert_eq!(desk.row("each").waiting, 0);
}

#[test]
fn a_run_limit_bounds_all_steps_together() {
    let definition = "name: l
max_parallel: 2
steps:
  each: { task: t, foreach: '${{ [1] }}' }
  few: { task: t, foreach: '${{ [1] }}', max_parallel: 3 }
  one: { task: t }
  last: { task: t, needs: [each, few, one] }
";
    let mut desk = Desk::new(definition);
    assert_eq!(play(&mut desk, |_, _| succeeded()), 2);
    assert_eq!(
        (desk.run.state, desk.run.active, desk.run.waiting),
        (RunState::Succeeded, 0, 0)
    );
}

#[test]
fn a_task_that_waits_to_be_tried_again_keeps_its_place() {
    let mut desk = Desk::new(
        "name: l\nmax_parallel: 1\nsteps:\n  a: { task: t, retry: { attempts: 3, delay: 0s } }\n  b: { task: t }\n",
    );
    desk.step("a", retryable());
    assert_eq!(desk.claimable(), [("a".to_owned(), TaskKey::WHOLE)]);
    desk.step("a", Outcome::Released);
    assert_eq!(
        desk.claimable(),
        [("a".to_owned(), TaskKey::WHOLE)],
        "and so does one that was given back"
    );
    desk.step("a", succeeded());
    assert_eq!(desk.claimable(), [("b".to_owned(), TaskKey::WHOLE)]);
}

#[test]
fn items_that_a_tolerated_failure_cancels_give_their_places_back() {
    for policy in ["continue", "skip"] {
        let definition = format!(
            "name: l
max_parallel: 2
steps:
  each: {{ task: t, foreach: '${{{{ [1] }}}}', fail: fast, on_failure: {policy} }}
  few: {{ task: t, foreach: '${{{{ [1] }}}}', fail: fast, on_failure: {policy}, max_parallel: 2 }}
  after: {{ task: t, needs: [each] }}
  other: {{ task: t }}
  more: {{ task: t, foreach: '${{{{ [1] }}}}' }}
  last: {{ task: t, needs: [other, more] }}
"
        );
        let mut desk = Desk::new(&definition);
        let most = play(&mut desk, |step, item| {
            if matches!(step, "each" | "few") && item == 1 {
                fatal()
            } else {
                succeeded()
            }
        });
        assert_eq!((desk.run.state, most), (RunState::Succeeded, 2), "{policy}");
        assert_eq!(
            (desk.run.active, desk.run.waiting),
            (0, 0),
            "{policy}: every place was given back"
        );
        assert_eq!(desk.row("each").state, TaskState::Failed);
    }
}

#[test]
fn a_manual_retry_keeps_to_the_limits() {
    let definition = "name: l
max_parallel: 2
steps:
  each: { task: t, foreach: '${{ [1] }}' }
  few: { task: t, foreach: '${{ [1] }}' }
  last: { task: t, needs: [each, few] }
";
    let mut desk = Desk::new(definition);
    desk.step("each", items(7));
    desk.step("few", items(7));
    desk.play("each", 0, succeeded());
    desk.play("each", 1, fatal());
    assert_eq!(desk.run.state, RunState::Failed);
    desk.act(|w, now| w.retry(false, now)).unwrap();
    assert_eq!(play(&mut desk, |_, _| succeeded()), 2);
    assert_eq!(
        (desk.run.state, desk.run.active, desk.run.waiting),
        (RunState::Succeeded, 0, 0)
    );
}
