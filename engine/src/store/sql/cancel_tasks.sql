-- $1 run, $2 step that is spared or -1, $3 only the items of this step or -1, $4 now, $5 and $6 after this step and item,
-- $7 and $8 up to this step and item.
update task_runs set state = 'cancelled', token = null, worker_id = null, held = 0, finished_at = $4
where run_id = $1 and (step, item) > ($5, $6) and (step, item) <= ($7, $8) and step <> $2
    and state in ('blocked', 'ready', 'running', 'retrying') and ($3 < 0 or (step = $3 and item >= 0))
