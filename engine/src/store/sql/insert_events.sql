-- $1 = [[run, seq, body], …]
insert into events (run_id, seq, body) select value ->> 0, cast(value ->> 1 as bigint), value ->> 2 from json_rows($1)
