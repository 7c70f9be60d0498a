-- `ready_tasks` and `claim` at once, for the one task that becomes claimable; $1 token, $2 worker, $3 now, $4 queue,
-- $5 run, $6 step, $7 item, $8 due_at. Where anything else stands in line, or the queue is paused or has a cap, it only
-- becomes ready: `claim` is to choose then. Answers as `claim` does, or with nothing.
update task_runs as t set
    state = case when g.is_free then 'running' else 'ready' end, held = 0, pending = 0, due_at = cast($8 as bigint),
    finished_at = null, output = null, error = null, cached = 0,
    attempt = attempt + cast(g.is_free as integer),
    token = case when g.is_free then cast($1 as bigint) end,
    worker_id = case when g.is_free then cast($2 as text) end,
    started_at = case when g.is_free then cast($3 as bigint) end,
    deadline_at = case when g.is_free then cast($3 as bigint) + timeout_ms end
from (
    select exists (select 1 from workers where id = $2 and state = 'live' and lease_until >= $3)
        and not exists (select 1 from queues where name = $4 and (paused <> 0 or cap is not null))
        and not exists (select 1 from task_runs where queue = $4 and state in ('ready', 'retrying') and held = 0) as is_free
) g
where run_id = $5 and step = $6 and item = $7
returning case when state = 'running' then cast({claim} as text) else '' end
