-- Definitions, pinned: a run keeps the version it was submitted with.
create table workflow_versions (
    version     text primary key,             -- content hash of the canonical definition
    name        text not null,
    spec        text not null,                -- the definition, canonical JSON
    created_at  bigint not null               -- ms since the epoch, as every time here
) without rowid;
create index workflow_versions_by_name on workflow_versions (name, created_at);

create table runs (
    id                text primary key,       -- UUIDv7: sorts by creation
    workflow          text not null,
    version           text not null,
    state             text not null check (state in ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
    paused            integer not null default 0,
    generation        integer not null default 0,   -- manual retries
    open              integer not null,             -- steps not yet ended
    active            integer not null default 0,   -- under max_parallel: tasks with a place,
    waiting           integer not null default 0,   -- and tasks that wait for one
    ev_seq            integer not null default 0,   -- number of the last event
    priority          integer not null default 0,
    depth             integer not null default 0,   -- parents above it
    no_cache          integer not null default 0,
    parent_run        text,                         -- the task it does the work of
    parent_step       integer,
    parent_item       integer,
    parent_attempt    integer,
    concurrency_key   text,
    queued            integer not null default 0,   -- waits for another run of that key to end
    idempotency_key   text,
    submit_digest     text,                         -- hash of what was submitted under that key
    tags              text,                         -- JSON list
    inputs            text not null,
    output            text,
    failure           text,
    created_at        bigint not null,
    started_at        bigint,
    finished_at       bigint,
    deadline_at       bigint,
    expires_at        bigint
) without rowid;
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
    run_id       text not null,
    step         integer not null,            -- place in the run's plan
    item         integer not null,
    state        text not null check (state in ('blocked', 'ready', 'running', 'retrying', 'succeeded', 'failed', 'skipped', 'cancelled')),
    held         integer not null default 0,  -- set of reasons not to be claimed: 1 paused, 2 step limit, 4 run limit, 8 concurrency, 16 not due
    pending      integer not null default 0,  -- predecessors not yet satisfied
    queue        text not null,
    priority     integer not null default 0,  -- higher goes first
    requires     text,                        -- JSON list: labels its worker must have
    memory_bytes bigint,                      -- memory its worker must have free
    timeout_ms   bigint,
    due_at       bigint not null,
    attempt      integer not null default 0,  -- attempts begun, never reset
    tries        integer not null default 0,  -- failed tries since the last manual retry
    losses       integer not null default 0,  -- workers lost since then
    token        bigint,                      -- of the present lease; a report must match it
    worker_id    text,
    started_at   bigint,                      -- of the last attempt
    announced    integer not null default 0,  -- whether an event tells of it
    deadline_at  bigint,
    finished_at  bigint,
    total        integer not null default 0,  -- of a mapped step: items in all,
    open         integer not null default 0,  -- not yet ended,
    failed       integer not null default 0,  -- failed,
    waiting      integer not null default 0,  -- and held by max_parallel
    child_run    text,                        -- the run that does its work
    input        text,                        -- the item
    output       text,
    error        text,
    cached       integer not null default 0,
    progress     text,
    primary key (run_id, step, item)
) without rowid;
-- What a claim looks at: never more than what is due.
create index task_runs_ready on task_runs (queue, priority desc, due_at, run_id, step, item)
    where state in ('ready', 'retrying') and held = 0;
-- What counts for a queue's cap: never more than what runs.
create index task_runs_running on task_runs (queue) where state = 'running';
create index task_runs_not_due on task_runs (due_at) where state = 'retrying' and (held & 16) <> 0;
create index task_runs_held on task_runs (run_id, step, item) where held <> 0;

-- Attempts that did not succeed, written when they end. The one that did is told by its task's own row.
create table attempts (
    run_id       text not null,
    step         integer not null,
    item         integer not null,
    attempt      integer not null,
    outcome      text not null check (outcome in ('failed', 'timed_out', 'cancelled', 'released', 'lost')),
    worker_id    text,
    started_at   bigint,
    finished_at  bigint not null,
    error        text,
    primary key (run_id, step, item, attempt)
) without rowid;

-- One row per run and commit: the events of that commit, numbered up to `seq`.
create table events (
    position  integer primary key,            -- order over all runs
    run_id    text not null,
    seq       integer not null,
    body      text not null                   -- JSON list of events
);
create unique index events_by_run on events (run_id, seq);

create table logs (
    run_id   text not null,
    step     integer not null,
    item     integer not null,
    attempt  integer not null,
    line     integer not null,
    at       bigint not null,
    level    text not null,
    message  text not null,
    primary key (run_id, step, item, attempt, line)
) without rowid;

-- Who refers to which stored file. A file nobody refers to is swept.
create table artifacts (
    run_id      text not null,
    step        integer not null,
    item        integer not null,
    attempt     integer not null,
    ordinal     integer not null,
    digest      text not null,
    name        text not null,
    media_type  text not null,
    size_bytes  bigint not null,
    created_at  bigint not null,
    primary key (run_id, step, item, attempt, ordinal)
) without rowid;
create index artifacts_by_digest on artifacts (digest);

-- Results that a later step with the same task, version and inputs may take over.
create table step_cache (
    key         text primary key,
    task        text not null,
    run_id      text not null,
    output      text not null,
    artifacts   text not null,                -- JSON list
    created_at  bigint not null
) without rowid;
create index step_cache_by_run on step_cache (run_id);

create table workers (
    id            text primary key,
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
    state         text not null check (state in ('live', 'stopped', 'lost')),
    started_at    bigint not null,
    seen_at       bigint not null,               -- its last heartbeat
    lease_until   bigint not null
) without rowid;
create index workers_live on workers (lease_until) where state = 'live';
create index workers_gone on workers (seen_at) where state <> 'live';

-- What operators said of a queue; one they said nothing of has no row.
create table queues (
    name          text primary key,
    paused        bigint not null default 0,     -- gives no work
    cap           bigint,                        -- at most so many of its tasks run, over all workers
    updated_at    bigint not null
) without rowid;
