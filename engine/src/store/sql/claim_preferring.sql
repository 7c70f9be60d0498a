-- `claim`, for a worker that has models loaded: $8 memory it has free, $9 words for what is loaded, $10 tasks to look at.
-- Among the first of the queue's line, those that name what is loaded go before the rest of their priority; what ran
-- last counts more than all that ran before it. Of what is chosen, as many from the front as fit together.
update task_runs set
    state = 'running', attempt = attempt + 1, token = $1, worker_id = $2, started_at = $3,
    deadline_at = $3 + timeout_ms, announced = 0, progress = null
where (run_id, step, item) in (
    select run_id, step, item from (
        select run_id, step, item, sum(coalesce(memory_bytes, 0)) over (
            order by priority desc, found desc, due_at, run_id, step, item rows unbounded preceding) as needed
        from (
            select run_id, step, item, priority, due_at, memory_bytes, coalesce((
                select sum(8 >> l.key) from json_texts(prefers) p cross join json_texts($9) l where l.value = p.value), 0) as found
            from (
                select run_id, step, item, priority, due_at, memory_bytes, prefers from task_runs
                where (memory_bytes is null or memory_bytes <= $8) and {claimable}
                order by priority desc, due_at limit $10
            )
            order by priority desc, found desc, due_at, run_id, step, item limit {room}
        )
    ) where needed <= $8
)
returning {claim}
