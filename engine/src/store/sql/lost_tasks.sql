-- Of the tasks a worker believes to hold, those it does not; $1 = [[run, step, item, token], …].
select json_group_array(json_array(k.value ->> 0, k.value ->> 1, k.value ->> 2))
from jsonb_each($1) k
left join task_runs t on t.run_id = k.value ->> 0 and t.step = k.value ->> 1 and t.item = k.value ->> 2
where t.token is null or t.token <> k.value ->> 3
