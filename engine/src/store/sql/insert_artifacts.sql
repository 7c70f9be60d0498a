-- $1 = [[run, step, item, attempt, ordinal, digest, name, media_type, size_bytes, created_at], …]
insert into artifacts (run_id, step, item, attempt, ordinal, digest, name, media_type, size_bytes, created_at)
select value ->> 0, cast(value ->> 1 as integer), cast(value ->> 2 as integer), cast(value ->> 3 as bigint), cast(value ->> 4 as integer), value ->> 5, value ->> 6,
    value ->> 7, cast(value ->> 8 as bigint), cast(value ->> 9 as bigint)
from json_rows($1)
