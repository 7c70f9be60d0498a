-- Tasks of these runs that have not ended; $1 runs, $2 at most.
select json_array(t.run_id, t.child_run, case when t.token is null then 0 else 1 end) from json_texts($1) k cross join task_runs t on t.run_id = k.value
where t.state in ('blocked', 'ready', 'running', 'retrying') limit $2
