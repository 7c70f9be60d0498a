-- Whoever takes a lock of this name keeps others from it until it commits; $1 the name. Answers with nothing: the
-- function returns a void that is not null. Two names that share a hash only wait for each other needlessly.
with locked as materialized (select pg_advisory_xact_lock(hashtextextended(cast($1 as text), 11)) as done)
select '' from locked where done is null
