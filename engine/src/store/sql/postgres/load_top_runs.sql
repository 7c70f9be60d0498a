-- `load_runs` for runs that are known to have none above them: the common case, in fewer steps.
select coalesce(json_agg(json_build_array(
    r.id, r.workflow, r.version, r.state, r.paused, r.generation, r.open, r.active, r.waiting,
    r.ev_seq, r.priority, r.parent_run, r.parent_step, r.parent_item, r.parent_attempt,
    r.concurrency_key, r.failure
)), '[]')
from (
    select r.* from jsonb_array_elements_text($1::jsonb) k join runs r on r.id = k.value
    order by r.id for no key update of r
) r
