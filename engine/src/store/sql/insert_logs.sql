-- $1 = [[run, step, item, attempt, line, at, level, message], …]
insert into logs (run_id, step, item, attempt, line, at, level, message)
select value ->> 0, cast(value ->> 1 as integer), cast(value ->> 2 as integer), cast(value ->> 3 as bigint), cast(value ->> 4 as bigint), cast(value ->> 5 as bigint), value ->> 6, value ->> 7
from json_rows($1) where true
on conflict do nothing
