-- Tasks whose back-off has passed may be claimed, some of them; $1 now.
update task_runs set held = held & ~16
where (run_id, step, item) in (
    select run_id, step, item from task_runs
    where state = 'retrying' and (held & 16) <> 0 and due_at <= $1 limit 5000)
returning queue
