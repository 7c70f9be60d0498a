//! Every statement, named. Long ones live in `sql/*.sql`.

pub(super) const BEGIN: &str = "begin immediate";
pub(super) const COMMIT: &str = "commit";
pub(super) const ROLLBACK: &str = "rollback";
/// Changes when another connection, of this process or another, has written.
pub(super) const DATA_VERSION: &str = "pragma data_version";

macro_rules! files {
    ($($name:ident = $file:literal;)+) => {
        $(pub(super) const $name: &str = include_str!(concat!("sql/", $file, ".sql"));)+
    };
}

files! {
    LOAD_RUNS = "load_runs";
    LOAD_TASKS = "load_tasks";
    LOAD_STEPS = "load_steps";
    SAVE_TASKS = "save_tasks";
    FINISH_TASKS = "finish_tasks";
    INSERT_TASKS = "insert_tasks";
    SAVE_RUNS = "save_runs";
    INSERT_RUNS = "insert_runs";
    INSERT_VERSIONS = "insert_versions";
    INSERT_ATTEMPTS = "insert_attempts";
    INSERT_EVENTS = "insert_events";
    INSERT_ARTIFACTS = "insert_artifacts";
    INSERT_CACHE = "insert_cache";
    INSERT_LOGS = "insert_logs";
    SAVE_PROGRESS = "save_progress";
    CLAIM = "claim";
    CANCEL_ATTEMPTS = "cancel_attempts";
    CANCEL_TASKS = "cancel_tasks";
    RELEASE_ITEM = "release_item";
    RELEASE_TASK = "release_task";
    RESET_ITEMS = "reset_items";
    COUNT_PLACES = "count_places";
    OVERDUE_TASKS = "overdue_tasks";
    LOST_TASKS = "lost_tasks";
    RUN_VIEW = "run_view";
    LIST_RUNS = "list_runs";
    CHECK_COUNTERS = "check_counters";
}

pub(super) const SPEC: &str = "select spec from workflow_versions where version = $1";
pub(super) const KNOWN_KEYS: &str = "select json_group_array(json_array(r.idempotency_key, r.id, r.submit_digest)) \
     from jsonb_each($1) k cross join runs r on r.idempotency_key = k.value and r.idempotency_key is not null";
pub(super) const ACTIVE_RUNS: &str = "select cast(count(*) as text) from runs \
     where workflow = $1 and concurrency_key = $2 and concurrency_key is not null \
     and finished_at is null and queued = 0";
pub(super) const NEXT_QUEUED: &str = "select id from runs \
     where workflow = $1 and concurrency_key = $2 and concurrency_key is not null \
     and finished_at is null and queued = 1 order by id limit 1";
pub(super) const SET_QUEUED: &str = "update runs set queued = $2 where id = $1";
/// What only people's actions change.
pub(super) const SAVE_TERMS: &str = "update runs set paused = $2, generation = $3 where id = $1";
pub(super) const SAVE_DEADLINE: &str = "update runs set deadline_at = nullif($2, 0) where id = $1";
pub(super) const RELEASE_RUN: &str = "update task_runs set held = held & ~8 where run_id = $1 and held <> 0 and (held & 8) <> 0 returning queue";
pub(super) const LIVE_CHILDREN: &str = "select child_run from task_runs \
     where run_id = $1 and state = 'running' and child_run is not null and ($2 < 0 or (step = $2 and item >= 0))";
pub(super) const PAUSE_TASKS: &str =
    "update task_runs set held = held | 1 where run_id = $1 and state in ('ready', 'retrying')";
pub(super) const RESUME_TASKS: &str = "update task_runs set held = held & ~1 where run_id = $1 and held <> 0 and (held & 1) <> 0 returning queue";
pub(super) const PROMOTE_DUE: &str = "update task_runs set held = held & ~16 \
     where state = 'retrying' and (held & 16) <> 0 and due_at <= $1 returning queue";
pub(super) const NEXT_DUE: &str = "select coalesce(cast(min(due_at) as text), '') from task_runs where state = 'retrying' and (held & 16) <> 0";
pub(super) const REGISTER_WORKER: &str = "insert into workers (id, host, pid, queues, state, started_at, lease_until) \
     values ($1, $2, $3, $4, 'live', $5, $6)";
pub(super) const HEARTBEAT: &str =
    "update workers set lease_until = $2 where id = $1 and state = 'live' returning id";
pub(super) const RETIRE_WORKER: &str =
    "update workers set state = $2 where id = $1 and state = 'live'";
pub(super) const DEAD_WORKERS: &str =
    "select id from workers where state = 'live' and lease_until < $1";
pub(super) const LOSE_WORKERS: &str =
    "update workers set state = 'lost' where state = 'live' and lease_until < $1 returning id";
pub(super) const LATE_RUNS: &str = "select id from runs where deadline_at is not null \
     and finished_at is null and deadline_at < $1 and failure is null limit 100";
pub(super) const HELD_BY: &str = "select t.run_id, t.step, t.item, t.token from runs r \
     cross join task_runs t on t.run_id = r.id \
     where r.finished_at is null and t.worker_id = $1 and t.state = 'running' \
     and t.token is not null and t.started_at < $2 limit 50000";
