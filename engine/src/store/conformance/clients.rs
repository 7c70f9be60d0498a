//! What clients of an API rely on: lists that find what they ask for, records that nobody overwrites
//! unseen, runs that begin in the middle of others, files that are kept as long as their run.

use std::collections::BTreeSet;

use super::*;
use crate::artifact::Artifact;
use crate::run::Repeat;
use crate::store::{Keep, RunFilter, RunPage};
use crate::task::TaskError;

async fn found(house: &House, filter: RunFilter) -> Vec<RunId> {
    let page = house.store.list_runs(&filter).await.unwrap();
    assert_eq!(page.next, None, "a short list ends with its first page");
    page.runs.into_iter().map(|run| run.id).collect()
}

fn tagged(tags: &[&str]) -> RunOptions {
    RunOptions {
        tags: tags.iter().map(|t| (*t).to_owned()).collect(),
        ..RunOptions::default()
    }
}

async fn lists_find_what_they_ask_for_and_nothing_else(base: Base) {
    let mut house = House::with_slots(&base, 1).await;
    let red = house.submit_with(ONE, tagged(&["red", "all"])).await;
    house.clock.advance(Duration::from_secs(10));
    let middle = house.clock.now();
    let blue = house.submit_with(CHAIN, tagged(&["100%_\\", "all"])).await;
    let owned = RunOptions {
        owner: Some("ann".to_owned()),
        ..tagged(&["all"])
    };
    let anns = house.submit_with(ONE, owned).await;
    house.serve();
    let first = house.next().await;
    assert_eq!(first.claim.key.run, red);
    let fatal = Outcome::Failed {
        outcome: AttemptOutcome::Failed,
        error: TaskError::fatal("broken", "the Kiln is cold"),
    };
    house.settle(first, fatal).await.unwrap();

    let by = |change: &dyn Fn(&mut RunFilter)| {
        let mut filter = RunFilter::default();
        change(&mut filter);
        filter
    };
    let tag = |tag: &str| by(&|f| f.tag = Some(tag.to_owned()));
    let text = |text: &str| by(&|f| f.text = Some(text.to_owned()));
    assert_eq!(found(&house, RunFilter::default()).await, [anns, blue, red]);
    assert_eq!(found(&house, tag("red")).await, [red]);
    assert_eq!(found(&house, tag("all")).await, [anns, blue, red]);
    assert_eq!(found(&house, tag("al")).await, []);
    assert_eq!(
        found(&house, by(&|f| f.owner = Some("ann".to_owned()))).await,
        [anns]
    );
    assert_eq!(
        found(&house, by(&|f| f.owner = Some(String::new()))).await,
        []
    );
    assert_eq!(
        found(
            &house,
            by(&|f| f.states = vec![RunState::Failed, RunState::Cancelled])
        )
        .await,
        [red]
    );
    assert_eq!(
        found(
            &house,
            by(&|f| f.states = vec![RunState::Pending, RunState::Running])
        )
        .await,
        [anns, blue]
    );
    // A list in two states that no one index serves.
    let mixed = by(&|f| f.states = vec![RunState::Failed, RunState::Succeeded]);
    assert_eq!(found(&house, mixed).await, [red]);
    assert_eq!(
        found(&house, by(&|f| f.workflow = Some("chain".parse().unwrap()))).await,
        [blue]
    );
    assert_eq!(
        found(&house, by(&|f| f.created_from = Some(middle))).await,
        [anns, blue]
    );
    assert_eq!(
        found(&house, by(&|f| f.created_to = Some(middle))).await,
        [red]
    );
    assert_eq!(
        found(&house, text("kiln")).await,
        [red],
        "case does not count"
    );
    assert_eq!(
        found(&house, text("100%_\\")).await,
        [blue],
        "signs are signs"
    );
    assert_eq!(found(&house, text("0_")).await, []);
    let both = by(&|f| {
        f.tag = Some("all".to_owned());
        f.owner = Some("ann".to_owned());
    });
    assert_eq!(found(&house, both).await, [anns]);

    // A page at a time, each run once.
    let mut filter = by(&|f| f.limit = 2);
    let RunPage { runs, next, .. } = house.store.list_runs(&filter).await.unwrap();
    assert_eq!(runs.iter().map(|r| r.id).collect::<Vec<_>>(), [anns, blue]);
    filter.before = next;
    assert_eq!(found(&house, filter).await, [red]);
    house.finish().await;
}

