-- Attempts whose worker is gone, or whose time is long up; $1 now, $2 grace in ms, $3 workers known to be gone, $4 leases
-- that ended before this are over. Looks at the attempts under way and at nothing else.
select json_array(t.run_id, t.step, t.item, t.token, case when
    w.id is null or w.state <> 'live' or w.lease_until < $4 or w.id in (select value from json_texts($3))
    then 1 else 0 end)
from task_runs t indexed by task_runs_claimed
left join workers w on w.id = t.worker_id
where t.token is not null
    and (w.id is null or w.state <> 'live' or w.lease_until < $4
        or w.id in (select value from json_texts($3)) or t.deadline_at + $2 < $1)
limit 500
