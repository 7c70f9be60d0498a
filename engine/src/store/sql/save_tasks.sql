-- $1 = [[run, step, item, state, held, pending, due_at, tries, losses, token, worker, started_at,
--        finished_at, total, open, failed, waiting, child, output, error, cached, announced], …]
update task_runs set
    state = j.state, held = j.held, pending = j.pending, due_at = j.due_at, tries = j.tries,
    losses = j.losses, token = j.token, worker_id = j.worker_id, started_at = j.started_at,
    finished_at = j.finished_at, total = j.total, open = j.open, failed = j.failed,
    waiting = j.waiting, child_run = j.child_run, output = j.output, error = j.error, cached = j.cached,
    announced = j.announced
from (
    select value ->> 0 as run_id, cast(value ->> 1 as integer) as step, cast(value ->> 2 as integer) as item, value ->> 3 as state,
        cast(value ->> 4 as bigint) as held, cast(value ->> 5 as bigint) as pending, cast(value ->> 6 as bigint) as due_at, cast(value ->> 7 as bigint) as tries,
        cast(value ->> 8 as bigint) as losses, cast(value ->> 9 as bigint) as token, value ->> 10 as worker_id,
        cast(value ->> 11 as bigint) as started_at, cast(value ->> 12 as bigint) as finished_at, cast(value ->> 13 as bigint) as total,
        cast(value ->> 14 as bigint) as open, cast(value ->> 15 as bigint) as failed, cast(value ->> 16 as bigint) as waiting,
        value ->> 17 as child_run, value ->> 18 as output, value ->> 19 as error,
        cast(value ->> 20 as bigint) as cached, cast(value ->> 21 as bigint) as announced
    from json_rows($1)
) j
where task_runs.run_id = j.run_id and task_runs.step = j.step and task_runs.item = j.item
