-- $1 = [[run, step, item, state, held, pending, due_at, tries, losses, token, worker, started_at,
--        finished_at, total, open, failed, waiting, child, output, error, cached, announced], …]
update task_runs set
    state = j.state, held = j.held, pending = j.pending, due_at = j.due_at, tries = j.tries,
    losses = j.losses, token = j.token, worker_id = j.worker_id, started_at = j.started_at,
    finished_at = j.finished_at, total = j.total, open = j.open, failed = j.failed,
    waiting = j.waiting, child_run = j.child_run, output = j.output, error = j.error, cached = j.cached,
    announced = j.announced
from (
    select value ->> 0 as run_id, value ->> 1 as step, value ->> 2 as item, value ->> 3 as state,
        value ->> 4 as held, value ->> 5 as pending, value ->> 6 as due_at, value ->> 7 as tries,
        value ->> 8 as losses, value ->> 9 as token, value ->> 10 as worker_id,
        value ->> 11 as started_at, value ->> 12 as finished_at, value ->> 13 as total,
        value ->> 14 as open, value ->> 15 as failed, value ->> 16 as waiting,
        value ->> 17 as child_run, value ->> 18 as output, value ->> 19 as error,
        value ->> 20 as cached, value ->> 21 as announced
    from jsonb_each($1)
) j
where task_runs.run_id = j.run_id and task_runs.step = j.step and task_runs.item = j.item
