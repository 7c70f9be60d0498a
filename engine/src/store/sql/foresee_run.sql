-- `load_runs` for one run.
select json_array(json_array(
    r.id, r.workflow, r.version, r.state, r.paused, r.generation, r.open, r.active, r.waiting,
    r.ev_seq, r.priority, r.parent_run, r.parent_step, r.parent_item, r.parent_attempt,
    r.concurrency_key, r.failure
))
from runs r where r.id = $1
