-- The best due work of a queue: priority, then age. $1 token, $2 worker, $3 now, $4 queue, $5 at most, $6 its labels,
-- $7 versions it cannot read.
-- Differs: other processes claim at the same time; what one looks at, the others pass over.
with chosen as materialized (
    select run_id, step, item from task_runs
    where {claimable}
    order by priority desc, due_at limit {room}
    for no key update skip locked
)
update task_runs t set
    state = 'running', attempt = t.attempt + 1, token = $1, worker_id = $2, started_at = $3,
    deadline_at = $3 + t.timeout_ms, announced = 0, progress = null
from chosen c where t.run_id = c.run_id and t.step = c.step and t.item = c.item
returning {claim}
