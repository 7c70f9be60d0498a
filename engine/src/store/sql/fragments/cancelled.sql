exists (
            with recursive above (run_id, step, item) as (
                select task_runs.run_id, task_runs.step, task_runs.item
                union all
                select r.parent_run, r.parent_step, r.parent_item
                from above cross join runs r on r.id = above.run_id where r.parent_run is not null
            )
            select 1 from above cross join teardowns d on d.run_id = above.run_id and d.kind = 'cancel'
            where above.step <> d.spare_step and (d.only_step < 0 or (above.step = d.only_step and above.item >= 0)))
