//! What acts on the installation takes a scope of its own, whoever asks and by whichever route.

use aquatint_api::ApiConfig;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, House, PATIENCE, keyed, png, request};

const NOTHING: Value = Value::Null;

/// Refused for what the workflow takes, and for nothing else.
fn must_lack(answer: Answer, scope: &str) {
    let problem = answer.problem(403, "forbidden");
    let said = problem["detail"].as_str().unwrap();
    assert!(said.contains(&format!("the scope `{scope}`")), "{said}");
}

#[tokio::test]
async fn a_submit_key_begins_nothing_that_acts_on_the_installation() {
    let house = House::new().await;
    let (submitter, _) = house.key(&["read", "submit"], false).await;
    let (operator, _) = house.key(&["submit", "operate"], false).await;
    for (workflow, inputs, needs) in [
        ("tidy", json!({}), "operate"),
        ("outer", json!({}), "operate"),
        ("strict", json!({}), "admin"),
        (
            "webhook-delivery",
            json!({"hook": "alerts", "message": "m", "event": {"type": "alert.recovered"}}),
            "admin",
        ),
    ] {
        let run = json!({ "workflow": workflow, "inputs": inputs });
        must_lack(
            house
                .ask(&submitter, Method::POST, "/api/v1/runs", &run)
                .await,
            needs,
        );
    }
    let batch = json!({ "workflow": "tidy", "items": [{}] });
    must_lack(
        house
            .ask(&submitter, Method::POST, "/api/v1/batches", &batch)
            .await,
        "operate",
    );
    let last = json!({ "workflow": "say", "items": [{"words": "a"}], "finalize": "outer" });
    must_lack(
        house
            .ask(&submitter, Method::POST, "/api/v1/batches", &last)
            .await,
        "operate",
    );
    // A compatible route runs whatever workflow bears the type's name.
    use base64::Engine as _;
    let image = base64::prelude::BASE64_STANDARD.encode(png(8, 8));
    let order = json!({ "task_type": "style_transfer", "image": image });
    for path in ["/api/v1/tasks/create/", "/api/v1/tasks/submit/"] {
        must_lack(
            house.ask(&submitter, Method::POST, path, &order).await,
            "operate",
        );
    }
    // Who may operate, may.
    let run = json!({ "workflow": "outer" });
    house
        .ask(&operator, Method::POST, "/api/v1/runs", &run)
        .await
        .has(202);
    must_lack(
        house
            .ask(
                &operator,
                Method::POST,
                "/api/v1/runs",
                &json!({ "workflow": "strict" }),
            )
            .await,
        "admin",
    );
    let runs = house
        .engine
        .runs(&aquatint_engine::RunFilter::default())
        .await
        .unwrap();
    assert_eq!(runs.len(), 1, "only the operator's began: {runs:?}");
    house.close().await;
}

#[tokio::test]
async fn a_schedule_takes_both_scopes_and_what_its_workflow_takes() {
    let house = House::new().await;
    let (admin, _) = house.key(&["admin"], false).await;
    let (submitter, _) = house.key(&["read", "submit"], true).await;
    let (operator, _) = house.key(&["operate"], true).await;
    let (both, _) = house.key(&["read", "operate", "submit"], true).await;
    let every = |workflow: &str| json!({ "workflow": workflow, "cron": "@every 1h" });
    let path = "/api/v1/schedules/nightly";
    for key in [&submitter, &operator] {
        house
            .ask(key, Method::PUT, path, &every("hold"))
            .await
            .problem(403, "forbidden");
    }
    must_lack(
        house.ask(&both, Method::PUT, path, &every("strict")).await,
        "admin",
    );
    house
        .ask(&both, Method::PUT, path, &every("tidy"))
        .await
        .has(201);
    house
        .ask(&both, Method::POST, &format!("{path}/trigger"), &NOTHING)
        .await
        .has(202);
    // What an administrator scheduled is no way around it.
    let other = "/api/v1/schedules/strict-one";
    house
        .ask(&admin, Method::PUT, other, &every("strict"))
        .await
        .has(201);
    for key in [&submitter, &operator] {
        house
            .ask(key, Method::POST, &format!("{other}/trigger"), &NOTHING)
            .await
            .problem(403, "forbidden");
    }
    must_lack(
        house
            .ask(&both, Method::POST, &format!("{other}/trigger"), &NOTHING)
            .await,
        "admin",
    );
    let past = json!({ "from": "2026-01-01", "until": "2026-01-02" });
    must_lack(
        house
            .ask(&both, Method::POST, &format!("{other}/backfill"), &past)
            .await,
        "admin",
    );
    house
        .ask(&admin, Method::POST, &format!("{other}/trigger"), &NOTHING)
        .await
        .has(202);
    house.close().await;
}

