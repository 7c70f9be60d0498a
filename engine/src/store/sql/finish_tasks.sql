-- Rows that have just ended; $1 = [[run, step, item, state, tries, finished_at, output, error, cached], …]
update task_runs set
    state = j.state, held = 0, token = null, tries = j.tries,
    finished_at = j.finished_at, output = j.output, error = j.error, cached = j.cached
from (
    select value ->> 0 as run_id, cast(value ->> 1 as integer) as step, cast(value ->> 2 as integer) as item, value ->> 3 as state,
        cast(value ->> 4 as bigint) as tries, cast(value ->> 5 as bigint) as finished_at, value ->> 6 as output,
        value ->> 7 as error, cast(value ->> 8 as bigint) as cached
    from json_rows($1)
) j
where task_runs.run_id = j.run_id and task_runs.step = j.step and task_runs.item = j.item