async fn steps_of_other_runs_are_no_runs_of_their_own_and_share_their_owner(base: Base) {
    let house = House::with_slots(&base, 1).await;
    let owned = RunOptions {
        owner: Some("ann".to_owned()),
        ..RunOptions::default()
    };
    let parent = house.submit_with(ONE, owned).await;
    let below = RunOptions {
        parent: Some(crate::run::Parent {
            task: key(parent),
            attempt: 1,
        }),
        owner: Some("eve".to_owned()),
        depth: 1,
        ..RunOptions::default()
    };
    let child = house.submit_with(ONE, below).await;
    let top = RunFilter {
        top_only: true,
        ..RunFilter::default()
    };
    assert_eq!(found(&house, top).await, [parent]);
    assert_eq!(
        house.store.run(child).await.unwrap().owner.as_deref(),
        Some("ann")
    );
    // No step waits for it, as one would.
    house.store.close().await;
}

async fn a_record_is_changed_only_by_who_saw_it(base: Base) {
    let house = House::with_slots(&base, 1).await;
    let keep = async |body: Option<&str>, seen: Option<i64>| {
        let keep = Keep {
            kind: "note",
            id: "a".to_owned(),
            body: body.map(str::to_owned),
            seen,
            due_at: None,
        };
        match house.store.write(Op::Keep(keep)).await.unwrap() {
            Answer::Kept(revision) => revision,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        keep(Some("1"), Some(3)).await,
        None,
        "there is none to have been seen"
    );
    assert_eq!(keep(Some("1"), Some(0)).await, Some(1));
    assert_eq!(keep(Some("2"), Some(0)).await, None, "there is one already");
    assert_eq!(keep(Some("2"), Some(1)).await, Some(2));
    assert_eq!(
        keep(Some("3"), Some(1)).await,
        None,
        "somebody else was quicker"
    );
    assert_eq!(keep(Some("4"), None).await, Some(3));
    let record = house.store.record("note", "a").await.unwrap().unwrap();
    assert_eq!((record.body, record.revision), (json!(4), 3));
    assert_eq!(house.store.records("other").await.unwrap(), []);
    assert_eq!(keep(None, Some(2)).await, None);
    assert_eq!(keep(None, Some(3)).await, Some(0));
    assert_eq!(house.store.record("note", "a").await.unwrap(), None);
    house.finish().await;
}

const DIAMOND: &str = "name: diamond\nsteps:\n  a: { task: t }\n  b: { task: t, needs: [a] }\n  c: { task: t, needs: [a] }\n  d: { task: t, needs: [b, c] }\n";

fn file(letter: &str) -> Artifact {
    Artifact {
        digest: letter.repeat(64),
        name: format!("{letter}.png"),
        media_type: "image/png".to_owned(),
        size_bytes: 1,
    }
}

async fn a_run_that_repeats_another_takes_over_what_came_before(base: Base) {
    let mut house = House::with_slots(&base, 4).await;
    let attached = RunOptions {
        attachments: vec![file("e")],
        ..RunOptions::default()
    };
    let first = house.submit_with(DIAMOND, attached).await;
    house.serve();
    let granted = house.next().await;
    let Granted { claim, permit, .. } = granted;
    house.demand.held.leave(claim.key, claim.token);
    let mut stored = report(&claim, succeeded());
    stored.artifacts = vec![file("a")];
    house
        .store
        .write_freeing(Op::Settle(Box::new(stored)), Some(permit))
        .await
        .unwrap();
    house.work_off(&[first]).await;
    let before = house.store.tasks(first, true).await.unwrap();

    let repeats = |from| RunOptions {
        repeats: Some(Repeat { run: first, from }),
        ..RunOptions::default()
    };
    // From `b` on: `a` and `c` stand, `b` and `d` are done again.
    let second = house.submit_with(DIAMOND, repeats(1)).await;
    let mut done = BTreeSet::new();
    while !house.state(second).await.is_terminal() {
        let granted = house.next().await;
        assert_eq!(granted.claim.key.run, second);
        done.insert(granted.claim.key.step);
        house.settle(granted, succeeded()).await.unwrap();
    }
    assert_eq!(done, BTreeSet::from([1, 3]));
    let a = &house.store.outputs(second, 0).await.unwrap()[0];
    assert_eq!(
        a.output,
        house.store.outputs(first, 0).await.unwrap()[0].output,
        "a result is taken over as it is"
    );
    let files = house.store.artifacts(second).await.unwrap();
    let names: BTreeSet<_> = files.iter().map(|f| f.artifact.name.as_str()).collect();
    assert_eq!(
        names,
        BTreeSet::from(["a.png", "e.png"]),
        "and so are its files, and those of the inputs"
    );
    let after = house.store.tasks(first, true).await.unwrap();
    assert_eq!(
        format!("{before:?}"),
        format!("{after:?}"),
        "the first run stays as it was"
    );

    // What runs still cannot be taken over, and neither can what is gone.
    let third = house.submit(DIAMOND).await;
    let running = RunOptions {
        repeats: Some(Repeat {
            run: third,
            from: 0,
        }),
        ..RunOptions::default()
    };
    let refused = house.try_submit(DIAMOND, running).await;
    assert!(
        matches!(refused, Err(StoreError::NotFound { .. })),
        "{refused:?}"
    );
    house.work_off(&[third]).await;
    house.finish().await;
}

async fn a_run_that_repeats_a_failed_one_does_what_never_was_done(base: Base) {
    let mut house = House::with_slots(&base, 4).await;
    let first = house.submit(CHAIN).await;
    house.serve();
    let granted = house.next().await;
    let fatal = Outcome::Failed {
        outcome: AttemptOutcome::Failed,
        error: TaskError::fatal("broken", "no"),
    };
    house.settle(granted, fatal).await.unwrap();
    assert_eq!(house.state(first).await, RunState::Failed);
    // Begun with the second step, though the first was never done: so both are.
    let repeats = RunOptions {
        repeats: Some(Repeat {
            run: first,
            from: 1,
        }),
        ..RunOptions::default()
    };
    let second = house.submit_with(CHAIN, repeats).await;
    let granted = house.next().await;
    assert_eq!((granted.claim.key.run, granted.claim.key.step), (second, 0));
    house.settle(granted, succeeded()).await.unwrap();
    house.work_off(&[second]).await;
    assert_eq!(house.state(second).await, RunState::Succeeded);
    house.finish().await;
}

async fn a_run_is_kept_as_long_as_it_asked_to_be_and_its_files_with_it(base: Base) {
    let mut house = House::with_slots(&base, 1).await;
    let short = RunOptions {
        retention: Some(Duration::from_secs(60)),
        attachments: vec![file("b")],
        tags: vec!["short".to_owned()],
        ..RunOptions::default()
    };
    let run = house.submit_with(ONE, short).await;
    let long = house.submit(ONE).await;
    let digests = vec![file("b").digest];
    assert_eq!(
        house.store.needed(&digests).await.unwrap().len(),
        1,
        "from its submit on"
    );
    house.serve();
    house.work_off(&[run, long]).await;
    assert_eq!(
        house.store.expired_runs(house.clock.now()).await.unwrap(),
        []
    );
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(
        house.store.expired_runs(house.clock.now()).await.unwrap(),
        [run]
    );
    house.store.write(Op::Delete(run)).await.unwrap();
    assert!(house.store.needed(&digests).await.unwrap().is_empty());
    let left = texts(&mut stranger(&base).await, "select tag from run_tags").await;
    assert_eq!(left, Vec::<String>::new());
    house.finish().await;
}

async fn the_feed_tells_of_every_run_in_the_order_of_its_commits(base: Base) {
    let mut house = House::with_slots(&base, 1).await;
    house.serve();
    let runs = [house.submit(ONE).await, house.submit(CHAIN).await];
    house.work_off(&runs).await;
    let feed = house.store.feed(0, 1_000).await.unwrap();
    assert!(
        feed.windows(2)
            .all(|pair| pair[0].position < pair[1].position)
    );
    assert_eq!(
        house.store.last_position().await.unwrap(),
        feed.last().unwrap().position
    );
    for run in runs {
        let told: Vec<_> = feed
            .iter()
            .filter(|e| e.run == run)
            .flat_map(|e| e.events.clone())
            .collect();
        assert_eq!(told, house.store.events_after(run, 0).await.unwrap());
    }
    let half = feed[feed.len() / 2].position;
    let rest = house.store.feed(half, 1_000).await.unwrap();
    assert!(rest.iter().all(|entry| entry.position > half) && rest.len() < feed.len());
    house.finish().await;
}

on_both!(
    lists_find_what_they_ask_for_and_nothing_else,
    steps_of_other_runs_are_no_runs_of_their_own_and_share_their_owner,
    a_record_is_changed_only_by_who_saw_it,
    a_run_that_repeats_another_takes_over_what_came_before,
    a_run_that_repeats_a_failed_one_does_what_never_was_done,
    a_run_is_kept_as_long_as_it_asked_to_be_and_its_files_with_it,
    the_feed_tells_of_every_run_in_the_order_of_its_commits,
);