#[tokio::test]
async fn to_begin_a_run_again_or_steer_anothers_takes_what_beginning_it_took() {
    let house = House::new().await;
    let (admin, _) = house.key(&["admin"], false).await;
    let (submitter, _) = house.key(&["read", "submit"], true).await;
    let run = house
        .ask(
            &admin,
            Method::POST,
            "/api/v1/runs?wait=30",
            &json!({ "workflow": "strict" }),
        )
        .await
        .has(200)
        .json();
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    for ending in ["/retry", "/retry?from=a", "/cancel", "/pause", "/resume"] {
        let there = format!("{path}{ending}");
        must_lack(
            house.ask(&submitter, Method::POST, &there, &NOTHING).await,
            "admin",
        );
    }
    must_lack(
        house.ask(&submitter, Method::DELETE, &path, &NOTHING).await,
        "admin",
    );
    let job = json!({ "action": "delete", "filter": { "workflow": "strict" } });
    let job = house
        .ask(&submitter, Method::POST, "/api/v1/runs/bulk", &job)
        .await
        .has(202)
        .json();
    let there = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    let mut changes = house.engine.changes();
    let job = tokio::time::timeout(PATIENCE, async {
        loop {
            let job = house
                .ask(&submitter, Method::GET, &there, &NOTHING)
                .await
                .has(200)
                .json();
            if job["state"] == "finished" {
                return job;
            }
            let _ = tokio::time::timeout(PATIENCE / 300, changes.changed()).await;
        }
    });
    let job = job.await.unwrap();
    assert_eq!((&job["done"], &job["refused"]), (&json!(0), &json!(1)));
    house
        .ask(
            &admin,
            Method::POST,
            &format!("{path}/retry?from=a"),
            &NOTHING,
        )
        .await
        .has(202);
    house.close().await;
}

#[tokio::test]
async fn a_published_definition_gives_no_rights_to_whoever_runs_it() {
    let mut config = ApiConfig::default();
    config.allow_definitions = true;
    let house = House::with(config).await;
    let (admin, _) = house.key(&["admin"], false).await;
    let (submitter, _) = house.key(&["read", "submit"], false).await;
    let text = "name: mine\nsteps:\n  a: { task: maintenance.clean, with: { grace: 1h, keep_runs: 1s } }\n";
    let put = |key: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/yaml"),
        ];
        request(
            Method::PUT,
            "/api/v1/workflows/mine",
            &headers,
            Body::from(text),
        )
    };
    house.send(put(&submitter)).await.problem(403, "forbidden");
    let told = house.send(put(&admin)).await.has(200).json();
    assert_eq!(told["scope"], "operate");
    let run = json!({ "workflow": "mine" });
    must_lack(
        house
            .ask(&submitter, Method::POST, "/api/v1/runs", &run)
            .await,
        "operate",
    );
    house.close().await;
}

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    NoKey,
    Read,
    Submit,
    Operate,
    OperateAndSubmit,
    Admin,
}

use Takes::{Admin, NoKey, Operate, OperateAndSubmit, Read, Submit};

