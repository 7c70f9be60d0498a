//! Lists of runs: a page at a time, by whichever index fits, and never more than so many rows looked at.
//!
//! Each list is one statement of two layers. The inner one goes down an index from the cursor and
//! stops after [`WINDOW`] rows; the outer one keeps those that fit. So a search for what is rare, or
//! nowhere, costs a page of a fixed price and a cursor to go on with, however many runs there are.

use std::time::Duration;

use super::script::Parameter;
use super::statement::Statement;
use super::views::{RunFilter, RunPage};
use super::{Store, StoreError, read, rows};
use crate::id::{RunId, WorkflowName};
use crate::run::RunState;
use crate::time::Timestamp;

/// Rows looked at for one page at most.
const WINDOW: i64 = 10_000;

/// How far a clock may ever have been set back: it says where a list in time may begin.
pub(super) const SET_BACK: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a submit may have waited for its commit, ms: a day without a database.
pub(super) const HELD_UP_MS: i64 = 24 * 3_600_000;

/// A list by one index, and the question how far its window reaches.
struct Listing {
    page: Statement,
    reach: Statement,
}

/// $1 before this id, $2 states or null, $3 workflow or null, $4 at most, $5 owner or null, $6 tag or null,
/// $7 pattern or null, $8 from this id on, $9 whether top runs only, $10 the window, $11 and $12 created from and before.
macro_rules! listing {
    ($name:ident, $window:literal) => {
        static $name: Listing = Listing {
            page: Statement::shared(
                concat!("LIST_", stringify!($name)),
                concat!(
                    "select json_array(id, workflow, version, state, paused, generation, open, priority, queued, tags, \
                    parent_run, null, null, failure, created_at, started_at, finished_at, ev_seq, idempotency_key, owner, expires_at, null) \
                    from (", $window, ") r \
                    where (cast($2 as text) is null or state in (select value from json_texts($2))) \
                    and (cast($3 as text) is null or workflow = $3) \
                    and (cast($5 as text) is null or owner = $5) \
                    and (cast($6 as text) is null or exists (select 1 from run_tags t where t.tag = $6 and t.run_id = r.id)) \
                    and (cast($7 as text) is null or lower(id || ' ' || workflow || ' ' || coalesce(tags, '') || ' ' \
                        || coalesce(failure, '') || ' ' || inputs) like $7 escape '\\') \
                    and id >= cast($8 as text) and (cast($9 as bigint) = 0 or parent_run is null) \
                    and created_at >= cast($11 as bigint) and created_at < cast($12 as bigint) \
                    order by id desc limit $4"
                ),
            ),
            reach: Statement::shared(
                concat!("REACH_", stringify!($name)),
                concat!(
                    "select json_array(count(*), min(id)) from (", $window, ") r \
                    where cast($2 as text) is not null or cast($3 as text) is not null or cast($4 as bigint) is not null \
                    or cast($5 as text) is not null or cast($6 as text) is not null or cast($7 as text) is not null \
                    or cast($8 as text) is not null or cast($9 as bigint) is not null \
                    or cast($11 as bigint) is not null or cast($12 as bigint) is not null"
                ),
            ),
        };
    };
}

listing!(
    RUNS_ALL,
    "select * from runs where id < $1 and id >= $8 order by id desc limit $10"
);
listing!(
    RUNS_FAILED,
    "select * from runs indexed by runs_failed where finished_at is not null and state in ('failed', 'cancelled') \
    and id < $1 and id >= $8 order by id desc limit $10"
);
listing!(
    RUNS_UNFINISHED,
    "select * from runs indexed by runs_unfinished where finished_at is null and id < $1 and id >= $8 order by id desc limit $10"
);
listing!(
    RUNS_OF_WORKFLOW,
    "select * from runs indexed by runs_by_workflow where workflow = $3 and id < $1 and id >= $8 order by id desc limit $10"
);
listing!(
    RUNS_OF_OWNER,
    "select * from runs indexed by runs_by_owner where owner = $5 and owner is not null and id < $1 and id >= $8 order by id desc limit $10"
);
listing!(
    RUNS_TAGGED,
    "select r.* from run_tags g cross join runs r on r.id = g.run_id \
    where g.tag = $6 and g.run_id < $1 and g.run_id >= $8 order by g.run_id desc limit $10"
);

