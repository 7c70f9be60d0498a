-- A run's tasks that wait in a queue, claimed by nobody; $1 run, $2 queue.
-- Differs: from now until we commit nobody can claim them; those that somebody is claiming are passed over.
select state from task_runs where run_id = $1 and queue = $2 and state in ('ready', 'retrying')
for no key update skip locked
