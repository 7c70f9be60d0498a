-- Rows of which the run is gone, though nobody is deleting it; $1 at most of each table.
select 'rows in ' || o.what || ' of run ' || o.run_id || ', which is gone' from (
    select what, run_id from (select distinct 'task_runs' as what, t.run_id from task_runs t
        where not exists (select 1 from runs r where r.id = t.run_id) limit $1) x
    union all select what, run_id from (select distinct 'attempts' as what, t.run_id from attempts t
        where not exists (select 1 from runs r where r.id = t.run_id) limit $1) x
    union all select what, run_id from (select distinct 'events' as what, t.run_id from events t
        where not exists (select 1 from runs r where r.id = t.run_id) limit $1) x
    union all select what, run_id from (select distinct 'logs' as what, t.run_id from logs t
        where not exists (select 1 from runs r where r.id = t.run_id) limit $1) x
    union all select what, run_id from (select distinct 'artifacts' as what, t.run_id from artifacts t
        where not exists (select 1 from runs r where r.id = t.run_id) limit $1) x
    union all select what, run_id from (select distinct 'step_cache' as what, t.run_id from step_cache t
        where not exists (select 1 from runs r where r.id = t.run_id) limit $1) x
    union all select what, run_id from (select distinct 'run_tags' as what, t.run_id from run_tags t
        where not exists (select 1 from runs r where r.id = t.run_id) limit $1) x
) o where not exists (select 1 from teardowns d where d.kind = 'delete' and d.run_id = o.run_id)
union all
select 'attempts of run ' || x.run_id || ' at a task that is not there' from (
    select distinct t.run_id from attempts t where not exists (
        select 1 from task_runs r where r.run_id = t.run_id and r.step = t.step and r.item = t.item) limit $1) x
where exists (select 1 from runs r where r.id = x.run_id)
union all
select 'artifact `' || x.name || '` of run ' || x.run_id || ' at a task that is not there' from (
    select t.run_id, t.name from artifacts t where t.step >= 0 and not exists (
        select 1 from task_runs r where r.run_id = t.run_id and r.step = t.step and r.item = t.item) limit $1) x
where exists (select 1 from runs r where r.id = x.run_id)
