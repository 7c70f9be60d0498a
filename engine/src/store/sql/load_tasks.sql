-- The rows a batch of decisions may touch, as one JSON value; $1 = [[run, step, item], …].
select json_group_array(json_array(
    t.run_id, t.step, t.item, t.state, t.held, t.pending, t.queue, t.priority, t.timeout_ms,
    t.due_at, t.attempt, t.tries, t.losses, t.token, t.worker_id, t.started_at, t.total, t.open,
    t.failed, t.waiting, t.child_run, t.announced
))
from json_rows($1) k
cross join task_runs t on t.run_id = k.value ->> 0 and t.step = cast(k.value ->> 1 as integer) and t.item = cast(k.value ->> 2 as integer)
