//! A locked database, a full disk, a file that is something else.

use super::super::open;
use super::super::readers::Readers;
use super::*;
use std::path::PathBuf;

/// A store whose writer works under these pragmas.
async fn under(base: &Base, pragmas: &str) -> House {
    let (conn, readers) = open::sqlite::connect(base.path(), Durability::Normal)
        .await
        .unwrap();
    let mut conn = Stranger::Sqlite(conn);
    execute(&mut conn, pragmas).await;
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let readers = Readers::Sqlite(readers);
    let lookups = readers.clone();
    let store = Store::over(conn.writer(), readers, lookups, clock.clone(), None);
    House::over(store, base, clock, &[("default", 1)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_waited_for_and_then_named_in_a_sentence() {
    let base = Base::sqlite();
    let mut house = under(&base, "pragma busy_timeout = 400").await;
    let mut other = stranger(&base).await;

    execute(&mut other, "begin immediate").await;
    let refused = house
        .try_submit(ONE, RunOptions::default())
        .await
        .unwrap_err();
    assert!(
        refused.is_passing() && refused.to_string().contains("locked by another process"),
        "{refused}"
    );
    let (waits, ()) = tokio::join!(house.try_submit(ONE, RunOptions::default()), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        execute(&mut other, "rollback").await;
    });
    let run = waits.unwrap().0;
    assert_eq!(
        house.store.counts().await.unwrap(),
        [(RunState::Pending, 1)],
        "what was refused was not done"
    );
    house.serve();
    house.work_off(&[run]).await;
    house.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_keeps_nobody_from_reading() {
    let house = House::new(&Base::sqlite()).await;
    let run = house.submit(ONE).await;
    let mut other = stranger(&house.base).await;
    execute(&mut other, "begin immediate").await;
    let read = tokio::time::timeout(Duration::from_secs(2), house.store.run(run)).await;
    assert_eq!(read.expect("no wait").unwrap().state, RunState::Pending);
    execute(&mut other, "rollback").await;
    house.finish().await;
}

#[tokio::test]
async fn a_full_disk_is_named_in_a_sentence_and_takes_nothing_that_was_accepted() {
    let base = Base::sqlite();
    // The database's own notion of full: the same error as the disk's, without a disk to fill.
    let mut house = under(&base, "create table ballast (x); insert into ballast values (zeroblob(500000)); pragma max_page_count = 200").await;
    let mut accepted = Vec::new();
    let refusal = loop {
        match house
            .try_submit(
                CHAIN,
                RunOptions {
                    tags: vec!["x".repeat(2_000)],
                    ..RunOptions::default()
                },
            )
            .await
        {
            Ok((run, _)) => accepted.push(run),
            Err(error) => break error,
        }
        assert!(accepted.len() < 5_000, "it never gets full");
    };
    assert!(
        refusal.is_passing()
            && refusal.to_string().contains("full")
            && refusal.to_string().contains("free some space"),
        "{refusal}"
    );
    assert_eq!(
        house.store.counts().await.unwrap(),
        [(RunState::Pending, u64::try_from(accepted.len()).unwrap())]
    );
    execute(&mut stranger(&base).await, "drop table ballast").await;
    accepted.push(house.submit(CHAIN).await);
    house.serve();
    house.work_off(&accepted).await;
    house.finish().await;
}

async fn refusal(path: &Path) -> String {
    let database = Database::Sqlite {
        path: path.to_owned(),
    };
    let base = Base {
        database,
        _folder: None,
    };
    base.open(Clock::system())
        .await
        .expect_err("it cannot be served")
        .to_string()
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let house = House::new(&Base::sqlite()).await;
    let mut other = stranger(&house.base).await;
    execute(&mut other, "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'future', 1, x'00', 1)").await;
    let said = refusal(house.base.path()).await;
    for part in [
        house.base.path().to_str().unwrap(),
        "9999",
        "newer",
        "another data directory",
    ] {
        assert!(said.contains(part), "{said}");
    }
    house.finish().await;
}

#[tokio::test]
async fn a_file_that_is_something_else_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let content = "this is a shopping list ".repeat(500);
    std::fs::write(&path, &content).unwrap();
    let said = refusal(&path).await;
    assert!(
        said.contains(path.to_str().unwrap())
            && said.contains("not a database")
            && said.contains("another data directory"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    // `/proc` takes no files from anybody, root included.
    for path in [
        file.join("data/test.db"),
        PathBuf::from("/proc/aquatint/test.db"),
        PathBuf::from("/proc/test.db"),
    ] {
        let said = refusal(&path).await;
        assert!(said.contains(path.to_str().unwrap()), "{said}");
        assert!(
            said.contains("another data directory") || said.contains("may be written"),
            "{said}"
        );
    }
}

async fn a_damaged_definition_stops_its_own_run_and_no_other(base: Base) {
    let first = House::new(&base).await;
    let late = CHAIN.replace("steps:", "timeout: 5s\nsteps:");
    let broken = first.submit(&late).await;
    let fine = first.submit(ONE).await;
    let mut other = stranger(&first.base).await;
    execute(
        &mut other,
        "update workflow_versions set spec = '{' where name = 'chain'",
    )
    .await;
    // Another process, which has not met that definition yet.
    let mut house = House::beside(&first.base, first.clock.clone(), &[("default", 1)]).await;
    house.serve();
    let granted = house.next().await;
    assert_eq!(granted.claim.key.run, fine);
    // Neither its lost task nor its lost time keeps a sweep from the others.
    house.clock.advance(LEASE + Duration::from_secs(1));
    assert_eq!(house.sweep().await.attempts, 1);
    let again = WorkerId::new(house.clock.now());
    house.register(again).await;
    house.demand.rename(again);
    drop(granted);
    house.store.ring();
    let granted = house.next().await;
    assert_eq!((granted.claim.key.run, granted.claim.attempt), (fine, 2));
    house.settle(granted, succeeded()).await.unwrap();
    let cancel = Op::Act(broken, super::super::RunAction::Cancel);
    let said = house.store.write(cancel).await.unwrap_err();
    assert!(matches!(said, StoreError::Corrupt { .. }), "{said}");
    assert!(!house.state(broken).await.is_terminal());
    let found = house.store.check().await.unwrap();
    assert!(
        found.len() == 1 && found[0].contains("definition cannot be read"),
        "{found:?}"
    );
    house.store.close().await;
}

/// What this program cannot read another may: it is given back as if it had never been claimed, and not taken again.
async fn what_cannot_be_read_is_left_to_others(base: Base) {
    let mut newer = House::new(&base).await;
    let run = newer.submit(CHAIN).await;
    let mut look = stranger(&base).await;
    execute(
        &mut look,
        "update workflow_versions set spec = '{' where name = 'chain'",
    )
    .await;
    let mut older = House::beside(&base, newer.clock.clone(), &[("default", 3)]).await;
    older.serve();
    assert!(older.is_quiet().await, "it cannot be run there");
    let other = older.submit(ONE).await;
    let granted = older.next().await;
    assert_eq!(granted.claim.key.run, other);
    older.settle(granted, succeeded()).await.unwrap();
    let row = "select state || ' ' || attempt || ' ' || coalesce(worker_id, '-') from task_runs t \
        where step = 0 and run_id in (select id from runs where workflow = 'chain')";
    assert_eq!(texts(&mut look, row).await, ["ready 0 -"]);

    // The process that accepted it knows it.
    newer.serve();
    newer.work_off(&[run]).await;
    assert_eq!(
        newer.store.attempts(run).await.unwrap().len(),
        2,
        "one for each step"
    );
    older.store.close().await;
    newer.store.close().await;
}

/// The bug of one decision costs its own request and nothing else.
async fn a_panic_in_a_commit_fails_what_caused_it_and_nothing_else(base: Base) {
    let mut house = House::new(&base).await;
    house.serve();
    let (before, panicked, after) = tokio::join!(
        house.try_submit(ONE, RunOptions::default()),
        house.store.write(Op::Panic),
        house.try_submit(ONE, RunOptions::default()),
    );
    assert!(
        matches!(panicked, Err(StoreError::Panicked { .. })),
        "{panicked:?}"
    );
    let runs = [before.unwrap().0, after.unwrap().0];
    house.work_off(&runs).await;
    assert!(!house.store.has_failed());
    house.finish().await;
}

/// Readers that overlap leave no moment at which the log could be begun anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_write_ahead_log_stays_small_under_readers_that_overlap() {
    let base = Base::sqlite();
    let mut house = House::with_slots(&base, 64).await;
    let log = PathBuf::from(format!("{}-wal", base.path().display()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut readers = Vec::new();
    for n in 0..3_u64 {
        let (base, stop) = (base.clone(), Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            let mut look = stranger(&base).await;
            tokio::time::sleep(Duration::from_millis(4 * n)).await;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                execute(&mut look, "begin; select count(*) from runs").await;
                tokio::time::sleep(Duration::from_millis(12)).await;
                execute(&mut look, "commit").await;
            }
        }));
    }
    house.serve();
    let large: Arc<str> = format!("\"{}\"", "x".repeat(1_000_000)).into();
    let mut most = 0;
    for _ in 0..130 {
        house.submit(ONE).await;
        let granted = house.next().await;
        let output = Outcome::Succeeded {
            output: Arc::clone(&large),
            cached: false,
        };
        house.settle(granted, output).await.unwrap();
        most = most.max(std::fs::metadata(&log).unwrap().len());
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(most < 100 << 20, "it grew to {most} bytes");
    house.store.close().await;
}

on_both! {
    what_cannot_be_read_is_left_to_others,
    a_panic_in_a_commit_fails_what_caused_it_and_nothing_else,
    a_damaged_definition_stops_its_own_run_and_no_other,
}
