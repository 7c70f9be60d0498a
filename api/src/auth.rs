//! Who asks, and what they may.
//!
//! A key reads `aq_<id>_<secret>`. Only a hash of the secret is kept, so that nobody who reads the
//! database can use it; the secret is 244 random bits, so that a plain hash is enough. Where there was
//! never a key, and on loopback only, everybody may do everything: that is a laptop. Once there was one,
//! a key is needed for good, whatever became of those that were made.
//!
//! Routes say what they need in their arguments: [`Reader`], [`Submitter`], [`Operator`], [`Planner`],
//! [`Admin`]. What a workflow needs beyond that, `admission` sees to.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aquatint_engine::engine::ScheduleError;
use aquatint_engine::store::RunView;
use aquatint_engine::time::Timestamp;
use aquatint_engine::{Engine, EngineError, Permission};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use crate::app::App;
use crate::problem::Problem;
use crate::webhooks;

/// What the keys are called among the records.
pub(crate) const KIND: &str = "key";

/// Written down before the first key is, and never forgotten: from then on every request needs a key.
const REQUIRED: (&str, &str) = ("keys", "required");

/// How long what is known of keys is believed: a revoked one is refused everywhere after this.
const FRESH: Duration = Duration::from_secs(2);

/// What a key may do. Each includes nothing but itself, but `admin`, which includes all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at runs and what they made.
    Read,
    /// Submit runs, and cancel, pause, resume and retry them. Workflows that act on the installation
    /// need `operate` or `admin` besides.
    Submit,
    /// Steer queues, workers and schedules, and begin maintenance; with `submit`, also make schedules.
    Operate,
    /// Make and revoke keys, put definitions; everything else too.
    Admin,
}

impl From<Permission> for Scope {
    fn from(permission: Permission) -> Self {
        match permission {
            Permission::Submit => Self::Submit,
            Permission::Operate => Self::Operate,
            Permission::Admin => Self::Admin,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "submit" => Ok(Self::Submit),
            "operate" => Ok(Self::Operate),
            "admin" => Ok(Self::Admin),
            other => Err(format!(
                "`{other}` is no scope; one of: read, submit, operate, admin"
            )),
        }
    }
}

/// A key, as it is kept: never its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// BLAKE3 of the secret, hexadecimal.
    pub(crate) hash: String,
    pub(crate) scopes: BTreeSet<Scope>,
    /// Sees runs of other keys, and of nobody.
    pub(crate) sees_all: bool,
}

/// A key to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What people call it; 1 to 100 bytes.
    pub name: String,
    /// What it may do.
    #[schema(value_type = Vec<Scope>)]
    pub scopes: BTreeSet<Scope>,
    /// Whether it sees runs that other keys submitted.
    #[serde(default)]
    pub sees_all: bool,
}

/// What may be told of a key.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The public part of it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whether it sees runs that other keys submitted.
    pub sees_all: bool,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    /// The key's id; `None` where no key is needed.
    pub(crate) key: Option<String>,
    scopes: BTreeSet<Scope>,
    sees_all: bool,
}

impl Principal {
    fn anybody() -> Self {
        Self {
            key: None,
            scopes: BTreeSet::from([Scope::Admin]),
            sees_all: true,
        }
    }

    /// What the server does on its own behalf.
    pub(crate) fn system() -> Self {
        Self::anybody()
    }

    /// What workflows they may run.
    pub(crate) fn permission(&self) -> Permission {
        if self.may(Scope::Admin) {
            Permission::Admin
        } else if self.may(Scope::Operate) {
            Permission::Operate
        } else {
            Permission::Submit
        }
    }

    fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&Scope::Admin) || self.scopes.contains(&scope)
    }

    /// Whether this run is one of theirs to see. What is not, does not exist to them.
    pub(crate) fn sees(&self, run: &RunView) -> bool {
        self.sees_all() || (self.key.is_some() && run.owner == self.key)
    }

    /// Whether all runs are theirs to see.
    pub(crate) fn sees_all(&self) -> bool {
        self.sees_all || self.scopes.contains(&Scope::Admin)
    }

    /// The owner that lists are limited to.
    pub(crate) fn limited_to(&self) -> Option<String> {
        if self.sees_all() {
            None
        } else {
            Some(self.key.clone().unwrap_or_default())
        }
    }

    /// An idempotency key that no other owner's can meet.
    pub(crate) fn scoped(&self, key: &str) -> String {
        match &self.key {
            Some(owner) => format!("{owner}/{key}"),
            None => key.to_owned(),
        }
    }
}

/// The keys, as last read.
#[derive(Debug)]
pub(crate) struct Keys {
    open_without: bool,
    known: RwLock<Arc<Known>>,
}

#[derive(Debug)]
struct Known {
    /// By id; `None` where the record is there and cannot be read.
    keys: HashMap<String, Option<Key>>,
    /// Whether there is, or ever was, a key.
    is_required: bool,
    read_at: Option<Instant>,
}