/// Every route of the document, and what it takes: a new one needs a row here.
const TABLE: &[(&str, &str, Takes)] = &[
    ("delete", "/api/v1/keys/{id}", Admin),
    ("delete", "/api/v1/runs/{id}", Submit),
    ("delete", "/api/v1/schedules/{id}", Operate),
    ("delete", "/api/v1/webhooks/{id}", Submit),
    ("get", "/api/v1/alerts", Read),
    ("get", "/api/v1/batches", Read),
    ("get", "/api/v1/batches/{id}", Read),
    ("get", "/api/v1/batches/{id}/items", Read),
    ("get", "/api/v1/events", Read),
    ("get", "/api/v1/health", Read),
    ("get", "/api/v1/health/history", Read),
    ("get", "/api/v1/jobs/{id}", Read),
    ("get", "/api/v1/keys", Admin),
    ("get", "/api/v1/queues", Read),
    ("get", "/api/v1/runs", Read),
    ("get", "/api/v1/runs/{id}", Read),
    ("get", "/api/v1/runs/{id}/artifacts", Read),
    ("get", "/api/v1/runs/{id}/artifacts/{digest}", Read),
    ("get", "/api/v1/runs/{id}/attempts", Read),
    ("get", "/api/v1/runs/{id}/events", Read),
    ("get", "/api/v1/runs/{id}/logs", Read),
    ("get", "/api/v1/runs/{id}/steps/{step}/items", Read),
    ("get", "/api/v1/runs/{id}/stream", Read),
    ("get", "/api/v1/schedule-times", Read),
    ("get", "/api/v1/schedules", Read),
    ("get", "/api/v1/schedules/{id}", Read),
    ("get", "/api/v1/stream", Read),
    ("get", "/api/v1/tasks/{id}/result/", Read),
    ("get", "/api/v1/tasks/{id}/status/", Read),
    ("get", "/api/v1/webhooks", Submit),
    ("get", "/api/v1/workers", Read),
    ("get", "/api/v1/workflows", Read),
    ("get", "/api/v1/workflows/{name}", Read),
    ("get", "/api/v1/workflows/{name}/versions", Read),
    ("get", "/celery/health", Read),
    ("get", "/health", Read),
    ("get", "/livez", NoKey),
    ("get", "/media/{year}/{month}/{day}/{task}/{file}", NoKey),
    ("get", "/metrics", Read),
    ("get", "/models/status", Read),
    ("get", "/readyz", NoKey),
    ("get", "/task/{id}/result", Read),
    ("get", "/task/{id}/status", Read),
    ("post", "/api/v1/batches", Submit),
    ("post", "/api/v1/keys", Admin),
    ("post", "/api/v1/maintenance/{workflow}", Operate),
    ("post", "/api/v1/queues/{queue}/pause", Operate),
    ("post", "/api/v1/queues/{queue}/purge", Operate),
    ("post", "/api/v1/queues/{queue}/resume", Operate),
    ("post", "/api/v1/runs", Submit),
    ("post", "/api/v1/runs/bulk", Submit),
    ("post", "/api/v1/runs/{id}/cancel", Submit),
    ("post", "/api/v1/runs/{id}/pause", Submit),
    ("post", "/api/v1/runs/{id}/resume", Submit),
    ("post", "/api/v1/runs/{id}/retry", Submit),
    ("post", "/api/v1/schedules/{id}/backfill", OperateAndSubmit),
    ("post", "/api/v1/schedules/{id}/pause", Operate),
    ("post", "/api/v1/schedules/{id}/resume", Operate),
    ("post", "/api/v1/schedules/{id}/trigger", OperateAndSubmit),
    ("post", "/api/v1/tasks/create/", Submit),
    ("post", "/api/v1/tasks/submit/", Submit),
    ("post", "/api/v1/tasks/{id}/cancel/", Submit),
    ("post", "/api/v1/uploads", Submit),
    ("post", "/api/v1/webhooks", Submit),
    ("post", "/api/v1/webhooks/{id}/test", Submit),
    ("post", "/api/v1/workers/{worker}/drain", Operate),
    ("post", "/api/v1/workers/{worker}/restart", Operate),
    ("post", "/api/v1/workers/{worker}/undrain", Operate),
    ("post", "/api/v1/workflows/validate", Read),
    ("post", "/predict", Submit),
    ("post", "/predict/compare", Submit),
    ("post", "/train/{model_type}", Submit),
    ("post", "/train/{model_type}/async", Submit),
    ("put", "/api/v1/alerts/silences/{rule}", Operate),
    ("put", "/api/v1/queues/{queue}/cap", Operate),
    ("put", "/api/v1/schedules/{id}", OperateAndSubmit),
    ("put", "/api/v1/workers/{worker}/slots", Operate),
    ("put", "/api/v1/workflows/{name}", Admin),
];

impl Takes {
    fn lets(self, scopes: &[&str]) -> bool {
        let has = |scope: &str| scopes.contains(&scope) || scopes.contains(&"admin");
        match self {
            Self::NoKey => true,
            Self::Read => has("read"),
            Self::Submit => has("submit"),
            Self::Operate => has("operate"),
            Self::OperateAndSubmit => has("operate") && has("submit"),
            Self::Admin => has("admin"),
        }
    }
}

/// Every route of the OpenAPI document.
fn documented() -> Vec<(String, String)> {
    let document = aquatint_api::Api::document().unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in [
            "get", "put", "post", "delete", "patch", "head", "options", "trace",
        ] {
            if item.get(method).is_some() {
                routes.push((method.to_owned(), path.clone()));
            }
        }
    }
    routes.sort();
    routes
}

#[tokio::test]
async fn every_route_takes_the_scopes_that_the_table_says() {
    let documented = documented();
    let mut rows: Vec<_> = TABLE
        .iter()
        .map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned()))
        .collect();
    rows.sort();
    assert_eq!(
        documented, rows,
        "each route of the document has one row, and each row a route"
    );

    let mut config = ApiConfig::default();
    config.allow_definitions = true;
    let house = House::with(config).await;
    let mut keys = Vec::new();
    for scopes in [
        &["read"][..],
        &["submit"],
        &["operate"],
        &["admin"],
        &["read", "submit"],
        &["operate", "submit"],
        &["read", "operate"],
    ] {
        keys.push((scopes, house.key(scopes, false).await.0));
    }
    for (method, path, takes) in TABLE {
        let mut there = (*path).to_owned();
        for (open, close) in [
            ("{id}", "00000000-0000-7000-8000-000000000000"),
            ("{model_type}", "none"),
        ] {
            there = there.replace(open, close);
        }
        let there: String = there
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let method: Method = method.to_uppercase().parse().unwrap();
        let body = if method == Method::GET {
            Value::Null
        } else {
            json!({})
        };
        let plain = request(method.clone(), &there, &[], Body::empty());
        let anonymous = house.status(plain).await;
        let is_open = *takes == NoKey;
        assert_eq!(
            anonymous != StatusCode::UNAUTHORIZED,
            is_open,
            "{method} {path} without a key: {anonymous}"
        );
        for (scopes, key) in &keys {
            let status = house
                .status(keyed(key, method.clone(), &there, &body))
                .await;
            let is_let = ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
            assert_eq!(
                is_let,
                takes.lets(scopes),
                "{method} {path} with {scopes:?}: {status}"
            );
        }
    }
    house.engine.close().await;
}
