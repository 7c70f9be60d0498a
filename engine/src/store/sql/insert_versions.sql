-- $1 = [[version, name, spec, created_at], …]
insert into workflow_versions (version, name, spec, created_at)
select value ->> 0, value ->> 1, value ->> 2, cast(value ->> 3 as bigint) from json_rows($1) where true
on conflict (version) do nothing
