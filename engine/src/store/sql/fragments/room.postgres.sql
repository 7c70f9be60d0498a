coalesce((
        select case when paused <> 0 then 0 when cap is not null then least($5, greatest(0, cap - (
            select count(*) from task_runs where queue = $4 and token is not null))) end
        from queues where name = $4), $5)