/// All of them, for the tests that prepare and explain statements.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Statement> {
    let all: [&'static Listing; 6] = [
        &RUNS_ALL,
        &RUNS_FAILED,
        &RUNS_UNFINISHED,
        &RUNS_OF_WORKFLOW,
        &RUNS_OF_OWNER,
        &RUNS_TAGGED,
    ];
    all.into_iter().flat_map(|l| [&l.page, &l.reach])
}

/// The index that leaves the least to look at.
fn listing(filter: &RunFilter) -> &'static Listing {
    let only = |wanted: &[RunState]| {
        !filter.states.is_empty() && filter.states.iter().all(|s| wanted.contains(s))
    };
    if filter.tag.is_some() {
        &RUNS_TAGGED
    } else if only(&[RunState::Pending, RunState::Running]) {
        &RUNS_UNFINISHED
    } else if only(&[RunState::Failed, RunState::Cancelled]) {
        &RUNS_FAILED
    } else if filter.workflow.is_some() {
        &RUNS_OF_WORKFLOW
    } else if filter.owner.is_some() {
        &RUNS_OF_OWNER
    } else {
        &RUNS_ALL
    }
}

/// The lowest id that a run created at this moment can have: the first 48 bits are its time.
pub(super) fn first_id_at(at: Timestamp) -> String {
    let millis = u64::try_from(at.0).unwrap_or(0) & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-", millis >> 16, millis & 0xffff)
}

/// What finds these words anywhere, whatever signs are in them.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

impl Store {
    /// A page of runs, newest first.
    pub(crate) async fn list_runs(&self, filter: &RunFilter) -> Result<RunPage, StoreError> {
        let limit = match filter.limit {
            0 => 50,
            some => some.min(1_000),
        };
        // Greater than any UUID's first digit: no bound.
        let cursor = filter
            .before
            .map_or_else(|| "g".to_owned(), |id| id.to_string());
        // An id is made before its run is committed, and ids go on when a clock is set back: so its
        // time and the run's own may differ. The bounds by id are wide; the run's own time decides.
        let before = match filter.created_to.map(|to| first_id_at(to.after(SET_BACK))) {
            Some(time) => time.min(cursor),
            None => cursor,
        };
        let from = filter
            .created_from
            .map(|from| first_id_at(Timestamp(from.0 - HELD_UP_MS)));
        let states: Vec<&str> = filter.states.iter().map(|s| s.as_str()).collect();
        let states = (!states.is_empty()).then(|| rows::json(&states));
        let parameters: [Parameter; 12] = [
            before.into(),
            states.into(),
            filter.workflow.as_ref().map(WorkflowName::as_str).into(),
            i64::from(limit).into(),
            filter.owner.as_deref().into(),
            filter.tag.as_deref().into(),
            filter.text.as_deref().map(pattern).into(),
            from.unwrap_or_default().into(),
            i64::from(filter.top_only).into(),
            WINDOW.into(),
            filter.created_from.map_or(0, |at| at.0).into(),
            filter.created_to.map_or(i64::MAX, |at| at.0).into(),
        ];
        let listing = listing(filter);
        let found = self
            .readers
            .texts(&listing.page, parameters.clone())
            .await?;
        let runs: Vec<_> = found
            .iter()
            .map(|row| read::run_view(row))
            .collect::<Result<_, _>>()?;
        let next = if runs.len() == limit as usize {
            runs.last().map(|run| run.id)
        } else {
            self.reach(listing, parameters).await?
        };
        Ok(RunPage { runs, next })
    }

    /// The last run a page has looked at, where there are more behind it.
    async fn reach(
        &self,
        listing: &'static Listing,
        parameters: [Parameter; 12],
    ) -> Result<Option<RunId>, StoreError> {
        let found: Vec<(i64, Option<RunId>)> =
            self.readers.rows(&listing.reach, parameters).await?;
        Ok(found
            .into_iter()
            .find(|(looked_at, _)| *looked_at >= WINDOW)
            .and_then(|(_, last)| last))
    }
}
