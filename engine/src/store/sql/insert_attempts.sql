-- $1 = [[run, step, item, attempt, outcome, worker, started_at, finished_at, error], …]
insert into attempts (run_id, step, item, attempt, outcome, worker_id, started_at, finished_at, error)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8
from jsonb_each($1)
