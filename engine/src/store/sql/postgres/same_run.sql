-- Reads what `foresee_run` does, and fails unless it is $2: what is no JSON cannot be read as such.
-- Differs: the run's row is locked until the commit. It has no run above it that would have to be locked with it.
select null where jsonb(case when cast((
    select json_build_array(json_build_array(
        r.id, r.workflow, r.version, r.state, r.paused, r.generation, r.open, r.active, r.waiting,
        r.ev_seq, r.priority, r.parent_run, r.parent_step, r.parent_item, r.parent_attempt,
        r.concurrency_key, r.failure
    ))
    from runs r where r.id = $1 for no key update
) as text) = $2 then '0' else 'changed meanwhile' end) is null
