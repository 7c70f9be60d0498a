-- The runs a batch of decisions is about, and those above them, as one JSON value.
-- Differs: one process at a time decides about a run, so its row is locked until the commit. Rows are locked
-- in one order by everybody, a run after those above it, so that nobody waits in a circle: who cancels a tree goes down it.
with recursive family as (
    select id, parent_run from runs where id in (select value from jsonb_array_elements_text($1::jsonb))
    union
    select r.id, r.parent_run from family f join runs r on r.id = f.parent_run
), locked as materialized (
    select r.* from runs r where r.id in (select id from family) order by r.depth, r.id for no key update of r
)
select coalesce(json_agg(json_build_array(
    r.id, r.workflow, r.version, r.state, r.paused, r.generation, r.open, r.active, r.waiting,
    r.ev_seq, r.priority, r.parent_run, r.parent_step, r.parent_item, r.parent_attempt,
    r.concurrency_key, r.failure
)), '[]')
from locked r where r.id in (select value from jsonb_array_elements_text($1::jsonb))
