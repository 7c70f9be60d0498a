-- The best due work of a queue: priority, then age. $1 token, $2 worker, $3 now, $4 queue, $5 at most, $6 its labels,
-- $7 versions it cannot read. A worker given up for lost gets nothing: it would be taken away again at the next look.
-- A paused queue gives nothing, one with a cap only what still fits under it.
-- Answers with what the attempt needs of its run; long inputs are left to a later read.
update task_runs set
    state = 'running', attempt = attempt + 1, token = $1, worker_id = $2, started_at = $3,
    deadline_at = $3 + timeout_ms, announced = 0, progress = null
where (run_id, step, item) in (
    select run_id, step, item from task_runs
    where {claimable}
    order by priority desc, due_at limit {room}
)
returning {claim}
