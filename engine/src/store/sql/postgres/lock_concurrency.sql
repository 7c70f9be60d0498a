-- Whoever counts the runs of a concurrency key keeps others from starting one until it commits; $1 workflow, $2 key.
-- Answers with nothing: the function returns a void that is not null. Two keys that share a hash only wait for each other needlessly.
with locked as materialized (select pg_advisory_xact_lock(hashtextextended(cast($1 as text) || chr(10) || cast($2 as text), 7)) as done)
select '' from locked where done is null
