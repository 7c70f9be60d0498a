//! Who asks, and what they may.
//!
//! A key reads `aq_<id>_<secret>`. Only a hash of the secret is kept, so that nobody who reads the
//! database can use it; the secret is 244 random bits, so that a plain hash is enough. Without any
//! key, and on loopback only, everybody may do everything: that is a laptop.
//!
//! Routes say what they need in their arguments: [`Reader`], [`Submitter`], [`Operator`], [`Admin`].

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aquatint_engine::store::RunView;
use aquatint_engine::{Engine, EngineError};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use crate::app::App;
use crate::problem::Problem;

/// What the keys are called among the records.
pub(crate) const KIND: &str = "key";

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
    /// Submit runs, and cancel, pause, resume and retry them.
    Submit,
    /// Steer queues and workers.
    Operate,
    /// Make and revoke keys, put definitions; everything else too.
    Admin,
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
    keys: HashMap<String, Key>,
    read_at: Option<Instant>,
}

impl Keys {
    pub(crate) fn new(open_without: bool) -> Self {
        let known = Known {
            keys: HashMap::new(),
            read_at: None,
        };
        Self {
            open_without,
            known: RwLock::new(Arc::new(known)),
        }
    }

    /// What is known was changed here: read it again at the next request.
    pub(crate) fn forget(&self) {
        let known = Known {
            keys: HashMap::new(),
            read_at: None,
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    async fn known(&self, engine: &Engine) -> Result<Arc<Known>, EngineError> {
        let known = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        if known.read_at.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(known);
        }
        let keys = read(engine).await?;
        let keys = keys.into_iter().map(|(id, key, _)| (id, key)).collect();
        let known = Arc::new(Known {
            keys,
            read_at: Some(Instant::now()),
        });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        Ok(known)
    }

    /// Who shows this key, or nobody.
    async fn principal(&self, engine: &Engine, shown: Option<&str>) -> Result<Principal, Problem> {
        let known = self.known(engine).await?;
        let Some(shown) = shown else {
            return if known.keys.is_empty() && self.open_without {
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
        let key = known.keys.get(id);
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

/// Every key there is, with when it was made.
async fn read(
    engine: &Engine,
) -> Result<Vec<(String, Key, aquatint_engine::time::Timestamp)>, EngineError> {
    let records = engine.records(KIND).await?;
    Ok(records
        .into_iter()
        .filter_map(|record| {
            let key = serde_json::from_value(record.body);
            let key = key.inspect_err(
                |_| tracing::error!(key.id = %record.id, "a key's record cannot be read"),
            );
            Some((record.id, key.ok()?, record.created_at))
        })
        .collect())
}

/// Every key, as may be told.
pub(crate) async fn list(engine: &Engine) -> Result<Vec<KeyStatus>, EngineError> {
    let keys = read(engine).await?;
    Ok(keys
        .into_iter()
        .map(|(id, key, created_at)| KeyStatus {
            id,
            name: key.name,
            scopes: key.scopes.into_iter().collect(),
            sees_all: key.sees_all,
            created_at: crate::wire::Time(created_at).to_string(),
        })
        .collect())
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
    engine.keep(KIND, &id, &body, Some(0)).await?;
    Ok((id.clone(), format!("aq_{id}_{secret}")))
}

/// Revokes a key.
pub(crate) async fn revoke(engine: &Engine, id: &str) -> Result<(), Problem> {
    match engine.forget(KIND, id, None).await {
        Ok(()) => Ok(()),
        Err(EngineError::Conflict { .. }) => Err(Problem::not_found("key", id)),
        Err(error) => Err(error.into()),
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
    ($(#[$doc:meta])* $name:ident, $scope:ident, $word:literal) => {
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
                if who.may(Scope::$scope) {
                    Ok(Self(who.clone()))
                } else {
                    Err(Problem::forbidden(concat!("it lacks the scope `", $word, "`")))
                }
            }
        }
    };
}

extractor!(
    /// Somebody who may look.
    Reader, Read, "read"
);
extractor!(
    /// Somebody who may submit and steer runs.
    Submitter, Submit, "submit"
);
extractor!(
    /// Somebody who may steer queues and workers.
    Operator, Operate, "operate"
);
extractor!(
    /// Somebody who may do everything.
    Admin, Admin, "admin"
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
