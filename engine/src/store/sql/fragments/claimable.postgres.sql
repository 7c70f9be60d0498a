queue = $4 and state in ('ready', 'retrying') and held = 0
        and (requires is null or requires::jsonb <@ $6::jsonb)
        and exists (select 1 from workers where id = $2 and state = 'live' and lease_until >= $3)
        and (cast($7 as text) = '[]' or not exists (
            select 1 from runs r where r.id = task_runs.run_id and r.version in (
                select value from jsonb_array_elements_text($7::jsonb))))
        and (not exists (select 1 from teardowns where kind = 'cancel') or not {cancelled})
