-- Every step's own row of one run: only for decisions that concern a whole run.
select json_group_array(json_array(
    t.run_id, t.step, t.item, t.state, t.held, t.pending, t.queue, t.priority, t.timeout_ms,
    t.due_at, t.attempt, t.tries, t.losses, t.token, t.worker_id, t.started_at, t.total, t.open,
    t.failed, t.waiting, t.child_run, t.announced
))
from task_runs t where t.run_id = $1 and t.item = -1
