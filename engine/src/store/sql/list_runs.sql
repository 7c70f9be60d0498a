-- Newest first; $1 before this id, $2 state or null, $3 workflow or null, $4 at most.
select json_array(id, workflow, version, state, paused, generation, open, priority, queued, tags,
    parent_run, null, null, failure, created_at, started_at, finished_at, ev_seq, idempotency_key)
from runs
where id < $1 and (cast($2 as text) is null or state = $2) and (cast($3 as text) is null or workflow = $3)
order by id desc limit $4
