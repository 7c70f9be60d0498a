-- Records the attempts that cancelling will cut short; $1 run, $2 step that is spared or -1, $3 only this step or -1, $4 now,
-- $5 and $6 after this step and item, $7 and $8 up to this step and item.
insert into attempts (run_id, step, item, attempt, outcome, worker_id, started_at, finished_at)
select run_id, step, item, attempt, 'cancelled', worker_id, started_at, $4 from task_runs
where run_id = $1 and (step, item) > ($5, $6) and (step, item) <= ($7, $8) and step <> $2 and state = 'running' and token is not null
    and ($3 < 0 or (step = $3 and item >= 0))
