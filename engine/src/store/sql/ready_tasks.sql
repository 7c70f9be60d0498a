-- Rows that have just become claimable and were never claimed; $1 = [[run, step, item, due_at], …]. What a row says
-- of an end may be of one without an attempt, before a manual retry.
update task_runs set state = 'ready', held = 0, pending = 0, due_at = j.due_at,
    finished_at = null, output = null, error = null, cached = 0
from (
    select value ->> 0 as run_id, cast(value ->> 1 as integer) as step, cast(value ->> 2 as integer) as item,
        cast(value ->> 3 as bigint) as due_at
    from json_rows($1)
) j
where task_runs.run_id = j.run_id and task_runs.step = j.step and task_runs.item = j.item