pub(super) const SET_PLACES: &str = "update runs set active = $2, waiting = $3 where id = $1";
pub(super) const LIVE_WORKERS: &str = "select id, host from workers where state = 'live'";

pub(super) const DELETE_RUN: [&str; 7] = [
    "delete from task_runs where run_id = $1",
    "delete from attempts where run_id = $1",
    "delete from events where run_id = $1",
    "delete from logs where run_id = $1",
    "delete from artifacts where run_id = $1",
    "delete from step_cache where run_id = $1",
    "delete from runs where id = $1",
];

pub(super) const OUTPUTS: &str = "select step, item, state, output, error from task_runs \
     where run_id = $1 and step = $2 order by item";
pub(super) const INPUTS: &str = "select inputs from runs where id = $1";
pub(super) const RUN_STATE: &str = "select state from runs where id = $1";
pub(super) const FAILURE: &str = "select failure from runs where id = $1";
pub(super) const EVENTS_AFTER: &str =
    "select body from events where run_id = $1 and seq > $2 order by seq limit $3";
pub(super) const PROGRESS: &str = "select step, item, attempt, progress from task_runs \
     where run_id = $1 and state = 'running' and progress is not null";
pub(super) const TASK_ROWS: &str = "select json_array(step, item, state, held, queue, attempt, total, open, failed, \
     started_at, finished_at, due_at, child_run, output, error, cached, progress) from task_runs \
     where run_id = $1 and (item < 0 or $2) order by step, item";
pub(super) const ATTEMPT_ROWS: &str = "select json_array(step, item, attempt, outcome, worker_id, started_at, \
     finished_at, error) from ( \
     select step, item, attempt, outcome, worker_id, started_at, finished_at, error from attempts where run_id = $1 \
     union all select step, item, attempt, 'succeeded', worker_id, started_at, finished_at, null from task_runs \
     where run_id = $1 and state = 'succeeded' and attempt > 0 and total = 0 and output is not null \
     ) order by step, item, attempt limit 1000";
pub(super) const LOG_ROWS: &str = "select json_array(step, item, attempt, line, at, level, message) from logs \
     where run_id = $1 order by at, step, item, attempt, line";
pub(super) const ARTIFACT_ROWS: &str = "select json_array(step, item, digest, name, media_type, size_bytes, created_at) \
     from artifacts where run_id = $1 order by created_at, step, item, ordinal";
pub(super) const CACHED: &str = "select output, artifacts from step_cache where key = $1";
pub(super) const NEEDED_DIGESTS: &str =
    "select distinct a.digest from jsonb_each($1) d cross join artifacts a on a.digest = d.value";
pub(super) const RUN_IDS_LIKE: &str =
    "select id from runs where id >= $1 and id < $2 order by id limit 3";
pub(super) const LATEST_RUN: &str =
    "select id from runs where parent_run is null order by id desc limit 1";
pub(super) const EXPIRED_RUNS: &str =
    "select id from runs where expires_at is not null and expires_at < $1 limit 500";
pub(super) const ANY_UNFINISHED: &str = "select 1 from runs where finished_at is null limit 1";
pub(super) const COUNTS: &str = "select state, count(*) from runs group by state";
pub(super) const REFERENCED: &str = "select digest, name, media_type, size_bytes from artifacts";

/// All of the above, for the test that prepares them.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[
    DATA_VERSION,
    SPEC,
    KNOWN_KEYS,
    ACTIVE_RUNS,
    NEXT_QUEUED,
    DEAD_WORKERS,
    SET_QUEUED,
    SAVE_TERMS,
    SAVE_DEADLINE,
    RELEASE_RUN,
    LIVE_CHILDREN,
    PAUSE_TASKS,
    RESUME_TASKS,
    PROMOTE_DUE,
    NEXT_DUE,
    REGISTER_WORKER,
    HEARTBEAT,
    RETIRE_WORKER,
    LOSE_WORKERS,
    LATE_RUNS,
    LIVE_WORKERS,
    OUTPUTS,
    INPUTS,
    RUN_STATE,
    FAILURE,
    EVENTS_AFTER,
    PROGRESS,
    TASK_ROWS,
    ATTEMPT_ROWS,
    LOG_ROWS,
    ARTIFACT_ROWS,
    CACHED,
    NEEDED_DIGESTS,
    RUN_IDS_LIKE,
    LATEST_RUN,
    EXPIRED_RUNS,
    ANY_UNFINISHED,
    COUNTS,
    REFERENCED,
    LOAD_RUNS,
    LOAD_TASKS,
    LOAD_STEPS,
    SAVE_TASKS,
    FINISH_TASKS,
    INSERT_TASKS,
    SAVE_RUNS,
    INSERT_RUNS,
    INSERT_VERSIONS,
    INSERT_ATTEMPTS,
    INSERT_EVENTS,
    INSERT_ARTIFACTS,
    INSERT_CACHE,
    INSERT_LOGS,
    SAVE_PROGRESS,
    CLAIM,
    CANCEL_ATTEMPTS,
    CANCEL_TASKS,
    RELEASE_ITEM,
    RELEASE_TASK,
    RESET_ITEMS,
    COUNT_PLACES,
    SET_PLACES,
    HELD_BY,
    OVERDUE_TASKS,
    LOST_TASKS,
    RUN_VIEW,
    LIST_RUNS,
    CHECK_COUNTERS,
];
