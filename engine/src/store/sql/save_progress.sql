-- $1 = [[run, step, item, token, progress], …]; late words change nothing.
update task_runs set progress = j.progress
from (
    select value ->> 0 as run_id, cast(value ->> 1 as integer) as step, cast(value ->> 2 as integer) as item, cast(value ->> 3 as bigint) as token, value ->> 4 as progress
    from json_rows($1)
) j
where task_runs.run_id = j.run_id and task_runs.step = j.step and task_runs.item = j.item and task_runs.token = j.token
