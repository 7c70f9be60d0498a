-- $1 = [[id, state, paused, generation, open, active, waiting, ev_seq, output, failure, started_at,
--        finished_at, deadline_at, expires_at], …]
update runs set
    state = j.state, paused = j.paused, generation = j.generation, open = j.open,
    active = j.active, waiting = j.waiting, ev_seq = j.ev_seq, output = j.output,
    failure = j.failure, started_at = j.started_at, finished_at = j.finished_at,
    deadline_at = j.deadline_at, expires_at = j.expires_at
from (
    select value ->> 0 as id, value ->> 1 as state, value ->> 2 as paused, value ->> 3 as generation,
        value ->> 4 as open, value ->> 5 as active, value ->> 6 as waiting, value ->> 7 as ev_seq,
        value ->> 8 as output, value ->> 9 as failure, value ->> 10 as started_at,
        value ->> 11 as finished_at, value ->> 12 as deadline_at, value ->> 13 as expires_at
    from json_each($1)
) j
where runs.id = j.id
