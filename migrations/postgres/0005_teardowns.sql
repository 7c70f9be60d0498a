-- Trees of runs that are being cancelled or deleted, a portion at a time. A run that fits into one portion has no row here.
create table teardowns (
    run_id      text collate "C" not null,
    kind        text collate "C" not null check (kind in ('cancel', 'delete')),
    only_step   integer not null default -1,     -- cancel only the items of this step; -1: every step
    spare_step  integer not null default -1,     -- but never this one
    after_step  integer not null default -1,     -- rows up to this one are done
    after_item  integer not null default -1,
    primary key (kind, run_id, only_step)
);

-- Attempts under way: what counts for a queue's cap, and what a sweep looks at. Steps that wait for their items or
-- for a sub-workflow are running too, but hold no lease; there may be any number of them.
drop index task_runs_running;
create index task_runs_claimed on task_runs (queue) where token is not null;
