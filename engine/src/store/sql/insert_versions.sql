-- $1 = [[version, name, spec, created_at], …]
insert into workflow_versions (version, name, spec, created_at)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from jsonb_each($1) where true
on conflict (version) do nothing
