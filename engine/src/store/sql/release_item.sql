-- The next item that a mapped step's limit holds; $1 run, $2 step, $3 reasons that take the limit's place, $4 now.
update task_runs set held = (held & ~2) | $3, due_at = $4
where (run_id, step, item) in (
    select run_id, step, item from task_runs indexed by task_runs_held
    where run_id = $1 and step = $2 and held <> 0 and (held & 2) <> 0 order by item limit 1
)
