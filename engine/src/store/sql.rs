//! Every statement, named. Long ones live in `sql/*.sql`; what `PostgreSQL` does by other means, in `sql/postgres/*.sql`.

use super::statement::Statement;

/// Said as they are, never prepared.
pub(super) static BEGIN: Statement = Statement::pair("begin", "begin immediate", "begin");
pub(super) static COMMIT: Statement = Statement::shared("commit", "commit");
/// Gives pages back that a file holds and nobody needs, a few at a time; `PostgreSQL` sees to it itself.
pub(super) static GIVE_BACK: Statement = Statement::pair(
    "give_back",
    "pragma incremental_vacuum(2000)",
    "select null where false",
);
/// Bytes in all, and of those the ones nobody needs.
pub(super) static DATABASE_SIZE: Statement = Statement::pair(
    "database_size",
    "select json_array(p.page_count * s.page_size, f.freelist_count * s.page_size) \
    from pragma_page_count() p, pragma_page_size() s, pragma_freelist_count() f",
    "select json_build_array(pg_database_size(current_database()), 0)",
);
/// What this machine's clock should show, ms.
pub(super) static DATABASE_CLOCK: Statement = Statement::pair(
    "database_clock",
    "select cast((julianday('now') - 2440587.5) * 86400000 as integer) || ''",
    "select cast(cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as text)",
);
/// Changes when another connection, of this process or another, has written; `SQLite` only.
pub(super) const DATA_VERSION: &str = "pragma data_version";

/// The same question as `LOAD_RUNS`, to a database that is asked in fewer steps.
pub(super) static LOAD_TOP_RUNS: Statement = Statement::pair(
    "load_top_runs",
    include_str!("sql/load_runs.sql"),
    include_str!("sql/postgres/load_top_runs.sql"),
);

/// The run of a concurrency key that waits longest. One that somebody is at is left to them, and to the next look.
pub(super) static NEXT_QUEUED: Statement = Statement::pair(
    "next_queued",
    "select id from runs where workflow = $1 and concurrency_key = $2 and concurrency_key is not null \
    and finished_at is null and queued = 1 order by id limit 1",
    "select id from runs where workflow = $1 and concurrency_key = $2 and concurrency_key is not null \
    and finished_at is null and queued = 1 order by id limit 1 for no key update skip locked",
);
/// Trees of which tasks are still to be cancelled; $1 at most.
pub(super) static CANCELLATIONS: Statement = Statement::pair(
    "cancellations",
    "select json_array(run_id, only_step, spare_step, after_step, after_item) from teardowns where kind = 'cancel' \
    order by run_id limit $1",
    "select json_build_array(run_id, only_step, spare_step, after_step, after_item) from teardowns where kind = 'cancel' \
    order by run_id limit $1 for update skip locked",
);
/// Deleted runs of which something is left; $1 at most. Children first: they are younger. One that is still being
/// cancelled waits.
pub(super) static DELETIONS: Statement = Statement::pair(
    "deletions",
    "select run_id from teardowns d where kind = 'delete' and not exists ( \
        select 1 from teardowns c where c.kind = 'cancel' and c.run_id = d.run_id) order by run_id desc limit $1",
    "select run_id from teardowns d where kind = 'delete' and not exists ( \
        select 1 from teardowns c where c.kind = 'cancel' and c.run_id = d.run_id) order by run_id desc limit $1 \
    for update of d skip locked",
);

macro_rules! unless_changed {
    ($load:literal, $known:literal) => {
        concat!(
            "select null where jsonb(case when cast((\n",
            include_str!($load),
            "\n) as text) = ",
            $known,
            " then '0' else 'changed meanwhile' end) is null"
        )
    };
}

/// Reads what `FORESEE_RUN` does, and fails unless it is `$2`: what is no JSON cannot be read as such.
pub(super) static SAME_RUN: Statement = Statement::pair(
    "same_run",
    unless_changed!("sql/foresee_run.sql", "$2"),
    include_str!("sql/postgres/same_run.sql"),
);
/// Reads what `FORESEE_TASKS` does, and fails unless it is `$3`.
pub(super) static SAME_TASKS: Statement = Statement::pair(
    "same_tasks",
    unless_changed!("sql/foresee_tasks.sql", "$3"),
    unless_changed!("sql/postgres/foresee_tasks.sql", "$3"),
);

