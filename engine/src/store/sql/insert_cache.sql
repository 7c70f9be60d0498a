-- $1 = [[key, task, run, output, artifacts, created_at], …]; the newest result wins.
insert into step_cache (key, task, run_id, output, artifacts, created_at)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, cast(value ->> 5 as bigint) from json_rows($1) where true
on conflict (key) do update set
    run_id = excluded.run_id, output = excluded.output, artifacts = excluded.artifacts, created_at = excluded.created_at
