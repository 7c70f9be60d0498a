-- `load_tasks` for steps of one run; $2 = [step, …].
select json_group_array(json_array(
    t.run_id, t.step, t.item, t.state, t.held, t.pending, t.queue, t.priority, t.timeout_ms,
    t.due_at, t.attempt, t.tries, t.losses, t.token, t.worker_id, t.started_at, t.total, t.open,
    t.failed, t.waiting, t.child_run, t.announced
))
from json_texts($2) k
cross join task_runs t on t.run_id = $1 and t.step = cast(k.value as integer) and t.item = -1
