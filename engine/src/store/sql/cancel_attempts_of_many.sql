-- Records the attempts that cancelling these runs will cut short; $1 runs, $2 now.
insert into attempts (run_id, step, item, attempt, outcome, worker_id, started_at, finished_at)
select t.run_id, t.step, t.item, t.attempt, 'cancelled', t.worker_id, t.started_at, $2
from json_texts($1) k cross join task_runs t on t.run_id = k.value
where t.state = 'running' and t.token is not null
