-- A manual retry of a mapped step: the items it lacks, from the start. $1 run, $2 step, $3 limit, $4 now, $5 places, $6 more reasons to hold them.
update task_runs set
    state = 'ready', held = case when n.place > $3 then 2 when n.place > $5 then 4 else 0 end | $6, tries = 0, losses = 0,
    token = null, worker_id = null, child_run = null, error = null, started_at = null,
    finished_at = null, due_at = $4
from (
    select item, row_number() over (order by item) as place from task_runs
    where run_id = $1 and step = $2 and item >= 0 and state <> 'succeeded' and state <> 'skipped'
) n
where task_runs.run_id = $1 and task_runs.step = $2 and task_runs.item = n.item
