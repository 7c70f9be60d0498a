-- Runs by their ids, $1: as many as there are, in any order, each beginning with its id.
select json_array(r.id, r.workflow, r.version, r.state, r.paused, r.generation, r.open, r.priority, r.queued, r.tags,
    r.parent_run, r.inputs, r.output, r.failure, r.created_at, r.started_at, r.finished_at, r.ev_seq,
    r.idempotency_key, r.owner, r.expires_at, r.notify)
from json_texts($1) k cross join runs r on r.id = k.value
