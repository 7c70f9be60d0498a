-- Cancels what has not ended of these runs; $1 runs, $2 now.
update task_runs set state = 'cancelled', token = null, worker_id = null, held = 0, finished_at = $2
where run_id in (select value from json_texts($1)) and state in ('blocked', 'ready', 'running', 'retrying')
