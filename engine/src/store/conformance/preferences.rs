//! Steps that name a model, and workers that have it loaded.

use super::foresight::tell;
use super::*;
use crate::store::{QueueAction, RunAction};

/// A step that would like to find these loaded.
fn prefers(words: &str) -> String {
    ONE.replace("task: t", &format!("task: t, prefer: {words}"))
}

fn queue() -> QueueName {
    QueueName::new("default").unwrap()
}

/// Submits one after the other, so that their age is certain.
async fn line_up(house: &House, words: &[&str]) -> Vec<RunId> {
    let mut runs = Vec::new();
    for words in words {
        house.clock.advance(Duration::from_millis(1));
        let definition = match *words {
            "" => ONE.to_owned(),
            words => prefers(words),
        };
        runs.push(house.submit(&definition).await);
    }
    runs
}

/// A worker that has just run a task that names these, and holds another task.
async fn loaded(house: &mut House, words: &str) -> Granted {
    house.serve();
    house.submit(&prefers(words)).await;
    let first = house.next().await;
    tell(house, first, succeeded()).await.unwrap();
    house.submit(ONE).await;
    house.next().await
}

/// Runs in the order in which they are given out, one at a time.
async fn order(house: &mut House, held: Granted, count: usize) -> Vec<RunId> {
    let mut held = held;
    let mut order = Vec::new();
    for _ in 0..count {
        tell(house, held, succeeded()).await.unwrap();
        held = house.next().await;
        order.push(held.claim.key.run);
    }
    tell(house, held, succeeded()).await.unwrap();
    order
}

fn seen(runs: &[RunId], order: &[RunId]) -> Vec<usize> {
    let place = |run| runs.iter().position(|known| known == run).unwrap();
    order.iter().map(place).collect()
}

async fn tasks_for_what_is_loaded_go_first_and_nobody_waits_for_one(base: Base) {
    let mut house = House::new(&base).await;
    let held = loaded(&mut house, "sdxl").await;
    let runs = line_up(&house, &["flux", "", "sdxl", "[flux, sdxl]", "", "flux"]).await;
    let order = order(&mut house, held, 6).await;
    // The third and fourth are for it; the end of the fourth leaves both loaded.
    assert_eq!(seen(&runs, &order), [2, 3, 0, 5, 1, 4]);
    assert!(house.is_quiet().await);
    house.finish().await;
}

async fn what_ran_last_counts_more_than_what_ran_before(base: Base) {
    let mut house = House::new(&base).await;
    let held = loaded(&mut house, "flux").await;
    let runs = line_up(&house, &["sdxl"]).await;
    tell(&house, held, succeeded()).await.unwrap();
    let held = house.next().await;
    assert_eq!(held.claim.key.run, runs[0]);
    let runs = line_up(&house, &["flux", "sdxl", "flux", "sdxl", "flux"]).await;
    let order = order(&mut house, held, 5).await;
    assert_eq!(seen(&runs, &order), [1, 3, 0, 2, 4], "one change of models");
    house.finish().await;
}

async fn what_finds_more_of_its_words_loaded_goes_before_what_finds_less(base: Base) {
    let mut house = House::new(&base).await;
    let held = loaded(&mut house, "[sdxl, lora]").await;
    let runs = line_up(&house, &["sdxl", "[lora, sdxl]", "[lora, flux]"]).await;
    let order = order(&mut house, held, 3).await;
    assert_eq!(seen(&runs, &order)[0], 1);
    house.finish().await;
}

async fn a_higher_priority_goes_before_what_is_loaded(base: Base) {
    let mut house = House::new(&base).await;
    let held = loaded(&mut house, "sdxl").await;
    let runs = line_up(&house, &["sdxl"]).await;
    let urgent = RunOptions {
        priority: 1,
        ..RunOptions::default()
    };
    house.clock.advance(Duration::from_millis(1));
    let urgent = house.submit_with(ONE, urgent).await;
    let order = order(&mut house, held, 2).await;
    assert_eq!(order, [urgent, runs[0]]);
    house.finish().await;
}

async fn only_the_first_of_the_line_are_looked_at(base: Base) {
    let mut house = House::new(&base).await;
    let held = loaded(&mut house, "sdxl").await;
    let mut words = vec![""; 17];
    words.extend(["sdxl", "sdxl"]);
    let runs = line_up(&house, &words).await;
    let order = order(&mut house, held, 4).await;
    // Both are too far behind at first: as the line moves up, each comes into sight.
    assert_eq!(seen(&runs, &order), [0, 1, 17, 18]);
    for run in &runs {
        house.act(*run, RunAction::Cancel).await.ok();
    }
    house.finish().await;
}

async fn a_task_is_passed_over_by_seven_claims_in_a_row_at_most(base: Base) {
    let mut house = House::new(&base).await;
    let held = loaded(&mut house, "sdxl").await;
    let mut words = vec!["flux", "kandinsky"];
    words.extend(["sdxl"; 18]);
    let runs = line_up(&house, &words).await;
    let order = order(&mut house, held, 20).await;
    let places = seen(&runs, &order);
    // The claims before these count too, of which there may have been one more or less.
    let place = |which| places.iter().position(|place| *place == which).unwrap();
    assert!((5..=7).contains(&place(0)), "{places:?}");
    assert!((9..=15).contains(&place(1)), "{places:?}");
    house.finish().await;
}

