-- $1 = [[id, state, open, active, waiting, ev_seq, output, failure, finished_at, expires_at, started_at], …]
update runs set
    state = j.state, open = j.open, active = j.active, waiting = j.waiting, ev_seq = j.ev_seq,
    output = j.output, failure = j.failure, finished_at = j.finished_at, expires_at = j.expires_at,
    started_at = coalesce(runs.started_at, j.started_at)
from (
    select value ->> 0 as id, value ->> 1 as state, value ->> 2 as open, value ->> 3 as active,
        value ->> 4 as waiting, value ->> 5 as ev_seq, value ->> 6 as output, value ->> 7 as failure,
        value ->> 8 as finished_at, value ->> 9 as expires_at,
        value ->> 10 as started_at
    from jsonb_each($1)
) j
where runs.id = j.id
