-- `claim`, for a worker that counts memory: $7 is what it has free. What would never fit beside the rest is passed
-- over; of what remains, as many from the front as fit together.
-- Differs: other processes claim at the same time; what one looks at, the others pass over, and what it leaves again
-- they find at their next look.
with fitting as materialized (
    select run_id, step, item, priority, due_at, memory_bytes from task_runs
    where queue = $4 and state in ('ready', 'retrying') and held = 0
        and (memory_bytes is null or memory_bytes <= $7)
        and (requires is null or requires::jsonb <@ $6::jsonb)
        and exists (select 1 from workers where id = $2 and state = 'live' and lease_until >= $3)
    order by priority desc, due_at limit coalesce((
        select case when paused <> 0 then 0 when cap is not null then least($5, greatest(0, cap - (
            select count(*) from task_runs where queue = $4 and state = 'running'))) end
        from queues where name = $4), $5)
    for no key update skip locked
), chosen as materialized (
    select run_id, step, item from (
        select run_id, step, item, sum(coalesce(memory_bytes, 0)) over (
            order by priority desc, due_at, run_id, step, item rows unbounded preceding) as needed
        from fitting) f
    where needed <= $7
)
update task_runs t set
    state = 'running', attempt = t.attempt + 1, token = $1, worker_id = $2, started_at = $3,
    deadline_at = $3 + t.timeout_ms, announced = 0, progress = null
from chosen c where t.run_id = c.run_id and t.step = c.step and t.item = c.item
returning json_build_array(t.run_id, t.step, t.item, t.attempt, t.queue, t.input, (
    select json_build_array(workflow, version, no_cache, depth, priority, case when octet_length(inputs) <= 512 then inputs end)
    from runs where id = t.run_id
), t.memory_bytes)
