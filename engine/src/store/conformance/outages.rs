//! A database that goes away in the middle of anything.
//!
//! A proxy stands between the store and the server, and cuts where it is told
//! to. What was sent when it cut may stand or not; nobody may be able to tell
//! from what follows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::run::TaskState;
use crate::store::RunAction;

/// Between a store and its server.
struct Proxy {
    base: Base,
    orders: Arc<Orders>,
    cuts: watch::Sender<usize>,
}

#[derive(Default)]
struct Orders {
    /// New connections are turned away.
    is_down: AtomicBool,
    /// Answers to this many texts that contain `word` are not delivered.
    answers_lost: AtomicUsize,
    word: std::sync::Mutex<&'static str>,
}

impl Proxy {
    async fn before(base: &Base) -> Self {
        let Database::Postgres(url) = &base.database else {
            panic!("a file cannot go away");
        };
        let parsed: sqlx::postgres::PgConnectOptions = url.expose().parse().unwrap();
        let server = format!("{}:{}", parsed.get_host(), parsed.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let through = url.expose().replace(&server, &here.to_string());
        assert_ne!(
            through,
            url.expose(),
            "the server's address stands in its URL"
        );
        let orders = Arc::new(Orders::default());
        let (cuts, cut) = watch::channel(0);
        let shared = Arc::clone(&orders);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.is_down.load(Ordering::SeqCst) {
                    continue;
                }
                let upstream = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(carry(client, upstream, Arc::clone(&shared), cut.clone()));
            }
        });
        Self {
            base: Base {
                database: Database::Postgres(PostgresUrl::new(through)),
                _folder: None,
            },
            orders,
            cuts,
        }
    }

    /// Cuts every connection.
    fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// The next text with this word is carried out, and its answer is lost with its connection.
    fn lose_answer_to(&self, word: &'static str) {
        *self.orders.word.lock().unwrap() = word;
        self.orders.answers_lost.store(1, Ordering::SeqCst);
    }

    fn has_lost(&self) -> bool {
        self.orders.answers_lost.load(Ordering::SeqCst) == 0
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    orders: Arc<Orders>,
    mut cut: watch::Receiver<usize>,
) {
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut said: Vec<u8> = Vec::new();
    cut.mark_unchanged();
    loop {
        tokio::select! {
            _ = cut.changed() => return,
            read = client.read(&mut from_client) => {
                let Ok(count @ 1..) = read else { return };
                if server.write_all(&from_client[..count]).await.is_err() {
                    return;
                }
                said.extend_from_slice(&from_client[..count]);
                let word = *orders.word.lock().unwrap();
                // A text ends with the NUL that its message ends with.
                let is_whole = said.last() == Some(&0);
                let is_it = !word.is_empty() && said.windows(word.len()).any(|w| w == word.as_bytes());
                if is_whole && is_it && orders.answers_lost.swap(0, Ordering::SeqCst) > 0 {
                    // The server has done it once it answers; nobody hears that.
                    let _ = server.read(&mut from_server).await;
                    return;
                }
                if is_whole {
                    said.clear();
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&from_server[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A house that reaches its database through a proxy, and one that reaches it directly.
async fn houses() -> (Proxy, House, House) {
    let base = Base::postgres().await;
    let direct = House::new(&base).await;
    let proxy = Proxy::before(&base).await;
    let far = House::beside(&proxy.base, direct.clock.clone(), &[("default", 1)]).await;
    (proxy, far, direct)
}

#[tokio::test]
async fn a_submit_whose_answer_was_lost_is_accepted_once() {
    let (proxy, mut far, direct) = houses().await;
    proxy.lose_answer_to("commit");
    let keyed = RunOptions {
        idempotency_key: Some("once".to_owned()),
        ..RunOptions::default()
    };
    let (run, is_new) = far.try_submit(CHAIN, keyed.clone()).await.unwrap();
    assert!(proxy.has_lost() && is_new);
    assert_eq!(far.try_submit(CHAIN, keyed).await.unwrap(), (run, false));
    assert_eq!(
        direct.store.counts().await.unwrap(),
        [(RunState::Pending, 1)]
    );
    far.serve();
    far.work_off(&[run]).await;
    far.finish().await;
    direct.finish().await;
}

#[tokio::test]
async fn a_report_whose_answer_was_lost_counts_once_and_its_successor_goes_on() {
    let (proxy, mut far, direct) = houses().await;
    let run = far.submit(CHAIN).await;
    far.serve();
    let granted = far.next().await;
    proxy.lose_answer_to("execute finish_tasks");
    // The second time it is late: it stands already.
    let refused = far.settle(granted, succeeded()).await.unwrap_err();
    assert!(
        matches!(refused, TransitionError::Stale { .. }),
        "{refused}"
    );
    assert!(proxy.has_lost());
    // The successor was claimed in the commit that nobody answered.
    let granted = far.next().await;
    assert_eq!((granted.claim.key.step, granted.claim.attempt), (1, 1));
    far.settle(granted, succeeded()).await.unwrap();
    assert_eq!(direct.state(run).await, RunState::Succeeded);
    assert_eq!(direct.store.attempts(run).await.unwrap().len(), 2);
    far.finish().await;
    direct.finish().await;
}

#[tokio::test]
async fn a_foreseen_report_whose_answer_was_lost_counts_once_and_its_successor_goes_on() {
    let (proxy, mut far, direct) = houses().await;
    far.serve();
    let run = far.submit(CHAIN).await;
    let granted = far.next().await;
    proxy.lose_answer_to("execute same_tasks");
    let mut settlement = report(&granted.claim, succeeded());
    settlement.plan = Some(Arc::clone(&granted.claim.plan));
    settlement.is_top = true;
    let op = Op::Settle(Box::new(settlement));
    let answer = far.store.write_freeing(op, Some(granted.permit)).await;
    assert!(
        matches!(
            answer,
            Ok(Answer::Settled(Err(TransitionError::Stale { .. })))
        ),
        "{answer:?}"
    );
    assert!(proxy.has_lost(), "it went in one trip");
    let granted = far.next().await;
    assert_eq!((granted.claim.key.step, granted.claim.attempt), (1, 1));
    far.settle(granted, succeeded()).await.unwrap();
    assert_eq!(direct.state(run).await, RunState::Succeeded);
    assert_eq!(direct.store.attempts(run).await.unwrap().len(), 2);
    far.finish().await;
    direct.finish().await;
}

#[tokio::test]
async fn a_cut_anywhere_in_a_transaction_leaves_it_whole_or_not_at_all() {
    // Each word stands for a trip: cut after the server did it, before anybody heard.
    for word in [
        "execute load_runs",
        "execute load_tasks",
        "execute claim",
        "begin",
    ] {
        let (proxy, mut far, direct) = houses().await;
        let run = far.submit(CHAIN).await;
        far.serve();
        let granted = far.next().await;
        proxy.lose_answer_to(word);
        let _ = far.settle(granted, succeeded()).await;
        assert!(proxy.has_lost(), "`{word}` was never said");
        let granted = far.next().await;
        assert_eq!(
            (granted.claim.key.step, granted.claim.attempt),
            (1, 1),
            "{word}"
        );
        far.settle(granted, succeeded()).await.unwrap();
        let tasks = direct.store.tasks(run, false).await.unwrap();
        assert!(
            tasks.iter().all(|t| t.state == TaskState::Succeeded),
            "{word}"
        );
        assert_eq!(direct.state(run).await, RunState::Succeeded, "{word}");
        far.finish().await;
        direct.finish().await;
    }
}

#[tokio::test]
async fn while_it_is_away_everybody_waits_and_then_goes_on() {
    let (proxy, mut far, direct) = houses().await;
    far.serve();
    let held = far.submit(ONE).await;
    let granted = far.next().await;
    proxy.orders.is_down.store(true, Ordering::SeqCst);
    proxy.cut();
    let asked = far.store.clone();
    let (plan, spec) = plan(ONE);
    let new = NewRun {
        id: RunId::new(far.clock.now()),
        plan,
        spec,
        inputs: Arc::new(json!({})),
        options: RunOptions::default(),
    };
    let second = new.id;
    let submit = tokio::spawn(async move { asked.write(Op::Submit(Arc::new(new))).await });
    let reader = far.store.clone();
    let question = tokio::spawn(async move { reader.run_state(held).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!submit.is_finished() && !question.is_finished());
    proxy.orders.is_down.store(false, Ordering::SeqCst);
    assert_eq!(question.await.unwrap().unwrap(), RunState::Pending);
    assert!(matches!(
        submit.await.unwrap(),
        Ok(Answer::Submitted { is_new: true, .. })
    ));
    far.settle(granted, succeeded()).await.unwrap();
    far.work_off(&[held, second]).await;
    assert_eq!(
        direct.store.counts().await.unwrap(),
        [(RunState::Succeeded, 2)]
    );
    far.finish().await;
    direct.finish().await;
}

#[tokio::test]
async fn one_that_closes_while_it_is_away_does_not_wait_for_ever() {
    let (proxy, far, direct) = houses().await;
    proxy.orders.is_down.store(true, Ordering::SeqCst);
    proxy.cut();
    let asked = far.store.clone();
    let waits = tokio::spawn(async move {
        asked
            .write(Op::Act(RunId::new(Timestamp(1)), RunAction::Cancel))
            .await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::timeout(Duration::from_secs(5), far.store.close())
        .await
        .expect("it closes");
    let said = waits.await.unwrap().unwrap_err();
    assert!(matches!(said, StoreError::Unreachable { .. }), "{said}");
    direct.finish().await;
}

#[tokio::test]
async fn a_process_that_stands_still_in_a_transaction_does_not_keep_its_locks() {
    let base = Base::postgres().await;
    let mut house = House::new(&base).await;
    let run = house.submit(CHAIN).await;
    house.serve();
    let granted = house.next().await;
    let mut still = stranger(&base).await;
    let lock = format!(
        "set idle_in_transaction_session_timeout = '300ms'; begin; select 1 from runs where id = '{run}' for no key update"
    );
    execute(&mut still, &lock).await;
    house.settle(granted, succeeded()).await.unwrap();
    let granted = house.next().await;
    house.settle(granted, succeeded()).await.unwrap();
    house.finish().await;
}

#[tokio::test]
async fn processes_that_start_together_on_an_empty_database_make_it_once() {
    let base = Base::postgres().await;
    let opened = futures_util::future::join_all((0..6).map(|_| {
        let base = base.clone();
        async move { base.open(Clock::system()).await }
    }))
    .await;
    for store in opened {
        let store = store.expect("it opens");
        assert_eq!(store.counts().await.unwrap(), []);
        store.close().await;
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_said_in_a_sentence_without_the_password() {
    let base = Base::postgres().await;
    let Database::Postgres(url) = &base.database else {
        panic!()
    };
    let (server, _) = url.expose().split_once('?').unwrap();
    let (server, _) = server.rsplit_once('/').unwrap();
    let unknown = format!("{server}/no_such_database");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    for (url, parts) in [
        (
            format!("postgres://me:sesame@127.0.0.1:{port}/x"),
            ["127.0.0.1", "check that the server runs"],
        ),
        (
            "postgres://[".to_owned(),
            ["no URL", "AQUATINT_DATABASE_URL"],
        ),
        (unknown, ["no_such_database", "createdb"]),
    ] {
        let wrong = Base {
            database: Database::Postgres(PostgresUrl::new(url)),
            _folder: None,
        };
        let said = wrong
            .open(Clock::system())
            .await
            .expect_err("it cannot be opened")
            .to_string();
        for part in parts {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("sesame"), "{said}");
    }
    let house = House::new(&base).await;
    let mut other = stranger(&base).await;
    execute(&mut other, "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'future', true, '\\x00', 1)").await;
    let said = base
        .open(Clock::system())
        .await
        .expect_err("it is newer")
        .to_string();
    assert!(said.contains("9999") && said.contains("newer"), "{said}");
    house.finish().await;
}
