-- Models, and whatever else is costly to load: a claim prefers tasks for what its worker has loaded.
alter table task_runs add column prefers text;        -- JSON list: words for what the step would like to find loaded
alter table workers add column loaded text;           -- JSON list: words of what it has lately run