impl Known {
    fn nothing() -> Self {
        Self {
            keys: HashMap::new(),
            is_required: true,
            read_at: None,
        }
    }
}

impl Keys {
    pub(crate) fn new(open_without: bool) -> Self {
        Self {
            open_without,
            known: RwLock::new(Arc::new(Known::nothing())),
        }
    }

    /// What is known was changed here: read it again at the next request.
    pub(crate) fn forget(&self) {
        let known = Known::nothing();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    async fn known(&self, engine: &Engine) -> Result<Arc<Known>, EngineError> {
        let known = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        if known.read_at.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(known);
        }
        let (keys, is_required) = read(engine).await?;
        let keys = keys.into_iter().map(|(id, key, _)| (id, key)).collect();
        let known = Arc::new(Known {
            keys,
            is_required,
            read_at: Some(Instant::now()),
        });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        Ok(known)
    }

    /// Whether a key was revoked: it is in force no more, and what it holds open ends.
    pub(crate) async fn is_revoked(&self, engine: &Engine, who: &Principal) -> bool {
        let Some(key) = &who.key else {
            return false;
        };
        // While nobody can be asked, what was known of the key stands.
        let known = self.known(engine).await;
        known.is_ok_and(|known| !known.keys.contains_key(key))
    }

    /// Resolves once whoever this is may no longer listen: their key was revoked.
    pub(crate) async fn revoked(&self, engine: &Engine, who: &Principal) {
        loop {
            tokio::time::sleep(FRESH).await;
            if self.is_revoked(engine, who).await {
                return;
            }
        }
    }

    /// Who shows this key, or nobody.
    async fn principal(&self, engine: &Engine, shown: Option<&str>) -> Result<Principal, Problem> {
        let known = self.known(engine).await?;
        let Some(shown) = shown else {
            return if !known.is_required && self.open_without {
                Ok(Principal::anybody())
            } else {
                Err(Problem::unauthorized(
                    "send a key as `Authorization: Bearer aq_…`; `aquatint keys add NAME` makes one",
                ))
            };
        };
        let refused = || Problem::unauthorized("this key is unknown or was revoked");
        let (id, secret) = shown
            .strip_prefix("aq_")
            .and_then(|rest| rest.split_once('_'))
            .ok_or_else(refused)?;
        let key = known.keys.get(id).and_then(Option::as_ref);
        // As much work for an unknown id as for a known one.
        let expected = key.map_or_else(|| "0".repeat(64), |key| key.hash.clone());
        let is_right: bool = hash(secret).as_bytes().ct_eq(expected.as_bytes()).into();
        match key {
            Some(key) if is_right => Ok(Principal {
                key: Some(id.to_owned()),
                scopes: key.scopes.clone(),
                sees_all: key.sees_all,
            }),
            _ => Err(refused()),
        }
    }
}

fn hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// Every key there is, with when it was made; and whether one is needed.
async fn read(
    engine: &Engine,
) -> Result<(Vec<(String, Option<Key>, Timestamp)>, bool), EngineError> {
    let records = engine.records(KIND).await?;
    let is_required = !records.is_empty() || engine.record(REQUIRED.0, REQUIRED.1).await?.is_some();
    let keys = records.into_iter().map(|record| {
        let key = serde_json::from_value(record.body);
        let key = key
            .inspect_err(|_| tracing::error!(key.id = %record.id, "a key's record cannot be read"));
        (record.id, key.ok(), record.created_at)
    });
    Ok((keys.collect(), is_required))
}

/// Whether every request needs a key: there is one, or there was.
pub(crate) async fn is_required(engine: &Engine) -> Result<bool, EngineError> {
    Ok(read(engine).await?.1)
}

