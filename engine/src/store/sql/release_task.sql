-- The next task that the run-wide limit holds; $1 run, $2 now.
update task_runs set held = held & ~4, due_at = $2
where (run_id, step, item) in (
    select run_id, step, item from task_runs indexed by task_runs_held
    where run_id = $1 and held <> 0 and (held & 4) <> 0 order by step, item limit 1
)
returning queue
