//! The models of a training service: which there are, and what they answer.
//!
//! Models are what the workflows `train` and `train-all` store; the newest run of each kind that
//! succeeded is the model that answers.

use std::collections::BTreeMap;
use std::time::Duration;

use aquatint_engine::id::{RunId, WorkflowName};
use aquatint_engine::store::RunView;
use aquatint_engine::{RunFilter, RunState, Submission};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::training::{
    ALL, Detail, MODEL_TAG, Refusal, TRAIN, TRAIN_ALL, body, check_kind, kind_of, kinds,
};
use crate::admission;
use crate::app::App;
use crate::attachments;
use crate::auth::{Principal, Reader, Submitter};
use crate::problem::Problem;
use crate::wire::Time;

/// What asks a model.
const PREDICT: &str = "predict";

/// How long a prediction may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(predict))
        .routes(routes!(compare))
        .routes(routes!(models))
}

/// What to ask, and of which model.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
struct PredictRequest {
    /// The kind of model; the one asked when nothing is said is the last trained.
    model_type: Option<String>,
    /// One row, by column.
    #[schema(value_type = Option<Object>)]
    features: Option<Map<String, Value>>,
    /// Several rows.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<Map<String, Value>>,
}

impl PredictRequest {
    fn rows(&self) -> Result<Vec<Map<String, Value>>, Refusal> {
        let rows: Vec<_> = self
            .features
            .iter()
            .cloned()
            .chain(self.rows.iter().cloned())
            .collect();
        if rows.is_empty() {
            return Err(Refusal::Problem(Problem::at(
                "/features",
                "give `features`, one row by column, or `rows`, a list of them",
            )));
        }
        Ok(rows)
    }
}

/// A trained model: which, since when, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Trained {
    run: RunId,
    at: Option<aquatint_engine::time::Timestamp>,
    file: Value,
    metrics: Value,
}

/// The newest model of each kind that whoever asks may use.
pub(super) async fn trained(
    app: &App,
    who: &Principal,
) -> Result<BTreeMap<String, Trained>, Refusal> {
    let mut found = BTreeMap::new();
    for (workflow, kinds) in [(TRAIN, kinds(app)?), (TRAIN_ALL, vec![ALL.to_owned()])] {
        for kind in kinds {
            let filter = RunFilter {
                states: vec![RunState::Succeeded],
                workflow: WorkflowName::new(workflow).ok(),
                tag: Some(format!("{MODEL_TAG}{kind}")),
                owner: who.limited_to(),
                limit: 1,
                ..RunFilter::default()
            };
            let Some(newest) = app.engine.page(&filter).await?.runs.into_iter().next() else {
                continue;
            };
            let run = app.engine.run(newest.id).await?;
            for (kind, file, metrics) in models_of(&run) {
                let model = Trained {
                    run: run.id,
                    at: run.finished_at,
                    file,
                    metrics,
                };
                let is_newer = |old: &Trained| old.at < model.at;
                if found.get(&kind).is_none_or(is_newer) {
                    found.insert(kind, model);
                }
            }
        }
    }
    Ok(found)
}

/// The models a run stored: kind, file, metrics.
fn models_of(run: &RunView) -> Vec<(String, Value, Value)> {
    let output = run.output.clone().unwrap_or_default();
    if let Some(ranking) = output.get("ranking").and_then(Value::as_array) {
        let entry = |e: &Value| {
            Some((
                e.get("model")?.as_str()?.to_owned(),
                e.get("artifact")?.clone(),
                e.get("metrics")?.clone(),
            ))
        };
        return ranking.iter().filter_map(entry).collect();
    }
    let kind = kind_of(run).map(str::to_owned);
    let file = output.get("model").cloned();
    let metrics = output
        .get("metrics")
        .and_then(|m| m.get("test"))
        .cloned()
        .unwrap_or_default();
    kind.zip(file)
        .map(|(kind, file)| (kind, file, metrics))
        .into_iter()
        .collect()
}