async fn what_did_not_run_well_here_leaves_nothing_loaded(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    house.submit(&prefers("sdxl")).await;
    let first = house.next().await;
    let error = TaskError::fatal("broken", "it is");
    tell(&house, first, failed(error)).await.unwrap();
    house.submit(&prefers("sdxl")).await;
    let second = house.next().await;
    let taken_over = Outcome::Succeeded {
        output: "1".into(),
        cached: true,
    };
    tell(&house, second, taken_over).await.unwrap();
    assert_eq!(house.demand.held.loaded().len(), 0);
    house.finish().await;
}

async fn four_words_are_remembered_what_ran_last_first(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    for words in ["a", "b", "[c, d]", "e", "c"] {
        house.submit(&prefers(words)).await;
        let granted = house.next().await;
        tell(&house, granted, succeeded()).await.unwrap();
    }
    let loaded = house.demand.held.loaded().join(" ");
    assert_eq!(loaded, "c e d b");
    house.finish().await;
}

async fn preference_breaks_no_other_rule_of_claims(base: Base) {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let store = base.open(clock.clone()).await.unwrap();
    let abilities = Abilities {
        memory_bytes: Some(16_000_000_000),
        labels: Some(r#"["a100"]"#.to_owned()),
        ..Abilities::default()
    };
    let mut house = House::able(store, &base, clock, &[("default", 8)], abilities).await;
    let held = loaded(&mut house, "sdxl").await;
    let queue = queue();
    let act = |action| Op::Queue(queue.clone(), action);
    house.store.write(act(QueueAction::Pause)).await.unwrap();
    let with = |more: &str| prefers(&format!("sdxl, {more}"));
    house.submit(&with("memory: 17GB")).await;
    house.submit(&with("requires: h100")).await;
    house.clock.advance(Duration::from_millis(1));
    let first = house.submit(&with("memory: 10GB, requires: a100")).await;
    house.clock.advance(Duration::from_millis(1));
    let second = house.submit(&with("memory: 8GB")).await;
    assert!(house.is_quiet().await, "the queue is paused");
    // What is held counts too.
    let cap = act(QueueAction::Cap(Some(1)));
    house.store.write(cap).await.unwrap();
    house.store.write(act(QueueAction::Resume)).await.unwrap();
    assert!(house.is_quiet().await, "its cap is reached");
    house
        .store
        .write(act(QueueAction::Cap(None)))
        .await
        .unwrap();
    house.store.ring();
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, first);
    assert!(house.is_quiet().await, "8 do not fit beside 10");
    tell(&house, granted, succeeded()).await.unwrap();
    house.store.ring();
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, second);
    assert!(house.is_quiet().await, "and the rest fits nowhere");
    for granted in [granted, held] {
        tell(&house, granted, succeeded()).await.unwrap();
    }
    house.finish().await;
}

async fn processes_that_want_the_same_leave_nothing_lying(base: Base) {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let mut houses = Vec::new();
    for _ in 0..3 {
        let mut house = House::beside(&base, clock.clone(), &[("default", 5)]).await;
        let held = loaded(&mut house, "sdxl").await;
        houses.push((house, held));
    }
    let source = House::beside(&base, clock.clone(), &[]).await;
    let runs = line_up(&source, &["sdxl", "flux", "sdxl", ""].repeat(20)).await;
    let working = houses.into_iter().map(|(mut house, held)| {
        let runs = runs.clone();
        tokio::spawn(async move {
            tell(&house, held, succeeded()).await.unwrap();
            let mut done = 0;
            loop {
                house.store.ring();
                while let Ok(granted) = house.inbox.try_recv() {
                    tell(&house, granted, succeeded()).await.unwrap();
                    done += 1;
                }
                let mut open = 0;
                for run in &runs {
                    open += usize::from(!house.state(*run).await.is_terminal());
                }
                if open == 0 {
                    break;
                }
            }
            house.store.close().await;
            done
        })
    });
    let working: Vec<_> = working.collect();
    let mut done = 0;
    for worker in working {
        done += tokio::time::timeout(PATIENCE, worker)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(done, runs.len(), "each once");
    source.finish().await;
}

/// `PostgreSQL` only: `SQLite` has one writer at a time.
#[tokio::test]
async fn what_others_are_about_to_claim_does_not_hide_what_is_behind_it() {
    let base = Base::postgres().await;
    let mut house = House::new(&base).await;
    let held = loaded(&mut house, "sdxl").await;
    let runs = line_up(&house, &["flux"; 18]).await;
    // Another process: it has claimed all that a claim by preference looks at, and is about to commit.
    let mut other = stranger(&base).await;
    let claim = "begin; select 1 from task_runs where state = 'ready' order by due_at limit 16 for no key update";
    execute(&mut other, claim).await;
    tell(&house, held, succeeded()).await.unwrap();
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, runs[16]);
    execute(&mut other, "rollback").await;
    tell(&house, granted, succeeded()).await.unwrap();
    house.work_off(&runs).await;
    house.finish().await;
}

on_both! {
    tasks_for_what_is_loaded_go_first_and_nobody_waits_for_one,
    what_ran_last_counts_more_than_what_ran_before,
    what_finds_more_of_its_words_loaded_goes_before_what_finds_less,
    a_higher_priority_goes_before_what_is_loaded,
    only_the_first_of_the_line_are_looked_at,
    a_task_is_passed_over_by_seven_claims_in_a_row_at_most,
    what_did_not_run_well_here_leaves_nothing_loaded,
    four_words_are_remembered_what_ran_last_first,
    preference_breaks_no_other_rule_of_claims,
    processes_that_want_the_same_leave_nothing_lying,
}
