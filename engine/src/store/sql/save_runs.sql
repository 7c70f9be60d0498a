-- $1 = [[id, state, open, active, waiting, ev_seq, output, failure, finished_at, expires_at, started_at], …]
update runs set
    state = j.state, open = j.open, active = j.active, waiting = j.waiting, ev_seq = j.ev_seq,
    output = j.output, failure = j.failure, finished_at = j.finished_at, expires_at = coalesce(j.finished_at + runs.retention_ms, j.expires_at),
    started_at = coalesce(runs.started_at, j.started_at)
from (
    select value ->> 0 as id, value ->> 1 as state, cast(value ->> 2 as bigint) as open, cast(value ->> 3 as bigint) as active,
        cast(value ->> 4 as bigint) as waiting, cast(value ->> 5 as bigint) as ev_seq, value ->> 6 as output, value ->> 7 as failure,
        cast(value ->> 8 as bigint) as finished_at, cast(value ->> 9 as bigint) as expires_at,
        cast(value ->> 10 as bigint) as started_at
    from json_rows($1)
) j
where runs.id = j.id
