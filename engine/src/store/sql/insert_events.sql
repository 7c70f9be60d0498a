-- $1 = [[run, seq, body], …]
insert into events (run_id, seq, body) select value ->> 0, value ->> 1, value ->> 2 from jsonb_each($1)
