-- Whether a task of a run waits in a queue, claimed by nobody; $1 run, $2 queue.
-- Differs: from now until we commit nobody can claim it; those that somebody is claiming are passed over.
select state from task_runs where run_id = $1 and queue = $2 and state in ('ready', 'retrying')
limit 1 for no key update skip locked
