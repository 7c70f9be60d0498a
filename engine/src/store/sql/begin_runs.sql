-- Runs of which tasks were claimed; $1 = [[run, events], …], $2 now. Long inputs are left to a later read.
update runs set
    state = 'running', started_at = coalesce(started_at, $2), ev_seq = ev_seq + j.events
from (select value ->> 0 as id, value ->> 1 as events from jsonb_each($1)) j
where runs.id = j.id
returning json_array(runs.id, ev_seq, workflow, version, no_cache, depth, priority, generation, case when length(inputs) <= 4096 then inputs end)
