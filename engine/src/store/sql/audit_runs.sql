-- Runs by their ids, $1, each with everything that is to be recounted, as of one moment.
select json_object(
    'id', r.id, 'workflow', r.workflow, 'version', r.version, 'state', r.state, 'paused', r.paused, 'open', r.open,
    'active', r.active, 'waiting', r.waiting, 'ev_seq', r.ev_seq, 'queued', r.queued, 'finished_at', r.finished_at,
    'has_output', case when r.output is null then 0 else 1 end, 'has_failure', case when r.failure is null then 0 else 1 end,
    'parent_run', r.parent_run, 'parent_attempt', r.parent_attempt, 'above_state', a.state, 'above_child', a.child_run,
    'above_attempt', a.attempt, 'is_above_known', case when exists (select 1 from runs p where p.id = r.parent_run)
        or exists (select 1 from teardowns d where d.kind = 'delete' and d.run_id = r.parent_run) then 1 else 0 end,
    'is_torn_down', case when exists (select 1 from teardowns d where d.kind = 'cancel' and d.run_id = r.id) then 1 else 0 end,
    'tasks', (
        select json_group_array(json_object(
            'step', t.step, 'item', t.item, 'state', t.state, 'held', t.held, 'pending', t.pending, 'queue', t.queue,
            'attempt', t.attempt, 'token', t.token, 'worker_id', t.worker_id,
            'is_worker_known', case when exists (select 1 from workers w where w.id = t.worker_id) then 1 else 0 end,
            'total', t.total, 'open', t.open, 'failed', t.failed, 'waiting', t.waiting, 'child_run', t.child_run,
            'child_state', (select c.state from runs c where c.id = t.child_run),
            'has_output', case when t.output is null then 0 else 1 end, 'has_error', case when t.error is null then 0 else 1 end,
            'recorded', (select outcome from attempts x
                where x.run_id = t.run_id and x.step = t.step and x.item = t.item and x.attempt = t.attempt)
        )) from (select * from task_runs where run_id = r.id order by step, item) t),
    'events', (
        select json_group_array(json_object('seq', e.seq, 'body', e.body))
        from (select seq, body from events where run_id = r.id order by seq) e)
)
from json_texts($1) k cross join runs r on r.id = k.value
left join task_runs a on a.run_id = r.parent_run and a.step = r.parent_step and a.item = r.parent_item
