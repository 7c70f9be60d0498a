-- What claims need of their runs; long inputs are left to a later read. $1 = [run, …].
select json_array(r.id, r.workflow, r.version, r.no_cache, r.depth, r.priority, r.generation,
    case when length(r.inputs) <= 4096 then r.inputs end)
from jsonb_each($1) k cross join runs r on r.id = k.value
