-- Rows that have just ended; $1 = [[run, step, item, state, tries, finished_at, output, error, cached], …]
update task_runs set
    state = j.state, held = 0, token = null, tries = j.tries,
    finished_at = j.finished_at, output = j.output, error = j.error, cached = j.cached
from (
    select value ->> 0 as run_id, value ->> 1 as step, value ->> 2 as item, value ->> 3 as state,
        value ->> 4 as tries, value ->> 5 as finished_at, value ->> 6 as output,
        value ->> 7 as error, value ->> 8 as cached
    from jsonb_each($1)
) j
where task_runs.run_id = j.run_id and task_runs.step = j.step and task_runs.item = j.item
