-- `claim`, for a worker that counts memory: $8 is what it has free. What would never fit beside the rest is passed
-- over; of what remains, as many from the front as fit together.
update task_runs set
    state = 'running', attempt = attempt + 1, token = $1, worker_id = $2, started_at = $3,
    deadline_at = $3 + timeout_ms, announced = 0, progress = null
where (run_id, step, item) in (
    select run_id, step, item from (
        select run_id, step, item, sum(coalesce(memory_bytes, 0)) over (
            order by priority desc, due_at, run_id, step, item rows unbounded preceding) as needed
        from (
            select run_id, step, item, priority, due_at, memory_bytes from task_runs
            where (memory_bytes is null or memory_bytes <= $8) and {claimable}
            order by priority desc, due_at limit {room}
        )
    ) where needed <= $8
)
returning {claim}
