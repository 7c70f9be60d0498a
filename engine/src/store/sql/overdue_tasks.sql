-- Attempts whose worker is gone, or whose time is long up; $1 now, $2 grace in ms, $3 workers known to be gone.
-- Goes through the runs that have not ended: no index burdens every claim for what is rarely asked.
select json_array(t.run_id, t.step, t.item, t.token, case when
    w.id is null or w.state <> 'live' or w.lease_until < $1 or w.id in (select value from json_texts($3))
    then 1 else 0 end)
from runs r
cross join task_runs t on t.run_id = r.id
left join workers w on w.id = t.worker_id
where r.finished_at is null and t.state = 'running' and t.token is not null
    and (w.id is null or w.state <> 'live' or w.lease_until < $1
        or w.id in (select value from json_texts($3)) or t.deadline_at + $2 < $1)
limit 500
