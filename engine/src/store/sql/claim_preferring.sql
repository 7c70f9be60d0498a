-- `claim`, for a worker that has models loaded: $7 memory it has free, $8 words for what is loaded, $9 tasks to look at.
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
                select sum(8 >> l.key) from json_texts(prefers) p cross join json_texts($8) l where l.value = p.value), 0) as found
            from (
                select run_id, step, item, priority, due_at, memory_bytes, prefers from task_runs
                where queue = $4 and state in ('ready', 'retrying') and held = 0
                    and (memory_bytes is null or memory_bytes <= $7)
                    and (requires is null or not exists (
                        select 1 from json_texts(requires) r where r.value not in (select value from json_texts($6))))
                    and exists (select 1 from workers where id = $2 and state = 'live' and lease_until >= $3)
                order by priority desc, due_at limit $9
            )
            order by priority desc, found desc, due_at, run_id, step, item limit coalesce((
                select case when paused <> 0 then 0 when cap is not null then min($5, max(0, cap - (
                    select count(*) from task_runs where queue = $4 and state = 'running'))) end
                from queues where name = $4), $5)
        )
    ) where needed <= $7
)
returning json_array(run_id, step, item, attempt, queue, input, (
    select json_array(workflow, version, no_cache, depth, priority, case when octet_length(inputs) <= 512 then inputs end)
    from runs where id = run_id
), memory_bytes)
