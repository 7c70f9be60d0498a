-- Runs with a task that waits in a queue, claimed by nobody, some of them; $1 queue, $2 at most.
select distinct run_id from (
    select run_id from (
        select run_id from task_runs indexed by task_runs_ready
        where queue = $1 and state in ('ready', 'retrying') and held = 0 limit 5000
    ) r
    union all
    select run_id from (
        select run_id from task_runs indexed by task_runs_held
        where queue = $1 and state in ('ready', 'retrying') and held <> 0 limit 5000
    ) h
) w limit $2
