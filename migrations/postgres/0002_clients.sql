-- What clients of the API need: whose a run is, how to find it again, and what the API itself keeps.
alter table runs add column owner text collate "C";   -- the key that submitted it
alter table runs add column retention_ms bigint;      -- kept so long after its end, instead of its workflow's time
create index runs_by_owner on runs (owner, id) where owner is not null;

-- The words a run was submitted with, one row each; the list itself is in `runs.tags`.
create table run_tags (
    tag         text collate "C" not null,
    run_id      text collate "C" not null,
    primary key (tag, run_id)
);
create index run_tags_by_run on run_tags (run_id);

-- What is read whole and written seldom: keys, webhooks, background jobs, cursors.
create table records (
    kind        text collate "C" not null,
    id          text collate "C" not null,
    body        text not null,                -- JSON
    revision    bigint not null,              -- rises with every change: a writer must name the one it saw
    created_at  bigint not null,
    updated_at  bigint not null,
    primary key (kind, id)
);
