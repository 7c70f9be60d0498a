-- `claim`, for a worker that counts memory: $8 is what it has free. What would never fit beside the rest is passed
-- over; of what remains, as many from the front as fit together.
-- Differs: other processes claim at the same time; what one looks at, the others pass over, and what it leaves again
-- they find at their next look.
with fitting as materialized (
    select run_id, step, item, priority, due_at, memory_bytes from task_runs
    where (memory_bytes is null or memory_bytes <= $8) and {claimable}
    order by priority desc, due_at limit {room}
    for no key update skip locked
), chosen as materialized (
    select run_id, step, item from (
        select run_id, step, item, sum(coalesce(memory_bytes, 0)) over (
            order by priority desc, due_at, run_id, step, item rows unbounded preceding) as needed
        from fitting) f
    where needed <= $8
)
update task_runs t set
    state = 'running', attempt = t.attempt + 1, token = $1, worker_id = $2, started_at = $3,
    deadline_at = $3 + t.timeout_ms, announced = 0, progress = null
from chosen c where t.run_id = c.run_id and t.step = c.step and t.item = c.item
returning {claim}