macro_rules! statements {
    (
        shared { $($shared:ident = $shared_file:literal;)+ }
        pairs { $($pair:ident = $pair_file:literal;)+ }
        inline { $($(#[doc = $doc:literal])* $inline:ident = $text:literal;)+ }
    ) => {
        $(pub(super) static $shared: Statement = Statement::shared(
            $shared_file,
            include_str!(concat!("sql/", $shared_file, ".sql")),
        );)+
        $(pub(super) static $pair: Statement = Statement::pair(
            $pair_file,
            include_str!(concat!("sql/", $pair_file, ".sql")),
            include_str!(concat!("sql/postgres/", $pair_file, ".sql")),
        );)+
        $($(#[doc = $doc])* pub(super) static $inline: Statement = Statement::shared(
            stringify!($inline),
            $text,
        );)+
        /// All of the above, for the test that prepares them.
        #[cfg(test)]
        pub(super) static ALL: &[&Statement] = &[&LOAD_TOP_RUNS, &SAME_RUN, &SAME_TASKS, &NEXT_QUEUED, &CANCELLATIONS, &DELETIONS, $(&$shared,)+ $(&$pair,)+ $(&$inline,)+];
    };
}

statements! {
    shared {
        SAVE_TASKS = "save_tasks";
        FINISH_TASKS = "finish_tasks";
        READY_TASKS = "ready_tasks";
        START_TASK = "start_task";
        FORESEE_RUN = "foresee_run";
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
        CANCEL_ATTEMPTS = "cancel_attempts";
        CANCEL_TASKS = "cancel_tasks";
        CANCEL_ATTEMPTS_OF_MANY = "cancel_attempts_of_many";
        CANCEL_TASKS_OF_MANY = "cancel_tasks_of_many";
        LIVE_TASKS = "live_tasks";
        LIVE_TASKS_OF_MANY = "live_tasks_of_many";
        RELEASE_ITEM = "release_item";
        RELEASE_TASK = "release_task";
        RESET_ITEMS = "reset_items";
        COUNT_PLACES = "count_places";
        OVERDUE_TASKS = "overdue_tasks";
        LOST_TASKS = "lost_tasks";
        LOAD_TASKS = "load_tasks";
        LOAD_STEPS = "load_steps";
        RUN_VIEWS = "run_views";
        RUN_DETAILS = "run_details";
        AUDIT_RUNS = "audit_runs";
        AUDIT_ORPHANS = "audit_orphans";
        WAITING_RUNS = "waiting_runs";
        WORKING = "working";
    }
    pairs {
        LOAD_RUNS = "load_runs";
        LOCK_CONCURRENCY = "lock_concurrency";
        CLAIM = "claim";
        FORESEE_TASKS = "foresee_tasks";
        CLAIM_FITTING = "claim_fitting";
        CLAIM_PREFERRING = "claim_preferring";
        LOCK_NAME = "lock_name";
        LOCK_WAITING = "lock_waiting";
        PROMOTE_DUE = "promote_due";
    }
    inline {
        SPEC = "select spec from workflow_versions where version = $1";
        KNOWN_KEYS = "select json_group_array(json_array(r.idempotency_key, r.id, r.submit_digest)) \
            from json_texts($1) k cross join runs r on r.idempotency_key = k.value and r.idempotency_key is not null";
        ACTIVE_RUNS = "select cast(count(*) as text) from runs \
            where workflow = $1 and concurrency_key = $2 and concurrency_key is not null \
            and finished_at is null and queued = 0";
        SET_QUEUED = "update runs set queued = $2 where id = $1";
        #[doc = "What only people's actions change."]
        SAVE_TERMS = "update runs set paused = $2, generation = $3 where id = $1";
        SAVE_DEADLINE = "update runs set deadline_at = nullif(cast($2 as bigint), 0) where id = $1";
        RELEASE_RUN = "update task_runs set held = held & ~8 where run_id = $1 and held <> 0 and (held & 8) <> 0 returning queue";
        PAUSE_TASKS = "update task_runs set held = held | 1 where run_id = $1 and state in ('ready', 'retrying')";
        RESUME_TASKS = "update task_runs set held = held & ~1 where run_id = $1 and held <> 0 and (held & 1) <> 0 returning queue";
        NEXT_DUE = "select coalesce(cast(min(due_at) as text), '') from task_runs where state = 'retrying' and (held & 16) <> 0";
        REGISTER_WORKER = "insert into workers (id, host, pid, name, version, queues, busy, labels, memory_bytes, wanted, \
            state, started_at, seen_at, lease_until) \
            values ($1, $2, $3, $4, $5, $6, '{}', $7, $8, $9, 'live', $10, $10, $11) on conflict (id) do nothing";
        #[doc = "Renews the lease and tells how it goes; answers with what operators want, and nothing where it is not known as live."]
        HEARTBEAT = "update workers set lease_until = $2, seen_at = $3, queues = coalesce($4, queues), busy = $5, \
            rss_bytes = $6, finished = $7, draining = $8, loaded = $9 \
            where id = $1 and state = 'live' returning coalesce(wanted, '')";
        #[doc = "Workers come and go by the hour where they begin anew after so many tasks."]
        FORGET_WORKERS = "delete from workers where id in (select id from workers where state <> 'live' and seen_at < $1 limit 1000) returning id";
        WISHES = "select json_array(id, coalesce(wanted, '{}')) from workers where state = 'live' \
            and (cast($1 as text) is null or id = $1) order by id";
        WISH = "update workers set wanted = $2 where id = $1 and state = 'live'";
        SERVED = "select json_array(id, queues, draining, labels) from workers where state = 'live'";
        WORKERS_LIVE = "select json_array(id, host, pid, name, version, queues, busy, labels, memory_bytes, rss_bytes, finished, \
            draining, wanted, state, started_at, seen_at, loaded) from workers where state = 'live'";
        WORKERS_GONE = "select json_array(id, host, pid, name, version, queues, busy, labels, memory_bytes, rss_bytes, finished, \
            draining, wanted, state, started_at, seen_at, loaded) from workers where state <> 'live' and seen_at > $1 order by seen_at desc limit 200";

        INSERT_TAGS = "insert into run_tags (tag, run_id) select value ->> 0, value ->> 1 from json_rows($1) where true on conflict do nothing";
        #[doc = "Results that a run takes over from another: $1 from, $2 to, $3 steps."]
        COPY_STEPS = "insert into task_runs (run_id, step, item, state, queue, priority, due_at, attempt, started_at, \
            announced, finished_at, total, failed, input, output, error, cached) \
            select cast($2 as text), t.step, t.item, t.state, t.queue, t.priority, t.due_at, 0, t.started_at, \
            t.announced, t.finished_at, t.total, t.failed, t.input, t.output, t.error, 1 \
            from json_texts($3) k cross join task_runs t on t.run_id = $1 and t.step = cast(k.value as integer)";
        COPY_ARTIFACTS = "insert into artifacts (run_id, step, item, attempt, ordinal, digest, name, media_type, size_bytes, created_at) \
            select cast($2 as text), step, item, attempt, ordinal, digest, name, media_type, size_bytes, created_at \
            from artifacts where run_id = $1 and (step < 0 or step in (select cast(value as integer) from json_texts($3)))";
        VERSIONS = "select json_array(version, created_at) from workflow_versions where name = $1 order by created_at desc limit 100";
        RECORDS = "select json_array(id, body, revision, created_at, updated_at) from records where kind = $1 order by id";
        RECORD = "select json_array(id, body, revision, created_at, updated_at) from records where kind = $1 and id = $2";
        DUE_RECORDS = "select json_array(id, body, revision, created_at, updated_at) from records \
            where kind = $1 and due_at is not null and due_at <= $2 order by due_at limit $3";
        #[doc = "$4 is the revision seen: 0 for none, -1 for whatever is there. $6 is when to look at it, 0 for never."]
        KEEP_RECORD = "insert into records (kind, id, body, revision, created_at, updated_at, due_at) \
            select $1, $2, $3, 1, cast($5 as bigint), cast($5 as bigint), nullif(cast($6 as bigint), 0) \
            where $4 <= 0 or exists (select 1 from records where kind = $1 and id = $2) \
            on conflict (kind, id) do update set body = excluded.body, revision = records.revision + 1, \
            updated_at = excluded.updated_at, due_at = excluded.due_at \
            where records.revision = $4 or $4 < 0 returning cast(revision as text)";
        FORGET_RECORD = "delete from records where kind = $1 and id = $2 and (revision = $3 or $3 < 0) returning id";
        FEED = "select json_array(position, run_id, body) from events where position > $1 order by position limit $2";
        LAST_POSITION = "select coalesce(cast(max(position) as text), '0') from events";
        FILE_OF_OWNER = "select json_array(a.digest, a.name, a.media_type, a.size_bytes) \
            from artifacts a join runs r on r.id = a.run_id where a.digest = $1 and ($2 = '' or r.owner = $2) limit 1";
        ARTIFACT_OF = "select json_array(digest, name, media_type, size_bytes) from artifacts where run_id = $1 and digest = $2 limit 1";

        CAPPED_QUEUES = "select name from queues where cap is not null";
        QUEUE_ORDERS = "select json_array(name, paused, cap) from queues";
        PAUSE_QUEUE = "insert into queues (name, paused, updated_at) values ($1, $2, $3) \
            on conflict (name) do update set paused = excluded.paused, updated_at = excluded.updated_at";
        CAP_QUEUE = "insert into queues (name, cap, updated_at) values ($1, $2, $3) \
            on conflict (name) do update set cap = excluded.cap, updated_at = excluded.updated_at";
        #[doc = "What nobody says anything of any more."]
        FORGET_QUEUE = "delete from queues where name = $1 and paused = 0 and cap is null";
        QUEUES_READY = "select json_array(queue, count(*), min(due_at)) from task_runs indexed by task_runs_ready \
            where state in ('ready', 'retrying') and held = 0 group by queue";
        QUEUES_RUNNING = "select json_array(queue, count(*)) from task_runs indexed by task_runs_claimed \
            where token is not null group by queue";
        QUEUES_WAITING = "select json_array(queue, count(*)) from task_runs indexed by task_runs_held \
            where held <> 0 and state in ('ready', 'retrying') group by queue";

        RETIRE_WORKER = "update workers set state = $2 where id = $1 and state = 'live'";
        DEAD_WORKERS = "select id from workers where state = 'live' and lease_until < $1";
        LOSE_WORKERS = "update workers set state = 'lost' where state = 'live' and lease_until < $1 returning id";
        LATE_RUNS = "select id from runs where deadline_at is not null \
            and finished_at is null and deadline_at < $1 and failure is null limit 100";
        HELD_BY = "select json_array(run_id, step, item, token) from task_runs indexed by task_runs_claimed \
            where token is not null and worker_id = $1 and started_at < $2 limit 50000";
        #[doc = "What `claim` answers with, asked again: for claims whose commit was not answered."]
        CLAIMED = "select {claim} from task_runs t indexed by task_runs_claimed \
            where t.token is not null and t.worker_id = $1 and t.token = $2";
        #[doc = "Claims that their worker cannot run, as if they had never been: $1 = [[run, step, item, token], …]."]
        RETURN_CLAIMS = "update task_runs set state = 'ready', token = null, worker_id = null, started_at = null, \
            deadline_at = null, attempt = attempt - 1 \
            from (select value ->> 0 as run_id, cast(value ->> 1 as integer) as step, cast(value ->> 2 as integer) as item, \
            cast(value ->> 3 as bigint) as token from json_rows($1)) j \
            where task_runs.run_id = j.run_id and task_runs.step = j.step and task_runs.item = j.item and task_runs.token = j.token";
        #[doc = "Attempts that were given up with their worker, which is there after all: $1 worker, $2 = [[run, step, item], …]."]
        EXCUSE_ATTEMPTS = "update attempts set outcome = 'released' \
            from (select value ->> 0 as run_id, cast(value ->> 1 as integer) as step, cast(value ->> 2 as integer) as item from json_rows($2)) j \
            where attempts.run_id = j.run_id and attempts.step = j.step and attempts.item = j.item \
            and attempts.worker_id = $1 and attempts.outcome = 'lost' \
            returning json_array(attempts.run_id, attempts.step, attempts.item)";
        EXCUSE_TASKS = "update task_runs set losses = losses - 1 \
            from (select value ->> 0 as run_id, cast(value ->> 1 as integer) as step, cast(value ->> 2 as integer) as item from json_rows($1)) j \
            where task_runs.run_id = j.run_id and task_runs.step = j.step and task_runs.item = j.item and task_runs.losses > 0 \
            and task_runs.state in ('blocked', 'ready', 'running', 'retrying')";
        WAITING_WORKFLOWS = "select distinct workflow from runs indexed by runs_by_concurrency \
            where concurrency_key is not null and finished_at is null and queued = 1 limit 100";
        WAITING_KEYS = "select distinct concurrency_key from runs indexed by runs_by_concurrency \
            where workflow = $1 and concurrency_key is not null and finished_at is null and queued = 1 limit 100";
        SET_PLACES = "update runs set active = $2, waiting = $3 where id = $1";
        LIVE_WORKERS = "select json_array(id, host) from workers where state = 'live'";

        #[doc = "Runs whose tasks are still to be cancelled: what is left of them is in `teardowns`."]
        IS_CANCELLING = "select run_id from teardowns where kind = 'cancel' and run_id in (select value from json_texts($1))";
        ANY_TEARDOWN = "select '1' from teardowns limit 1";
        KEEP_CANCELLATIONS = "insert into teardowns (kind, run_id, only_step, spare_step, after_step, after_item) \
            select 'cancel', value ->> 0, cast(value ->> 1 as integer), cast(value ->> 2 as integer), \
            cast(value ->> 3 as integer), cast(value ->> 4 as integer) from json_rows($1) where true \
            on conflict (kind, run_id, only_step) do update set after_step = excluded.after_step, after_item = excluded.after_item";
        FORGET_CANCELLATION = "delete from teardowns where kind = 'cancel' and run_id = $1 and only_step = $2";
        KEEP_DELETIONS = "insert into teardowns (kind, run_id) select 'delete', value from json_texts($1) where true \
            on conflict (kind, run_id, only_step) do nothing";
        FORGET_DELETIONS = "delete from teardowns where kind = 'delete' and run_id in (select value from json_texts($1))";
        CHILD_RUNS = "select json_array(id, case when finished_at is null then 0 else 1 end) from runs \
            where parent_run is not null and parent_run in (select value from json_texts($1)) limit $2";
        DELETE_RUNS = "delete from runs where id in (select value from json_texts($1))";
        DELETE_TAGS_OF = "delete from run_tags where run_id in (select value from json_texts($1))";
        DELETE_TASKS = "delete from task_runs where (run_id, step, item) in (select run_id, step, item from task_runs \
            where run_id in (select value from json_texts($1)) limit $2) returning 'tasks'";
        DELETE_ATTEMPTS = "delete from attempts where (run_id, step, item, attempt) in (select run_id, step, item, attempt from attempts \
            where run_id in (select value from json_texts($1)) limit $2) returning 'attempts'";
        DELETE_EVENTS = "delete from events where position in (select position from events \
            where run_id in (select value from json_texts($1)) order by run_id, seq limit $2) returning 'events'";
        DELETE_LOGS = "delete from logs where (run_id, step, item, attempt, line) in (select run_id, step, item, attempt, line from logs \
            where run_id in (select value from json_texts($1)) limit $2) returning 'logs'";
        DELETE_ARTIFACTS = "delete from artifacts where (run_id, step, item, attempt, ordinal) in ( \
            select run_id, step, item, attempt, ordinal from artifacts \
            where run_id in (select value from json_texts($1)) limit $2) returning 'artifacts'";
        DELETE_CACHE = "delete from step_cache where key in (select key from step_cache \
            where run_id in (select value from json_texts($1)) limit $2) returning 'cache'";

        OUTPUTS = "select json_array(item, state, output, error) from task_runs \
            where run_id = $1 and step = $2 order by item";
        OUTPUT_SIZES = "select json_array(count(*), coalesce(sum(octet_length(output)), 0)) from task_runs \
            where run_id = $1 and step = $2 and item >= 0";
        INPUTS = "select inputs from runs where id = $1";
        RUN_STATE = "select state from runs where id = $1";
        FAILURE = "select failure from runs where id = $1";
        EVENTS_AFTER = "select body from events where run_id = $1 and seq > $2 order by seq limit $3";
        TRIES = "select json_array(tries) from task_runs where run_id = $1 and step = $2 and item = $3";
        PROGRESS = "select json_array(step, item, progress) from task_runs \
            where run_id = $1 and state = 'running' and progress is not null";
        PREVIEWS = "select progress from task_runs indexed by task_runs_claimed \
            where token is not null and progress like '%\"preview\"%'";
        TASK_ROWS = "select json_array(step, item, state, held, queue, attempt, total, open, failed, \
            started_at, finished_at, due_at, child_run, output, error, cached, progress) from task_runs \
            where run_id = $1 and (item < 0 or $2 <> 0) order by step, item";
        ITEM_ROWS = "select json_array(step, item, state, held, queue, attempt, total, open, failed, \
            started_at, finished_at, due_at, child_run, output, error, cached, progress) from task_runs \
            where run_id = $1 and step = $2 and item > $3 order by item limit $4";
        ATTEMPT_ROWS = "select json_array(step, item, attempt, outcome, worker_id, started_at, \
            finished_at, error) from ( \
            select step, item, attempt, outcome, worker_id, started_at, finished_at, error from attempts where run_id = $1 \
            union all select step, item, attempt, 'succeeded', worker_id, started_at, finished_at, null from task_runs \
            where run_id = $1 and state = 'succeeded' and attempt > 0 and total = 0 and output is not null \
            ) a order by step, item, attempt limit 1000";
        LOG_ROWS = "select json_array(step, item, attempt, line, at, level, message) from logs \
            where run_id = $1 order by at, step, item, attempt, line";
        ARTIFACT_ROWS = "select json_array(step, item, digest, name, media_type, size_bytes, created_at) \
            from artifacts where run_id = $1 order by created_at, step, item, ordinal";
        CACHED = "select json_array(output, artifacts) from step_cache where key = $1";
        NEEDED_DIGESTS = "select distinct a.digest from json_texts($1) d cross join artifacts a on a.digest = d.value";
        RUN_IDS_LIKE = "select id from runs where id >= $1 and id < $2 order by id limit 3";
        LATEST_RUN = "select id from runs where parent_run is null order by id desc limit 1";
        EXPIRED_RUNS = "select id from runs where expires_at is not null and expires_at < $1 limit 500";
        UNTOLD = "select id from runs where notify is not null and finished_at is not null and notified <= generation order by id limit 100";
        TOLD = "update runs set notified = generation + 1 where id = $1 and generation = $2";
        OLD_RUNS = "select id from runs where finished_at is not null and finished_at < $1 and expires_at is null \
            and parent_run is null and id > $2 and id < $3 order by id limit 500";
        #[doc = "Those with logs; $2 is the id a run made at $1 would begin with."]
        OLD_LOGS = "select distinct l.run_id from logs l cross join runs r on r.id = l.run_id \
            where l.run_id < $2 and r.finished_at is not null and r.finished_at < $1 order by l.run_id limit 200";
        OLD_EVENTS = "select distinct e.run_id from events e cross join runs r on r.id = e.run_id \
            where e.run_id < $2 and r.finished_at is not null and r.finished_at < $1 order by e.run_id limit 200";
        FORGET_CACHE = "delete from step_cache where key in (select key from step_cache where created_at < $1 limit 1000) returning '1'";
        #[doc = "How runs that began since then have ended."]
        ENDED_SINCE = "select json_array(workflow, state, count(*)) from runs where id >= $1 and created_at >= $2 and finished_at is not null \
            and parent_run is null group by workflow, state";
        #[doc = "Which runs were given up since then, because their work kills workers."]
        QUARANTINED_SINCE = "select json_array(id, workflow, failure) from runs where finished_at is not null \
            and state in ('failed', 'cancelled') and id >= $1 and finished_at >= $2 and failure like '%quarantined%' order by id limit 100";
        RUNS_AFTER = "select id from runs where id > $1 order by id limit $2";
        ANY_UNFINISHED = "select '1' from runs where finished_at is null limit 1";
        COUNTS = "select json_array(state, count(*)) from runs group by state order by state";
        REFERENCED = "select json_array(digest, name, media_type, size_bytes) from artifacts";
    }
}

/// What belongs to runs, so many rows of each table at a time; each row deleted answers with its table's name.
pub(super) static DELETE_BELONGINGS: [&Statement; 6] = [
    &DELETE_TASKS,
    &DELETE_ATTEMPTS,
    &DELETE_EVENTS,
    &DELETE_LOGS,
    &DELETE_ARTIFACTS,
    &DELETE_CACHE,
];
