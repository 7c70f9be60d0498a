-- `claim`, for a worker that has models loaded: $8 memory it has free, $9 words for what is loaded, $10 tasks to look at.
-- Among the first of the queue's line, those that name what is loaded go before the rest of their priority; what ran
-- last counts more than all that ran before it. Of what is chosen, as many from the front as fit together.
-- Differs: other processes claim at the same time. The line is read without locks, so that nobody passes over what is
-- only looked at; what is locked then must still be there to be claimed.
with line as materialized (
    select run_id, step, item, priority, due_at, prefers from task_runs
    where (memory_bytes is null or memory_bytes <= $8) and {claimable}
    order by priority desc, due_at limit $10
), ranked as materialized (
    select run_id, step, item, row_number() over (order by priority desc, coalesce((
        select sum(16 >> l.place::int) from jsonb_array_elements_text($9::jsonb) with ordinality l(word, place)
        where prefers::jsonb ? l.word), 0) desc, due_at, run_id, step, item) as place
    from line
), fitting as materialized (
    select t.run_id, t.step, t.item, t.memory_bytes, r.place
    from ranked r join task_runs t on t.run_id = r.run_id and t.step = r.step and t.item = r.item
    where t.state in ('ready', 'retrying') and t.held = 0
    order by r.place limit {room}
    for no key update of t skip locked
), chosen as materialized (
    select run_id, step, item from (
        select run_id, step, item, sum(coalesce(memory_bytes, 0)) over (order by place rows unbounded preceding) as needed
        from fitting) f
    where needed <= $8
)
update task_runs t set
    state = 'running', attempt = t.attempt + 1, token = $1, worker_id = $2, started_at = $3,
    deadline_at = $3 + t.timeout_ms, announced = 0, progress = null
from chosen c where t.run_id = c.run_id and t.step = c.step and t.item = c.item
returning {claim}
