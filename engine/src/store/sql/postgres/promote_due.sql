-- Tasks whose back-off has passed may be claimed; $1 now.
-- Differs: every process does this at the same moment; what one looks at, the others pass over.
with due as materialized (
    select run_id, step, item from task_runs
    where state = 'retrying' and (held & 16) <> 0 and due_at <= $1
    limit 5000 for no key update skip locked
)
update task_runs t set held = t.held & ~16 from due d
where t.run_id = d.run_id and t.step = d.step and t.item = d.item
returning t.queue
