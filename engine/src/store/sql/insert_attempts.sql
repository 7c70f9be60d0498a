-- $1 = [[run, step, item, attempt, outcome, worker, started_at, finished_at, error], …]
insert into attempts (run_id, step, item, attempt, outcome, worker_id, started_at, finished_at, error)
select value ->> 0, cast(value ->> 1 as integer), cast(value ->> 2 as integer), cast(value ->> 3 as bigint), value ->> 4, value ->> 5, cast(value ->> 6 as bigint),
    cast(value ->> 7 as bigint), value ->> 8
from json_rows($1)
