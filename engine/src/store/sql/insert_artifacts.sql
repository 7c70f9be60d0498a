-- $1 = [[run, step, item, attempt, ordinal, digest, name, media_type, size_bytes, created_at], …]
insert into artifacts (run_id, step, item, attempt, ordinal, digest, name, media_type, size_bytes, created_at)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9
from jsonb_each($1)
