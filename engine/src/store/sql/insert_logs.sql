-- $1 = [[run, step, item, attempt, line, at, level, message], …]
insert into logs (run_id, step, item, attempt, line, at, level, message)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
from jsonb_each($1) where true
on conflict do nothing
