-- What must never be: one line per broken promise.
select 'run ' || r.id || ': open is ' || r.open || ', a recount says ' || n.open
from runs r
join (
    select run_id,
        count(*) filter (where item = -1 and state not in ('succeeded', 'failed', 'skipped', 'cancelled')) as open,
        count(*) filter (where item = -1 and state = 'blocked' and pending = 1) as maybe_last
    from task_runs group by run_id
) n on n.run_id = r.id
where r.open <> n.open and not (r.state in ('pending', 'running') and r.open = n.open - 1 and n.maybe_last > 0)
union all
select 'run ' || id || ': has ended as ' || state || ' with ' || open || ' open steps' from runs
where state in ('succeeded', 'failed', 'cancelled') and open <> 0
union all
select 'run ' || id || ': nothing is open, but it has not ended' from runs
where state in ('pending', 'running') and open = 0
union all
select 'task ' || t.run_id || '/' || t.step || '/' || t.item || ': is ' || t.state || ' in a run that is ' || r.state
from task_runs t join runs r on r.id = t.run_id
where r.state in ('succeeded', 'failed', 'cancelled')
    and t.state not in ('succeeded', 'failed', 'skipped', 'cancelled')
union all
select 'task ' || t.run_id || '/' || t.step || '/' || t.item || ': its last attempt is recorded twice'
from task_runs t join attempts a on a.run_id = t.run_id and a.step = t.step and a.item = t.item and a.attempt = t.attempt
where t.state = 'succeeded'
union all
select 'step ' || g.run_id || '/' || g.step || ': open is ' || g.open || ', a recount says ' || n.open
from task_runs g join (
    select run_id, step, count(*) filter (where state not in ('succeeded', 'failed', 'skipped', 'cancelled')) as open
    from task_runs where item >= 0 group by run_id, step
) n on n.run_id = g.run_id and n.step = g.step
where g.item = -1 and g.state = 'running' and g.open <> n.open
union all
select 'run ' || e.run_id || ': events are numbered up to ' || max(e.seq) || ', its counter says ' || r.ev_seq
from events e join runs r on r.id = e.run_id group by e.run_id, r.ev_seq having max(e.seq) <> r.ev_seq
limit 1000
