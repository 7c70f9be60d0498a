-- Tasks whose back-off has passed may be claimed; $1 now.
update task_runs set held = held & ~16
where state = 'retrying' and (held & 16) <> 0 and due_at <= $1 returning queue
