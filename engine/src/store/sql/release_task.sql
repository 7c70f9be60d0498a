-- The next task that the run-wide limit holds; $1 run, $2 now. Items of a step that has ended are about to be cancelled.
update task_runs set held = held & ~4, due_at = $2
where (run_id, step, item) in (
    select run_id, step, item from task_runs t indexed by task_runs_held
    where run_id = $1 and held <> 0 and (held & 4) <> 0
        and (item < 0 or exists (select 1 from task_runs g where g.run_id = $1 and g.step = t.step and g.item = -1 and g.state = 'running'))
    order by step, item limit 1
)
returning queue