/// Runs a prediction to its end.
async fn ask(app: &App, who: &Principal, mut inputs: Value) -> Result<Value, Refusal> {
    let submission = Submission {
        attachments: attachments::checked(app, who, &mut inputs).await?,
        inputs,
        // Asked and answered: of no use to anybody later.
        retention: Some(Duration::from_secs(3600)),
        ..Submission::new(PREDICT, Value::Null)
    };
    let id = admission::submit(app, who, submission).await?.run;
    let run = tokio::time::timeout(PATIENCE, app.engine.wait(id)).await;
    let run = run.map_err(|_| {
        Problem::unavailable("no worker answered in time; is one serving the queue `cpu`?")
    })??;
    match run.failure {
        None => Ok(run.output.unwrap_or_default()),
        Some(failure) => Err(Refusal::Plain(
            StatusCode::UNPROCESSABLE_ENTITY,
            failure.message,
        )),
    }
}

/// Predicts by one trained model.
#[utoipa::path(post, path = "/predict", tag = "compatible: training", request_body = PredictRequest,
    responses((status = 200, body = Value), (status = 400, body = Detail), (status = 404, body = Detail), (status = 422, body = Detail)))]
async fn predict(
    Submitter(who): Submitter,
    State(app): State<App>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let asked: PredictRequest = body(&app, request).await?;
    if let Some(kind) = &asked.model_type {
        check_kind(&app, kind, false)?;
    }
    let rows = asked.rows()?;
    let models = trained(&app, &who).await?;
    let chosen = match &asked.model_type {
        Some(kind) => models.get_key_value(kind),
        None => models.iter().max_by_key(|(_, model)| model.at),
    };
    let Some((kind, model)) = chosen else {
        let kind = asked.model_type.as_deref().unwrap_or("any kind");
        return Err(Refusal::Plain(
            StatusCode::NOT_FOUND,
            format!("No model of {kind} is trained yet; POST /train/… trains one"),
        ));
    };
    let output = ask(&app, &who, json!({ "model": model.file, "rows": rows })).await?;
    let predictions = output.get("predictions").cloned().unwrap_or_default();
    let first = predictions.get(0).and_then(|p| p.get("value")).cloned();
    Ok(Json(json!({
        "model_type": kind, "trained_at": model.at.map(Time), "prediction": first, "predictions": predictions,
    })))
}

/// Predicts by every model that is trained.
#[utoipa::path(post, path = "/predict/compare", tag = "compatible: training", request_body = PredictRequest,
    responses((status = 200, body = Value), (status = 404, body = Detail), (status = 422, body = Detail)))]
async fn compare(
    Submitter(who): Submitter,
    State(app): State<App>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let asked: PredictRequest = body(&app, request).await?;
    let rows = asked.rows()?;
    let models = trained(&app, &who).await?;
    if models.is_empty() {
        return Err(Refusal::Plain(
            StatusCode::NOT_FOUND,
            "No model is trained yet; POST /train/all trains one of each".to_owned(),
        ));
    }
    let named: Vec<Value> = models
        .iter()
        .map(|(kind, m)| json!({ "name": kind, "model": m.file }))
        .collect();
    let output = ask(&app, &who, json!({ "models": named, "rows": rows })).await?;
    let answers = output
        .get("models")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let predictions: Map<String, Value> = answers
        .filter_map(|a| {
            Some((
                a.get("name")?.as_str()?.to_owned(),
                a.get("predictions")?.clone(),
            ))
        })
        .collect();
    Ok(Json(json!({ "predictions": predictions })))
}

/// Which models are trained, and since when.
#[utoipa::path(get, path = "/models/status", tag = "compatible: training", responses((status = 200, body = Value)))]
async fn models(Reader(who): Reader, State(app): State<App>) -> Result<Json<Value>, Refusal> {
    let trained = trained(&app, &who).await?;
    let status = kinds(&app)?.into_iter().map(|kind| {
        let known = trained.get(&kind);
        let told = json!({
            "trained": known.is_some(),
            "trained_at": known.and_then(|m| m.at).map(Time),
            "task_id": known.map(|m| m.run.to_string()),
            "metrics": known.map(|m| m.metrics.clone()),
        });
        (kind, told)
    });
    Ok(Json(json!({ "models": Map::from_iter(status) })))
}
