-- $1 = [[run, step, item, state, held, pending, queue, priority, timeout_ms, due_at, input], …]
insert into task_runs (run_id, step, item, state, held, pending, queue, priority, timeout_ms, due_at, input)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9, value ->> 10
from jsonb_each($1)
