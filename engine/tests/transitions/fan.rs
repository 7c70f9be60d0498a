//! Fan-out, fan-in, and failures that are tolerated.

use aquatint_engine::run::{EventKind, RunState, TaskKey, TaskState};
use aquatint_engine::transition::{Effect, Outcome};

use super::desk::{Desk, fatal, items, retryable, succeeded};

#[test]
fn a_join_becomes_ready_once_whatever_the_order_of_its_predecessors() {
    let definition = "name: join\nsteps:\n  a: { task: t }\n  b: { task: t }\n  c: { task: t }\n  j: { task: t, needs: [a, b, c] }\n";
    for order in [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]] {
        let mut desk = Desk::new(definition);
        for (n, step) in order.into_iter().enumerate() {
            assert_eq!(
                (desk.row("j").state, desk.row("j").pending),
                (TaskState::Blocked, 3 - i64::try_from(n).unwrap())
            );
            desk.step(step, succeeded());
        }
        assert_eq!(desk.row("j").state, TaskState::Ready);
        desk.step("j", succeeded());
        assert_eq!(desk.run.state, RunState::Succeeded);
    }
}

#[test]
fn a_long_chain_and_a_wide_fan_in_touch_only_the_rows_next_to_them() {
    let mut definition = "name: wide\nsteps:\n".to_owned();
    for n in 0..200 {
        definition.push_str(&format!("  s{n}: {{ task: t }}\n"));
    }
    let all: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
    definition.push_str(&format!(
        "  join: {{ task: t, needs: [{}] }}\n",
        all.join(", ")
    ));
    let desk = Desk::new(&definition);
    let settlement = desk.settlement("s7", TaskKey::WHOLE, 1, succeeded());
    let rows = aquatint_engine::transition::rows_for(&desk.plan, &settlement).unwrap();
    assert_eq!(rows, [(7, TaskKey::WHOLE), (200, TaskKey::WHOLE)]);
}

const CASCADE: &str = "name: cascade
steps:
  bad: { task: t, on_failure: POLICY }
  next: { task: t, needs: [bad] }
  far: { task: t, needs: [next] }
  side: { task: t }
  both: { task: t, needs: [far, side] }
outputs: { both: '${{ steps.both }}' }
";

#[test]
fn a_failure_that_skips_skips_all_that_follows_and_the_outputs_are_still_gathered() {
    let mut desk = Desk::new(&CASCADE.replace("POLICY", "skip"));
    desk.step("bad", fatal());
    for skipped in ["next", "far", "both"] {
        assert_eq!(desk.row(skipped).state, TaskState::Skipped, "{skipped}");
    }
    assert_eq!(desk.run.open, 2, "the side step and the outputs");
    desk.step("side", succeeded());
    desk.step("outputs", succeeded());
    assert_eq!(desk.run.state, RunState::Succeeded);
    let skipped = desk
        .events
        .iter()
        .filter(|e| matches!(e.kind, EventKind::TaskSkipped { .. }))
        .count();
    assert_eq!(skipped, 3, "each is told once");
}

#[test]
fn the_outputs_are_gathered_last_even_when_the_last_step_is_skipped_early() {
    let definition = "name: early
steps:
  bad: { task: t, on_failure: skip }
  slow: { task: t }
  last: { task: t, needs: [bad, slow] }
outputs: { slow: '${{ steps.slow }}' }
";
    let mut desk = Desk::new(definition);
    desk.step("bad", fatal());
    assert_eq!(
        (desk.row("last").state, desk.row("outputs").state),
        (TaskState::Skipped, TaskState::Blocked),
        "what the outputs name is still under way"
    );
    desk.step("slow", succeeded());
    desk.step("outputs", succeeded());
    assert_eq!(desk.run.state, RunState::Succeeded);
}

#[test]
fn a_failure_that_skips_reaches_a_step_by_two_ways_and_counts_it_once() {
    let definition = "name: twice
steps:
  bad: { task: t, on_failure: skip }
  l: { task: t, needs: [bad] }
  r: { task: t, needs: [bad] }
  end: { task: t, needs: [l, r] }
  other: { task: t, on_failure: skip }
  end2: { task: t, needs: [other, end] }
";
    let mut desk = Desk::new(definition);
    desk.step("bad", fatal());
    assert_eq!(desk.run.open, 1);
    desk.step("other", fatal());
    assert_eq!((desk.run.open, desk.run.state), (0, RunState::Succeeded));
}

#[test]
fn a_failure_that_is_passed_over_satisfies_what_follows() {
    let mut desk = Desk::new(&CASCADE.replace("POLICY", "continue"));
    desk.step("bad", fatal());
    assert_eq!(
        (desk.row("bad").state, desk.row("next").state),
        (TaskState::Failed, TaskState::Ready)
    );
    for step in ["next", "far", "side", "both"] {
        desk.step(step, succeeded());
    }
    // The last step alone follows everything and always runs: it gathers the outputs itself.
    assert_eq!(
        (desk.plan.sink, desk.run.state),
        (Some(desk.index("both")), RunState::Succeeded)
    );
}

