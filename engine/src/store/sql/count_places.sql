-- Who holds, and who waits for, a place of a run's max_parallel; $1 run, $2 its mapped steps, whose own rows take none.
-- Items of a step that has ended are about to be cancelled and count no more.
select json_array(count(*) filter (where (held & 4) = 0), count(*) filter (where (held & 4) <> 0)) from task_runs t
where run_id = $1 and state in ('ready', 'running', 'retrying') and (held & 2) = 0
    and (item >= 0 or step not in (select cast(value as integer) from json_texts($2)))
    and (item < 0 or exists (select 1 from task_runs g where g.run_id = $1 and g.step = t.step and g.item = -1 and g.state = 'running'))
