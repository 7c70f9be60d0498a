-- Records that somebody should look at by a certain time: schedules, for one.
alter table records add column due_at bigint;
create index records_due on records (kind, due_at) where due_at is not null;

-- Who is told of a run's end, as JSON, and how often that was done: once for each of its generations.
alter table runs add column notify text;
alter table runs add column notified bigint not null default 0;
-- Conditions on columns that only a run's end changes.
create index runs_to_tell on runs (id) where notify is not null and finished_at is not null and notified <= generation;

-- Cached results are forgotten by age.
create index step_cache_by_age on step_cache (created_at);