/// Writes down that a key is needed from now on.
async fn require(engine: &Engine) -> Result<(), EngineError> {
    let kept = engine.keep(REQUIRED.0, REQUIRED.1, &json!(true), Some(0));
    match kept.await {
        Ok(_) | Err(EngineError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Every key, as may be told.
pub(crate) async fn list(engine: &Engine) -> Result<Vec<KeyStatus>, EngineError> {
    let (keys, _) = read(engine).await?;
    let readable = keys.into_iter().filter_map(|(id, key, created_at)| {
        let key = key?;
        Some(KeyStatus {
            id,
            name: key.name,
            scopes: key.scopes.into_iter().collect(),
            sees_all: key.sees_all,
            created_at: crate::wire::Time(created_at).to_string(),
        })
    });
    Ok(readable.collect())
}

/// Makes a key; the text of it is shown this once.
pub(crate) async fn make(engine: &Engine, new: &NewKey) -> Result<(String, String), Problem> {
    let is_name = (1..=100).contains(&new.name.len()) && !new.name.contains(char::is_control);
    if !is_name {
        return Err(Problem::at(
            "/name",
            "expected 1 to 100 bytes without control characters",
        ));
    }
    if new.scopes.is_empty() {
        return Err(Problem::at(
            "/scopes",
            "a key without a scope could do nothing; give one of: read, submit, operate, admin",
        ));
    }
    let id = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
    let secret = format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    let key = Key {
        name: new.name.clone(),
        hash: hash(&secret),
        scopes: new.scopes.clone(),
        sees_all: new.sees_all,
    };
    let body = serde_json::to_value(&key).expect("a key is plain JSON");
    require(engine).await?;
    engine.keep(KIND, &id, &body, Some(0)).await?;
    Ok((id.clone(), format!("aq_{id}_{secret}")))
}

/// Revokes a key, and ends what it set up: its webhooks and its schedules. Its streams end within two
/// seconds; runs that have begun go on.
pub(crate) async fn revoke(engine: &Engine, id: &str) -> Result<(), Problem> {
    // Keys that earlier versions made left no note.
    if engine.record(KIND, id).await?.is_some() {
        require(engine).await?;
    }
    match engine.forget(KIND, id, None).await {
        Ok(()) => {}
        Err(EngineError::Conflict { .. }) => return Err(Problem::not_found("key", id)),
        Err(error) => return Err(error.into()),
    }
    // Whatever fails here, servers go on with: see `end_orphaned`.
    end_orphaned(engine).await?;
    Ok(())
}

/// Ends webhooks and schedules whose key is no more. A key whose record cannot be read keeps its own.
pub(crate) async fn end_orphaned(engine: &Engine) -> Result<(), EngineError> {
    // In this order: a key is there before anything that it sets up.
    let schedules = engine.schedules().await?;
    let hooks = webhooks::read(engine).await?;
    let keys: BTreeSet<String> = read(engine)
        .await?
        .0
        .into_iter()
        .map(|(id, ..)| id)
        .collect();
    let is_orphaned =
        |owner: &Option<String>| owner.as_ref().is_some_and(|key| !keys.contains(key));
    for (id, kept, _) in hooks {
        if is_orphaned(&kept.owner) {
            tracing::info!(webhook.id = %id, "webhook `{id}` ends with the key that made it");
            gone(engine.forget(webhooks::KIND, &id, None).await)?;
        }
    }
    for view in schedules {
        if !view.is_defined && is_orphaned(&view.owner) {
            let id = &view.id;
            tracing::info!(schedule.id = %id, "schedule `{id}` ends with the key that made it");
            gone(engine.forget_schedule(id).await)?;
        }
    }
    Ok(())
}

/// What somebody else has forgotten meanwhile is gone too.
fn gone(forgotten: Result<(), EngineError>) -> Result<(), EngineError> {
    match forgotten {
        Ok(())
        | Err(
            EngineError::Conflict { .. } | EngineError::Schedule(ScheduleError::Unknown { .. }),
        ) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The key that a request shows.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok().map(str::trim))
}

/// Finds out who asks, for every route behind it.
pub(crate) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let who = app
        .keys
        .principal(&app.engine, shown(request.headers()))
        .await;
    match who {
        Ok(principal) => {
            if let Err(problem) = app.limits.take(&principal, &request) {
                return problem.into_response();
            }
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

macro_rules! extractor {
    ($(#[$doc:meta])* $name:ident, $($scope:ident),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name(
            #[allow(dead_code, reason = "some routes only ask that somebody may")]
            pub(crate) Principal,
        );

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                let who = parts.extensions.get::<Principal>();
                let who = who.ok_or_else(|| Problem::unauthorized("no key was shown"))?;
                for scope in [$(Scope::$scope),+] {
                    if !who.may(scope) {
                        return Err(Problem::forbidden(format!("it lacks the scope `{scope}`")));
                    }
                }
                Ok(Self(who.clone()))
            }
        }
    };
}

extractor!(
    /// Somebody who may look.
    Reader, Read
);
extractor!(
    /// Somebody who may submit and steer runs.
    Submitter, Submit
);
extractor!(
    /// Somebody who may steer queues and workers.
    Operator, Operate
);
extractor!(
    /// Somebody who may let work begin by itself: it runs on their behalf, and takes its turn from others.
    Planner, Operate, Submit
);
extractor!(
    /// Somebody who may do everything.
    Admin, Admin
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_from_either_header() {
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header"));
            shown(&headers).map(str::to_owned)
        };
        assert_eq!(
            with("authorization", "Bearer aq_1_2").as_deref(),
            Some("aq_1_2")
        );
        assert_eq!(
            with("authorization", "bearer aq_1_2").as_deref(),
            Some("aq_1_2")
        );
        assert_eq!(with("x-api-key", "aq_1_2").as_deref(), Some("aq_1_2"));
        assert_eq!(with("authorization", "Basic aq_1_2"), None);
    }

    #[test]
    fn scopes_include_only_themselves_but_admin() {
        let who = |scope| Principal {
            key: None,
            scopes: BTreeSet::from([scope]),
            sees_all: false,
        };
        assert!(who(Scope::Read).may(Scope::Read));
        assert!(!who(Scope::Operate).may(Scope::Read));
        assert!(who(Scope::Admin).may(Scope::Operate));
        assert!(who(Scope::Admin).sees_all());
        assert!(!who(Scope::Submit).sees_all());
    }
}