#[test]
fn what_the_last_step_gathers_is_the_runs_output_and_nobody_elses_word_is() {
    let definition = "name: one\nsteps:\n  a: { task: t }\n  b: { task: t, needs: [a] }\noutputs: { x: '${{ steps.b }}' }\n";
    let mut desk = Desk::new(definition);
    for (step, expected) in [("a", None), ("b", Some("{\"x\":2}"))] {
        let token = desk.claim(step, TaskKey::WHOLE);
        let mut settlement = desk.settlement(step, TaskKey::WHOLE, token, succeeded());
        settlement.run_output = Some("{\"x\":2}".into());
        desk.deliver(&settlement).unwrap();
        assert_eq!(desk.run.output.as_deref(), expected, "after {step}");
    }
}

const EACH: &str = "name: each
steps:
  each: { task: t, foreach: '${{ [1] }}', fail: MODE, retry: { attempts: 2, delay: 0s } }
  after: { task: t, needs: [each] }
";

#[test]
fn a_step_mapped_over_nothing_has_ended() {
    let mut desk = Desk::new(&EACH.replace("MODE", "fast"));
    desk.step("each", items(0));
    assert_eq!(
        (desk.row("each").state, desk.row("after").state),
        (TaskState::Succeeded, TaskState::Ready)
    );
}

#[test]
fn the_last_item_ends_its_step_whatever_the_order() {
    let mut desk = Desk::new(&EACH.replace("MODE", "fast"));
    desk.step("each", items(4));
    for (n, item) in [2, 0, 3, 1].into_iter().enumerate() {
        assert_eq!(
            (desk.row("each").open, desk.row("after").state),
            (4 - i64::try_from(n).unwrap(), TaskState::Blocked)
        );
        desk.play("each", item, succeeded());
    }
    assert_eq!(
        (desk.row("each").state, desk.row("after").state),
        (TaskState::Succeeded, TaskState::Ready)
    );
}

#[test]
fn a_strict_step_fails_with_its_first_item_and_a_tolerant_one_goes_on() {
    let mut fast = Desk::new(&EACH.replace("MODE", "fast"));
    fast.step("each", items(3));
    let running = fast.claim("each", 2);
    fast.play("each", 0, fatal());
    assert_eq!(
        (fast.run.state, fast.row("each").state),
        (RunState::Failed, TaskState::Failed)
    );
    assert!(fast.effects.contains(&Effect::CancelItems { step: 0 }));
    assert!(fast.settle("each", 2, running, succeeded()).is_err());
    assert_eq!(fast.run.failure.as_ref().unwrap().item, Some(0));

    let mut tolerant = Desk::new(&EACH.replace("MODE", "tolerate"));
    tolerant.step("each", items(3));
    for (item, outcome) in [(0, fatal()), (1, succeeded()), (2, fatal())] {
        tolerant.play("each", item, outcome);
    }
    assert_eq!(
        (tolerant.row("each").state, tolerant.row("each").failed),
        (TaskState::Succeeded, 2)
    );
    assert_eq!(tolerant.row("after").state, TaskState::Ready);
}

#[test]
fn an_item_that_is_tried_again_keeps_its_step_open() {
    let mut desk = Desk::new(&EACH.replace("MODE", "tolerate"));
    desk.step("each", items(1));
    desk.play("each", 0, retryable());
    assert_eq!(
        (desk.row("each").open, desk.item("each", 0).state),
        (1, TaskState::Retrying)
    );
    desk.play("each", 0, succeeded());
    assert_eq!(desk.row("each").state, TaskState::Succeeded);
}

#[test]
fn an_item_that_was_not_needed_counts_as_done() {
    let mut desk = Desk::new(&EACH.replace("MODE", "fast"));
    desk.step("each", items(2));
    desk.play("each", 0, Outcome::Skipped);
    desk.play("each", 1, succeeded());
    assert_eq!(desk.row("each").state, TaskState::Succeeded);
}

#[test]
fn two_failures_in_one_commit_fail_the_run_once() {
    use aquatint_engine::transition::Workset;
    let mut desk = Desk::new("name: two\nsteps:\n  a: { task: t }\n  b: { task: t }\n");
    let tokens = [
        desk.claim("a", TaskKey::WHOLE),
        desk.claim("b", TaskKey::WHOLE),
    ];
    let mut work = Workset::new(
        desk.plan.clone(),
        desk.run.clone(),
        desk.rows.values().cloned(),
    );
    let settle = |work: &mut Workset, step: &str, token| {
        work.settle(
            &desk.settlement(step, TaskKey::WHOLE, token, fatal()),
            desk.now,
            0.5,
        )
    };
    settle(&mut work, "a", tokens[0]).unwrap();
    assert!(
        settle(&mut work, "b", tokens[1]).is_err(),
        "the first one cancelled it"
    );
    assert_eq!(work.events.iter().filter(|e| e.kind.ends_run()).count(), 1);
    assert_eq!(work.run.open, 0);
}
