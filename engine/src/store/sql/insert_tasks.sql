-- $1 = [[run, step, item, state, held, pending, queue, priority, timeout_ms, due_at, input, requires, memory, prefers], …]
insert into task_runs (run_id, step, item, state, held, pending, queue, priority, timeout_ms, due_at, input, requires, memory_bytes, prefers)
select value ->> 0, cast(value ->> 1 as integer), cast(value ->> 2 as integer), value ->> 3, cast(value ->> 4 as bigint), cast(value ->> 5 as bigint), value ->> 6,
    cast(value ->> 7 as bigint), cast(value ->> 8 as bigint), cast(value ->> 9 as bigint), value ->> 10, value ->> 11, cast(value ->> 12 as bigint),
    value ->> 13
from json_rows($1)
