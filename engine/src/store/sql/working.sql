-- What workers are doing: of each the attempts that began first; $1 at most of each.
select json_array(worker_id, run_id, workflow, version, step, item, attempt, queue, started_at, progress) from (
    select t.worker_id, t.run_id, r.workflow, r.version, t.step, t.item, t.attempt, t.queue, t.started_at, t.progress,
        row_number() over (partition by t.worker_id order by t.started_at, t.run_id, t.step, t.item) as place
    from task_runs t indexed by task_runs_claimed cross join runs r on r.id = t.run_id
    where t.token is not null
) w where place <= $1 order by started_at, run_id, step, item
