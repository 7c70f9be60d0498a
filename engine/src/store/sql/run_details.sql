-- Runs by their ids, $1, as `run_views` has them, and with each its steps in order, without items.
select json_array(r.id, json_array(
    r.id, r.workflow, r.version, r.state, r.paused, r.generation, r.open, r.priority, r.queued, r.tags,
    r.parent_run, r.inputs, r.output, r.failure, r.created_at, r.started_at, r.finished_at, r.ev_seq,
    r.idempotency_key, r.owner, r.expires_at, r.notify
), (
    select json_group_array(json_array(
        t.step, t.item, t.state, t.held, t.queue, t.attempt, t.total, t.open, t.failed,
        t.started_at, t.finished_at, t.due_at, t.child_run, t.output, t.error, t.cached, t.progress))
    from (select * from task_runs where run_id = r.id and item < 0 order by step) t
))
from json_texts($1) k cross join runs r on r.id = k.value
