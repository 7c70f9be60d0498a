-- A run's tasks that wait in a queue, claimed by nobody; $1 run, $2 queue.
select state from task_runs where run_id = $1 and queue = $2 and state in ('ready', 'retrying') limit 1
