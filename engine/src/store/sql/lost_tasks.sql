-- Of the tasks a worker believes to hold, those it does not, or whose run has ended; $1 = [[run, step, item, token], …].
select json_group_array(json_array(k.value ->> 0, cast(k.value ->> 1 as integer), cast(k.value ->> 2 as integer)))
from json_rows($1) k
left join task_runs t on t.run_id = k.value ->> 0 and t.step = cast(k.value ->> 1 as integer) and t.item = cast(k.value ->> 2 as integer)
left join runs r on r.id = k.value ->> 0
where t.token is null or t.token <> cast(k.value ->> 3 as bigint) or r.finished_at is not null
