select json_array(id, workflow, version, state, paused, generation, open, priority, queued, tags,
    parent_run, inputs, output, failure, created_at, started_at, finished_at, ev_seq, idempotency_key, owner, expires_at, notify)
from runs where id = $1
