-- `load_tasks` for steps of one run; $2 = [step, …].
-- Differs: an array costs less than a list that is JSON. `offset 0` keeps the steps in front: where run and item are
-- given, an empty table's statistics say that reading the whole run is as cheap as a look for each step.
select coalesce(json_agg(t.columns), '[]')
from unnest(cast(translate($2, '[]', '{}') as integer[])) k
cross join lateral (
    select json_build_array(
        t.run_id, t.step, t.item, t.state, t.held, t.pending, t.queue, t.priority, t.timeout_ms,
        t.due_at, t.attempt, t.tries, t.losses, t.token, t.worker_id, t.started_at, t.total, t.open,
        t.failed, t.waiting, t.child_run, t.announced
    ) as columns
    from task_runs t where t.run_id = $1 and t.step = k and t.item = -1 offset 0
) t
