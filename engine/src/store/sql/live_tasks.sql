-- Tasks of a run that have not ended, in order; $1 run, $2 step that is spared or -1, $3 only the items of this step or
-- -1, $4 and $5 after this step and item, $6 at most.
select json_array(step, item, child_run, case when token is null then 0 else 1 end) from task_runs
where run_id = $1 and (step, item) > ($4, $5) and step <> $2
    and state in ('blocked', 'ready', 'running', 'retrying') and ($3 < 0 or (step = $3 and item >= 0))
order by step, item limit $6
