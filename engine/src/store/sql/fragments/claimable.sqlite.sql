queue = $4 and state in ('ready', 'retrying') and held = 0
        and (requires is null or not exists (
            select 1 from json_texts(requires) r where r.value not in (select value from json_texts($6))))
        and exists (select 1 from workers where id = $2 and state = 'live' and lease_until >= $3)
        and (cast($7 as text) = '[]' or not exists (
            select 1 from runs r where r.id = task_runs.run_id and r.version in (select value from json_texts($7))))
        and (not exists (select 1 from teardowns where kind = 'cancel') or not {cancelled})
