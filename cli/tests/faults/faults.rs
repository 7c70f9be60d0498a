//! The faults.

use std::time::{Duration, Instant};

use aquatint_engine::RunAction;
use rustix::process::Signal;

use crate::Plan;
use crate::cluster::{Cluster, LEASE};
use crate::front;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    WorkersKilled,
    AllWorkersKilled,
    WorkerStandsStill,
    RedisForgets,
    RedisRestarts,
    RedisIsAway,
    RedisStalls,
    RedisIsFull,
    TicketsLie,
    PostgresRestarts,
    PostgresIsAway,
    ConnectionsDrop,
    CommitsPanic,
    CancelsRace,
    ServersKilled,
    LivesDenied,
    ClockAhead,
    ClockBehind,
}

impl Fault {
    pub(crate) const ALL: [Self; 18] = [
        Self::WorkersKilled,
        Self::AllWorkersKilled,
        Self::WorkerStandsStill,
        Self::RedisForgets,
        Self::RedisRestarts,
        Self::RedisIsAway,
        Self::RedisStalls,
        Self::RedisIsFull,
        Self::TicketsLie,
        Self::PostgresRestarts,
        Self::PostgresIsAway,
        Self::ConnectionsDrop,
        Self::CommitsPanic,
        Self::CancelsRace,
        Self::ServersKilled,
        Self::LivesDenied,
        Self::ClockAhead,
        Self::ClockBehind,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WorkersKilled => "workers killed (kill -9), one after the other",
            Self::AllWorkersKilled => "all workers killed at once",
            Self::WorkerStandsStill => "worker stopped past its lease, then goes on",
            Self::RedisForgets => "redis forgets everything, ten times a second",
            Self::RedisRestarts => "redis restarts",
            Self::RedisIsAway => "redis is away",
            Self::RedisStalls => "redis stands still for 3 s",
            Self::RedisIsFull => "redis is out of memory",
            Self::TicketsLie => "tickets doubled, reordered and made up",
            Self::PostgresRestarts => "postgres restarts without warning",
            Self::PostgresIsAway => "postgres is away for three leases, three times",
            Self::CommitsPanic => "commits panic at damaged runs",
            Self::ConnectionsDrop => "connections to postgres drop, ten times a second",
            Self::CancelsRace => "cancels race with ends",
            Self::ServersKilled => "servers killed (kill -9) while clients submit",
            Self::LivesDenied => "live workers given up for lost",
            Self::ClockAhead => "a worker's clock is five minutes ahead",
            Self::ClockBehind => "a worker's clock is five minutes behind",
        }
    }

    /// Whether runs may end as cancelled.
    pub(crate) fn cancels(self) -> bool {
        self == Self::CancelsRace
    }

    /// Whether claims may stand that nobody was told of, so that a worker gives its own back.
    pub(crate) fn breaks_database(self) -> bool {
        matches!(
            self,
            Self::PostgresRestarts | Self::PostgresIsAway | Self::ConnectionsDrop
        )
    }

    /// Whether nobody dies of it: then no attempt may be taken for lost.
    pub(crate) fn spares_all(self) -> bool {
        matches!(
            self,
            Self::ClockAhead | Self::ClockBehind | Self::PostgresIsAway
        )
    }

    /// Does it; when this returns, the world is whole again. Submits meanwhile, too.
    pub(crate) async fn strike(self, cluster: &mut Cluster<'_>, plan: Plan) {
        let servers = cluster.servers;
        match self {
            Self::WorkersKilled => {
                for victim in [0, 0, 1, 0] {
                    let ended = cluster.ended().await;
                    cluster.kill_worker(victim);
                    cluster.submit(4).await;
                    // Were the next killed before what was lost is done, some task would lose three workers, and
                    // be quarantined as it should.
                    cluster.warm_up(ended + 8).await;
                }
            }
            Self::AllWorkersKilled => {
                let count = cluster.workers.len();
                cluster.end_workers();
                cluster.submit(4).await;
                for _ in 0..count {
                    cluster.start_worker();
                }
            }
            Self::WorkerStandsStill => {
                // Ends while its worker stands still; by the time that goes on, others are at it.
                cluster.begin_slow().await;
                cluster.signal(0, Signal::STOP);
                cluster.submit(8).await;
                tokio::time::sleep(LEASE * 2).await;
                cluster.signal(0, Signal::CONT);
            }
            Self::RedisForgets => {
                for _ in 0..20 {
                    servers.redis(&["FLUSHALL"]);
                    cluster.submit(1).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Self::RedisRestarts => {
                servers.stop_redis();
                servers.start_redis();
                cluster.submit(8).await;
            }
            Self::RedisIsAway => {
                servers.stop_redis();
                cluster.submit(8).await;
                tokio::time::sleep(plan.outage).await;
                cluster.submit(8).await;
                servers.start_redis();
            }
            Self::RedisStalls => {
                servers.signal_redis(Signal::STOP);
                cluster.submit(8).await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                servers.signal_redis(Signal::CONT);
            }
            Self::RedisIsFull => {
                servers.redis(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
                servers.redis(&["CONFIG", "SET", "maxmemory", "1"]);
                cluster.submit(8).await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                servers.redis(&["CONFIG", "SET", "maxmemory", "0"]);
            }
            Self::TicketsLie => lie(cluster).await,
            Self::PostgresRestarts => {
                servers.restart_postgres();
                cluster.submit(8).await;
            }
            Self::PostgresIsAway => stay_away(cluster).await,
            Self::CommitsPanic => damage_runs(cluster).await,
            Self::ConnectionsDrop => {
                for _ in 0..20 {
                    servers.drop_connections().await;
                    cluster.submit(1).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Self::ServersKilled => front::kill_servers(cluster, plan.kills).await,
            Self::LivesDenied => deny_lives(cluster).await,
            Self::ClockAhead => tell_wrong_time(cluster, 300).await,
            Self::ClockBehind => tell_wrong_time(cluster, -300).await,
            Self::CancelsRace => {
                for n in 0..cluster.runs.len() {
                    let run = cluster.runs[n].id;
                    // Too late is an answer, too.
                    let _ = cluster.engine.act(run, RunAction::Cancel).await;
                    tokio::time::sleep(Duration::from_millis(n as u64 % 5)).await;
                }
            }
        }
    }
}

/// While the database is away no worker can renew its lease. None of them has crashed: what they held is begun anew, and
/// however often that happens, it is no reason to give it up.
async fn stay_away(cluster: &mut Cluster<'_>) {
    let slow = cluster.begin_slow().await;
    for _ in 0..3 {
        cluster.servers.stop_postgres();
        tokio::time::sleep(LEASE * 3).await;
        cluster.servers.start_postgres();
        cluster.all_begun(&slow).await;
    }
}

/// Runs that lack the row of a step: whoever decides about its predecessor panics. They fail, and nothing else does.
async fn damage_runs(cluster: &mut Cluster<'_>) {
    let mut damaged = Vec::new();
    while damaged.len() < 5 {
        let run = cluster.submit_beside("hops").await;
        let lost = format!(
            "with gone as (delete from {}.task_runs where run_id = '{run}' and step = 2 and state = 'blocked' returning 1) \
             select count(*) from gone",
            cluster.name
        );
        if cluster.servers.count(&lost).await == 1 {
            damaged.push(run);
        }
        cluster.submit(2).await;
    }
    for run in damaged {
        let view = cluster.engine.wait(run).await.unwrap();
        let why = view.failure.map(|failure| failure.message);
        if !why
            .as_ref()
            .is_some_and(|why| why.contains("bug in the engine"))
        {
            let state = view.state;
            cluster
                .wrong
                .push(format!("a damaged run is {state}: {why:?}"));
        }
        cluster.engine.delete(run).await.unwrap();
    }
    if !cluster.log().contains("a commit panicked and was undone") {
        cluster.wrong.push("no commit panicked".to_owned());
    }
}

/// Workers that somebody took for dead go on until they hear of it: meanwhile others begin what they have, and
/// what they report is late.
async fn deny_lives(cluster: &mut Cluster<'_>) {
    let lose = format!(
        "update {0}.workers set state = 'lost' where id = (
            select worker_id from {0}.task_runs where state = 'running' and queue = 'gpu' group by 1 order by count(*) desc limit 1)",
        cluster.name
    );
    for _ in 0..6 {
        let slow = cluster.submit_slow(8, Duration::from_millis(500)).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        cluster.servers.execute(&lose).await;
        for run in slow {
            cluster.engine.wait(run).await.unwrap();
        }
    }
}

/// A third worker with a clock of its own; its sweeps look at everybody's leases.
async fn tell_wrong_time(cluster: &mut Cluster<'_>, seconds: i64) {
    let skew = cluster.start_skewed_worker(seconds);
    // It has some of it, and the others have the rest.
    cluster.begin_slow().await;
    let began = Instant::now();
    while began.elapsed() < LEASE * 2 {
        cluster.submit(2).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let worker = cluster.workers.last().unwrap().id();
    assert!(skew.is_in(worker), "its clock is as any other");
}

/// Tickets for work there is none of, notices of runs that go on, and both a hundred times.
async fn lie(cluster: &mut Cluster<'_>) {
    let servers = cluster.servers;
    let pattern = format!("*{}*", cluster.name);
    let slow = cluster.begin_slow().await;
    for round in 0..10 {
        let keys = servers.redis(&["--scan", "--pattern", &pattern]);
        for key in keys.lines() {
            // Last first, twice, and between them something that is no ticket.
            let list = servers.redis(&["LRANGE", key, "0", "-1"]);
            for ticket in list.lines().rev() {
                servers.redis(&["RPUSH", key, ticket, ticket, "no ticket at all"]);
            }
        }
        for queue in ["default", "gpu", "control"] {
            let key = cluster.ticket_key(queue);
            servers.redis(&[
                "RPUSH",
                &key,
                "{}",
                "{\"v\":1,\"queue\":\"gpu\",\"hops\":0}",
            ]);
        }
        let some = cluster.runs.iter().map(|run| run.id);
        for run in some.skip(round).step_by(7).chain(slow.clone()) {
            let notice = format!(
                "{{\"v\":1,\"from\":\"liar\",\"stopped\":[\"{0}\"],\"touched\":[[\"{0}\",true]],\"missed\":true}}",
                run
            );
            servers.redis(&["PUBLISH", &cluster.notice_channel(), &notice]);
        }
        cluster.submit(1).await;
    }
}
