-- The same tables as for SQLite, under the same names. What differs: keys compare bytewise (`collate "C"`), rows that
-- are updated leave room for it on their page, and no foreign keys: they would lock a run's row for each of its tasks.
-- Integrity is what `aquatint check` recounts.

-- Definitions, pinned: a run keeps the version it was submitted with.
create table workflow_versions (
    version     text collate "C" primary key,    -- content hash of the canonical definition
    name        text collate "C" not null,
    spec        text not null,                   -- the definition, canonical JSON
    created_at  bigint not null                  -- ms since the epoch, as every time here
);
create index workflow_versions_by_name on workflow_versions (name, created_at);

create table runs (
    id                text collate "C" primary key, -- UUIDv7: sorts by creation
    workflow          text collate "C" not null,
    version           text collate "C" not null,
    state             text collate "C" not null check (state in ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
    paused            bigint not null default 0,
    generation        bigint not null default 0, -- manual retries
    open              bigint not null,           -- steps not yet ended
    active            bigint not null default 0, -- under max_parallel: tasks with a place,
    waiting           bigint not null default 0, -- and tasks that wait for one
    ev_seq            bigint not null default 0, -- number of the last event
    priority          bigint not null default 0,
    depth             bigint not null default 0, -- parents above it
    no_cache          bigint not null default 0,
    parent_run        text collate "C",          -- the task it does the work of
    parent_step       integer,
    parent_item       integer,
    parent_attempt    bigint,
    concurrency_key   text collate "C",
    queued            bigint not null default 0, -- waits for another run of that key to end
    idempotency_key   text collate "C",
    submit_digest     text,                      -- hash of what was submitted under that key
    tags              text,                      -- JSON list
    inputs            text not null,
    output            text,
    failure           text,
    created_at        bigint not null,
    started_at        bigint,
    finished_at       bigint,
    deadline_at       bigint,
    expires_at        bigint
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create unique index runs_by_idempotency_key on runs (idempotency_key) where idempotency_key is not null;
-- Conditions on columns that only a run's end changes: what happens meanwhile touches no index.
create index runs_unfinished on runs (id) where finished_at is null;
create index runs_failed on runs (id) where finished_at is not null and state in ('failed', 'cancelled');
create index runs_by_workflow on runs (workflow, id);
create index runs_by_parent on runs (parent_run) where parent_run is not null;
create index runs_by_deadline on runs (deadline_at) where deadline_at is not null and finished_at is null;
create index runs_by_expiry on runs (expires_at) where expires_at is not null;
create index runs_by_concurrency on runs (workflow, concurrency_key, id)
    where concurrency_key is not null and finished_at is null;

-- One row per step of a run (item -1), and one per item of a mapped step (item 0, 1, …).
create table task_runs (
    run_id       text collate "C" not null,
    step         integer not null,               -- place in the run's plan
    item         integer not null,
    state        text collate "C" not null check (state in ('blocked', 'ready', 'running', 'retrying', 'succeeded', 'failed', 'skipped', 'cancelled')),
    held         bigint not null default 0,      -- set of reasons not to be claimed: 1 paused, 2 step limit, 4 run limit, 8 concurrency, 16 not due
    pending      bigint not null default 0,      -- predecessors not yet satisfied
    queue        text collate "C" not null,
    priority     bigint not null default 0,      -- higher goes first
    requires     text,                           -- JSON list: labels its worker must have
    memory_bytes bigint,                         -- memory its worker must have free
    timeout_ms   bigint,
    due_at       bigint not null,
    attempt      bigint not null default 0,      -- attempts begun, never reset
    tries        bigint not null default 0,      -- failed tries since the last manual retry
    losses       bigint not null default 0,      -- workers lost since then
    token        bigint,                         -- of the present lease; a report must match it
    worker_id    text collate "C",
    started_at   bigint,                         -- of the last attempt
    announced    bigint not null default 0,      -- whether an event tells of it
    deadline_at  bigint,
    finished_at  bigint,
    total        bigint not null default 0,      -- of a mapped step: items in all,
    open         bigint not null default 0,      -- not yet ended,
    failed       bigint not null default 0,      -- failed,
    waiting      bigint not null default 0,      -- and held by max_parallel
    child_run    text collate "C",               -- the run that does its work
    input        text,                           -- the item
    output       text,
    error        text,
    cached       bigint not null default 0,
    progress     text,
    primary key (run_id, step, item)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- What a claim looks at: never more than what is due.
create index task_runs_ready on task_runs (queue, priority desc, due_at)
    where state in ('ready', 'retrying') and held = 0;
-- What counts for a queue's cap: never more than what runs.
create index task_runs_running on task_runs (queue) where state = 'running';
create index task_runs_not_due on task_runs (due_at) where state = 'retrying' and (held & 16) <> 0;
create index task_runs_held on task_runs (run_id, step, item) where held <> 0;

-- Attempts that did not succeed, written when they end. The one that did is told by its task's own row.
create table attempts (
    run_id       text collate "C" not null,
    step         integer not null,
    item         integer not null,
    attempt      bigint not null,
    outcome      text not null check (outcome in ('failed', 'timed_out', 'cancelled', 'released', 'lost')),
    worker_id    text collate "C",
    started_at   bigint,
    finished_at  bigint not null,
    error        text,
    primary key (run_id, step, item, attempt)
);

-- One row per run and commit: the events of that commit, numbered up to `seq`.
create table events (
    position  bigint generated always as identity primary key, -- order over all runs
    run_id    text collate "C" not null,
    seq       bigint not null,
    body      text not null                      -- JSON list of events
);
create unique index events_by_run on events (run_id, seq);

create table logs (
    run_id   text collate "C" not null,
    step     integer not null,
    item     integer not null,
    attempt  bigint not null,
    line     bigint not null,
    at       bigint not null,
    level    text not null,
    message  text not null,
    primary key (run_id, step, item, attempt, line)
);

-- Who refers to which stored file. A file nobody refers to is swept.
create table artifacts (
    run_id      text collate "C" not null,
    step        integer not null,
    item        integer not null,
    attempt     bigint not null,
    ordinal     integer not null,
    digest      text collate "C" not null,
    name        text collate "C" not null,
    media_type  text not null,
    size_bytes  bigint not null,
    created_at  bigint not null,
    primary key (run_id, step, item, attempt, ordinal)
);
create index artifacts_by_digest on artifacts (digest);

-- Results that a later step with the same task, version and inputs may take over.
create table step_cache (
    key         text collate "C" primary key,
    task        text not null,
    run_id      text collate "C" not null,
    output      text not null,
    artifacts   text not null,                   -- JSON list
    created_at  bigint not null
);
create index step_cache_by_run on step_cache (run_id);

create table workers (
    id            text collate "C" primary key,
    host          text not null,
    pid           bigint not null,
    name          text,                          -- what people call it
    version       text not null,                 -- of the program
    queues        text not null,                 -- JSON object: queue to slots, as they are now
    busy          text not null,                 -- JSON object: queue to attempts under way
    labels        text not null,                 -- JSON list: what it can do
    memory_bytes  bigint,                        -- what its tasks may need together
    rss_bytes     bigint,                        -- what the process occupies
    finished      bigint not null default 0,     -- attempts it has brought to an end
    draining      bigint not null default 0,     -- claims no more
    wanted        text,                          -- JSON: what operators want of it
    state         text collate "C" not null check (state in ('live', 'stopped', 'lost')),
    started_at    bigint not null,
    seen_at       bigint not null,               -- its last heartbeat
    lease_until   bigint not null
) with (fillfactor = 50);
create index workers_live on workers (lease_until) where state = 'live';
create index workers_gone on workers (seen_at) where state <> 'live';

-- What operators said of a queue; one they said nothing of has no row.
create table queues (
    name          text collate "C" primary key,
    paused        bigint not null default 0,     -- gives no work
    cap           bigint,                        -- at most so many of its tasks run, over all workers
    updated_at    bigint not null
);
