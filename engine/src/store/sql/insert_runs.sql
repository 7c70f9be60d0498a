-- $1 = [[id, workflow, version, state, open, active, waiting, ev_seq, priority, depth, no_cache,
--        parent_run, parent_step, parent_item, parent_attempt, concurrency_key, queued,
--        idempotency_key, submit_digest, tags, inputs, created_at, deadline_at], …]
insert into runs (id, workflow, version, state, open, active, waiting, ev_seq, priority, depth, no_cache,
    parent_run, parent_step, parent_item, parent_attempt, concurrency_key, queued,
    idempotency_key, submit_digest, tags, inputs, created_at, deadline_at)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13,
    value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20,
    value ->> 21, value ->> 22
from jsonb_each($1)
