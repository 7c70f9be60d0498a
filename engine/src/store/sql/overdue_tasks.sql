-- Attempts whose worker is gone, or whose time is long up; $1 now, $2 grace in ms.
select json_group_array(json_array(run_id, step, item, token, worker_lost)) from (
    select t.run_id, t.step, t.item, t.token, (w.id is null or w.state <> 'live') as worker_lost
    from task_runs t left join workers w on w.id = t.worker_id
    where t.state = 'running' and t.token is not null
        and (w.id is null or w.state <> 'live' or t.deadline_at + $2 < $1)
    limit 500
)
