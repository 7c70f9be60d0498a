-- $1 = [[id, workflow, version, state, open, active, waiting, ev_seq, priority, depth, no_cache,
--        parent_run, parent_step, parent_item, parent_attempt, concurrency_key, queued,
--        idempotency_key, submit_digest, tags, inputs, created_at, deadline_at, owner, retention_ms, notify], …]
-- A run that does a step's work belongs to whoever the run above belongs to.
insert into runs (id, workflow, version, state, open, active, waiting, ev_seq, priority, depth, no_cache,
    parent_run, parent_step, parent_item, parent_attempt, concurrency_key, queued,
    idempotency_key, submit_digest, tags, inputs, created_at, deadline_at, owner, retention_ms, notify)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, cast(value ->> 4 as bigint), cast(value ->> 5 as bigint), cast(value ->> 6 as bigint),
    cast(value ->> 7 as bigint), cast(value ->> 8 as bigint), cast(value ->> 9 as bigint), cast(value ->> 10 as bigint), value ->> 11, cast(value ->> 12 as integer), cast(value ->> 13 as integer),
    cast(value ->> 14 as bigint), value ->> 15, cast(value ->> 16 as bigint), value ->> 17, value ->> 18, value ->> 19, value ->> 20,
    cast(value ->> 21 as bigint), cast(value ->> 22 as bigint),
    case when value ->> 11 is null then value ->> 23 else (select r.owner from runs r where r.id = value ->> 11) end,
    cast(value ->> 24 as bigint), value ->> 25
from json_rows($1)
