//! Batches: many items of one workflow in one request, and one step at the end that gets all results.
//!
//! A batch is a run of a definition made for it: a step mapped over the items, and a finalize after it.
//! So everything that is true of runs is true of batches: one bad item does not sink the others, the
//! finalize runs exactly once, and a restart in the middle costs nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aquatint_engine::id::RunId;
use aquatint_engine::library::Definition;
use aquatint_engine::run::Notify;
use aquatint_engine::store::RunView;
use aquatint_engine::{RunFilter, Submission, Submitted};
use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::runs::{NotifyOf, check_tags, duration, idempotency_key};
use super::steps::{ItemParams, items_of};
use crate::admission;
use crate::app::App;
use crate::attachments;
use crate::auth::{Principal, Reader, Submitter};
use crate::budget::Weight;
use crate::extract::{self, Body, Params, RunPath, limit};
use crate::files::{self, Part};
use crate::problem::{Mistake, Problem};
use crate::wire::{Fault, ItemCounts, Page, Step, Time};

/// Items of one batch at most.
const MAX_ITEMS: usize = 10_000;

/// Mistakes told of one request at most.
const MAX_MISTAKES: usize = 100;

/// How batches are found among runs. Clients cannot give tags that begin so.
pub(crate) const TAG: &str = "aquatint:batch";

/// The mapped step, and the one after it, as the definition calls them.
const ITEMS: &str = "items";
const FINALIZE: &str = "finalize";

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, submit))
        .routes(routes!(get))
        .routes(routes!(items))
}

/// Many runs of one workflow, and what comes of them.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBatch {
    /// The workflow that each item is given to.
    workflow: String,
    /// The inputs of each item: 1 to 10,000.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Map<String, Value>>,
    /// Inputs that every item gets, where it does not say otherwise.
    #[serde(default)]
    #[schema(value_type = Object)]
    common: Map<String, Value>,
    /// At most so many items at a time.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4294967295_i64)]
    max_parallel: Option<u32>,
    /// A workflow that is run once when all items have ended, with all their results as its input
    /// `results`: a list of `{index, status, output, error}`. Without it they are counted.
    #[serde(default)]
    finalize: Option<String>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    tags: Vec<String>,
    /// Forget it so long after its end, as in `24h`; its items' runs go with it.
    #[serde(default)]
    retention: Option<String>,
    /// Who is told of its end.
    #[serde(default)]
    notify: Vec<NotifyOf>,
}

/// A batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Batch {
    #[schema(format = Uuid)]
    id: String,
    /// The workflow of its items.
    workflow: String,
    /// `pending`, `running`, `succeeded`, `failed` or `cancelled`. It succeeds when its finalize does,
    /// whatever became of its items.
    state: String,
    paused: bool,
    tags: Vec<String>,
    /// How its items are doing; null until the first is looked at, and in lists.
    items: Option<ItemCounts>,
    /// What the finalize came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    failure: Option<Fault>,
    created_at: Time,
    finished_at: Option<Time>,
}

impl Batch {
    fn new(run: RunView, items: Option<ItemCounts>) -> Self {
        let workflow = run.workflow.as_str();
        Self {
            id: run.id.to_string(),
            workflow: workflow
                .strip_prefix("batch-")
                .unwrap_or(workflow)
                .to_owned(),
            state: run.state.to_string(),
            paused: run.paused,
            tags: run.tags.into_iter().filter(|tag| tag != TAG).collect(),
            items,
            result: run
                .output
                .and_then(|mut output| Some(output.get_mut("result")?.take())),
            failure: run.failure.map(Fault::from),
            created_at: Time(run.created_at),
            finished_at: run.finished_at.map(Time),
        }
    }
}

/// What a form or a list of lines leaves to the address.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BatchParams {
    /// The workflow, where the body is NDJSON.
    workflow: Option<String>,
    /// At most so many items at a time, where the body is NDJSON.
    max_parallel: Option<u32>,
    /// The workflow that gets all results, where the body is NDJSON.
    finalize: Option<String>,
    /// The input that each file of a form is given as; `image` where nothing is said.
    input: Option<String>,
}

/// Submits a batch.
///
/// As JSON; as NDJSON (`application/x-ndjson`), one item's inputs a line; or as a form with a file for
/// each item, and `workflow`, `common` (JSON), `finalize`, `max_parallel` as fields. Every item is
/// checked before anything is accepted. The same `Idempotency-Key` again gives the first batch back.
#[utoipa::path(post, path = "/api/v1/batches", tag = "batches", params(BatchParams, ("Idempotency-Key" = Option<String>, Header)),
    request_body(content((NewBatch = "application/json"), (String = "application/x-ndjson"), (Value = "multipart/form-data"))),
    responses((status = 202, body = Batch, headers(("Location" = String)))))]
async fn submit(
    Submitter(who): Submitter,
    State(app): State<App>,
    Params(params): Params<BatchParams>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let new = if files::is_form(&request) {
        from_form(
            files::form(&app, request).await?,
            params.input.as_deref().unwrap_or("image"),
        )?
    } else {
        let kind = extract::media_type(request.headers());
        if [
            "application/x-ndjson",
            "application/jsonl",
            "application/ndjson",
        ]
        .contains(&kind.as_str())
        {
            let body = extract::body(request, &app).await?;
            let items = extract::parsed(&app, body, from_lines).await?;
            NewBatch {
                workflow: params.workflow.ok_or_else(|| {
                    Problem::invalid("workflow is missing in the query", Vec::new())
                })?,
                max_parallel: params.max_parallel,
                finalize: params.finalize,
                items,
                ..NewBatch::default()
            }
        } else {
            Body::<NewBatch>::from_request(request, &app).await?.0
        }
    };
    let total = new.items.len();
    let submitted = accept(&app, &who, new, idempotency_key(&headers)?).await?;
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    let counts = ItemCounts {
        total,
        open: total,
        failed: 0,
    };
    let run = match submitted.view() {
        Some(run) => run,
        None => app.engine.run(submitted.run).await?,
    };
    let location = format!("/api/v1/batches/{}", run.id);
    let batch = Batch::new(run, Some(counts));
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(batch),
    )
        .into_response())
}

/// Checks every item and submits the batch.
async fn accept(
    app: &App,
    who: &Principal,
    new: NewBatch,
    key: Option<String>,
) -> Result<Submitted, Problem> {
    if !(1..=MAX_ITEMS).contains(&new.items.len()) {
        return Err(Problem::at(
            "/items",
            format!("expected 1 to {MAX_ITEMS} items, got {}", new.items.len()),
        ));
    }
    check_tags(&new.tags)?;
    let retention = new.retention.as_deref().map(duration).transpose()?;
    app.engine.refresh_library().await?;
    let library = app.engine.library();
    let target = library.get(&new.workflow)?;
    if let Some(name) = &new.finalize {
        library
            .get(name)
            .map_err(|error| Problem::at("/finalize", error.to_string()))?;
    }
    let NewBatch { items, common, .. } = new;
    make_room(app, &target, &items, &common).await?;
    // Ten thousand items are checked against their schema: not on a thread that serves others.
    let schema = target.plan.inputs.clone();
    let checked = tokio::task::spawn_blocking(move || check(&schema, items, &common)).await;
    let items = Value::Array(checked.map_err(|_| Problem::internal())??);
    let definition = definition(app, &target, new.max_parallel, new.finalize.as_deref())?;
    let mut inputs = json!({ "items": items });
    let mut tags = new.tags;
    tags.push(TAG.to_owned());
    let submission = Submission {
        attachments: attachments::checked(app, who, &mut inputs).await?,
        inputs,
        idempotency_key: key.map(|key| who.scoped(&key)),
        priority: i64::from(new.priority),
        tags,
        retention,
        notify: new.notify.into_iter().map(Notify::from).collect(),
        ..Submission::default()
    };
    admission::submit_definition(app, who, &definition, submission).await
}

/// Room for what the items become, with what all of them get: ten thousand times a megabyte is much, of
/// one megabyte.
async fn make_room(
    app: &App,
    target: &Definition,
    items: &[Map<String, Value>],
    common: &Map<String, Value>,
) -> Result<(), Problem> {
    let defaults = target.plan.inputs.schemas().values();
    let defaults = defaults.filter_map(|schema| schema.get("default"));
    let each = common.values().chain(defaults).map(Weight::of_value);
    let each = each.fold(Weight::default(), Weight::plus);
    // What the items say themselves was weighed as a body.
    let cost = each.times(items.len()).cost();
    app.budget.reserve(cost).await.map_err(|refused| {
        if refused.status == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::too_large(format!(
                "each of the {} items gets what is common and the defaults of `{}`: {}; name a file, or give less to each",
                items.len(),
                target.plan.name,
                refused.detail
            ))
        } else {
            refused
        }
    })
}

/// Each item's inputs, common ones and defaults filled in; or all that is wrong with them.
fn check(
    schema: &aquatint_engine::workflow::InputSchema,
    items: Vec<Map<String, Value>>,
    common: &Map<String, Value>,
) -> Result<Vec<Value>, Problem> {
    let (mut checked, mut mistakes) = (Vec::with_capacity(items.len()), Vec::new());
    for (index, own) in items.into_iter().enumerate() {
        let mut given = common.clone();
        given.extend(own);
        match schema.check(Value::Object(given)) {
            Ok(inputs) => checked.push(inputs),
            Err(problems) => mistakes.extend(problems.into_iter().map(|p| Mistake {
                pointer: format!("/items/{index}{}", p.pointer),
                message: p.message,
                help: p.help,
            })),
        }
        if mistakes.len() >= MAX_MISTAKES {
            break;
        }
    }
    if mistakes.is_empty() {
        return Ok(checked);
    }
    Err(Problem::invalid(
        "some items do not fit the workflow; nothing was accepted",
        mistakes,
    ))
}

/// The definition of a batch: made of names that the engine has checked, so that nothing of a request is text in it.
fn definition(
    app: &App,
    target: &Definition,
    max_parallel: Option<u32>,
    finalize: Option<&str>,
) -> Result<Definition, Problem> {
    let with: BTreeMap<&String, String> = target
        .plan
        .inputs
        .schemas()
        .keys()
        .map(|name| (name, format!("${{{{ item[{}] }}}}", json!(name))))
        .collect();
    let mut items = json!({
        "workflow": target.plan.name,
        "foreach": "inputs.items",
        "fail": "tolerate",
        "with": with,
    });
    if let Some(limit) = max_parallel {
        if limit == 0 {
            return Err(Problem::at("/max_parallel", "expected at least 1"));
        }
        items["max_parallel"] = json!(limit);
    }
    let results = format!("${{{{ steps.{ITEMS} }}}}");
    let last = match finalize {
        Some(name) => json!({ "workflow": name, "with": { "results": results } }),
        None => {
            json!({ "task": "batch.summarize", "queue": "cpu", "with": { "results": results } })
        }
    };
    let name = format!("batch-{}", target.plan.name);
    let written = json!({
        "name": name,
        "description": "A batch.",
        "inputs": { "items": { "type": "array" } },
        "steps": { ITEMS: items, FINALIZE: last },
        "outputs": { "result": format!("${{{{ steps.{FINALIZE} }}}}") },
    });
    // JSON is YAML.
    let compiled = app
        .engine
        .library()
        .compile("batch.yaml", &written.to_string());
    compiled.map_err(|diagnostics| {
        let mut said = String::from("a batch cannot be made of this workflow:");
        for diagnostic in diagnostics.iter() {
            let _ = write!(said, " {};", diagnostic.message);
        }
        Problem::invalid(said, Vec::new())
    })
}

fn from_lines(body: &[u8]) -> Result<Vec<Map<String, Value>>, Problem> {
    let mut items = Vec::new();
    for (number, line) in body.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let item = serde_json::from_slice(line).map_err(|error| {
            Problem::at(
                format!("/items/{}", items.len()),
                format!("line {}: {error}", number + 1),
            )
        })?;
        items.push(item);
        if items.len() > MAX_ITEMS {
            return Err(Problem::too_large(format!(
                "a batch has {MAX_ITEMS} items at most"
            )));
        }
    }
    Ok(items)
}

fn from_form(parts: Vec<(String, Part)>, input: &str) -> Result<NewBatch, Problem> {
    let mut new = NewBatch::default();
    for (name, part) in parts {
        match (name.as_str(), part) {
            (_, Part::File(file)) => {
                let file = serde_json::to_value(file).expect("a file's facts are plain JSON");
                new.items.push(Map::from_iter([(input.to_owned(), file)]));
            }
            ("workflow", Part::Text(text)) => new.workflow = text,
            ("finalize", Part::Text(text)) => new.finalize = Some(text),
            ("common", Part::Text(text)) => new.common = extract::parse(text.as_bytes())?,
            ("max_parallel", Part::Text(text)) => {
                let limit = text.trim().parse();
                new.max_parallel = Some(
                    limit.map_err(|_| Problem::at("/max_parallel", "expected a whole number"))?,
                );
            }
            (other, Part::Text(_)) => {
                return Err(Problem::at(
                    format!("/{other}"),
                    "unknown field; a form has files, workflow, common (JSON), finalize, max_parallel",
                ));
            }
        }
    }
    Ok(new)
}

/// Which batches to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// At most so many: 1 to 500, 50 where nothing is said.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Lists batches, newest first.
#[utoipa::path(get, path = "/api/v1/batches", tag = "batches", params(ListParams), responses((status = 200, body = Page<Batch>)))]
async fn list(
    Reader(who): Reader,
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Batch>>, Problem> {
    let limit = limit(params.limit, 50, 500)?;
    let before = match &params.cursor {
        Some(cursor) => {
            let parsed = cursor.parse().ok().filter(|_| cursor.len() == 36);
            let wrong =
                || Problem::invalid("cursor: expected `next_cursor` of another page", Vec::new());
            Some(parsed.ok_or_else(wrong)?)
        }
        None => None,
    };
    let filter = RunFilter {
        tag: Some(TAG.to_owned()),
        owner: who.limited_to(),
        before,
        limit,
        ..RunFilter::default()
    };
    let page = app.engine.page(&filter).await?;
    let batches = page
        .runs
        .into_iter()
        .map(|run| Batch::new(run, None))
        .collect();
    Ok(Json(Page::new(batches, page.next.map(|id| id.to_string()))))
}

/// A run that is a batch.
async fn batch_run(app: &App, who: &Principal, id: RunId) -> Result<RunView, Problem> {
    let run = app.run(who, id).await?;
    if run.tags.iter().any(|tag| tag == TAG) {
        Ok(run)
    } else {
        Err(Problem::not_found("batch", &id.to_string()))
    }
}

/// A batch, how its items are doing, and what came of it. It is steered as a run: `/api/v1/runs/{id}/cancel`, …
#[utoipa::path(get, path = "/api/v1/batches/{id}", tag = "batches", params(("id" = String, Path, format = Uuid)), responses((status = 200, body = Batch)))]
async fn get(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
) -> Result<Json<Batch>, Problem> {
    let run = batch_run(&app, &who, id).await?;
    let tasks = app.engine.tasks(id, false).await?;
    let mapped = tasks
        .iter()
        .find(|task| task.step.as_str() == ITEMS && task.items > 0);
    let counts = mapped.map(|task| ItemCounts {
        total: task.items,
        open: task.open_items,
        failed: task.failed_items,
    });
    Ok(Json(Batch::new(run, counts)))
}

/// The items of a batch, in order, each with its state and what came of it.
#[utoipa::path(get, path = "/api/v1/batches/{id}/items", tag = "batches", params(("id" = String, Path, format = Uuid), ItemParams), responses((status = 200, body = Page<Step>)))]
async fn items(
    Reader(who): Reader,
    State(app): State<App>,
    RunPath(id): RunPath,
    Params(params): Params<ItemParams>,
) -> Result<Json<Page<Step>>, Problem> {
    batch_run(&app, &who, id).await?;
    items_of(&app, id, ITEMS, &params).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_items_and_a_bad_one_is_named() {
        let items = from_lines(b"{\"a\": 1}\n\n{\"a\": 2}\n").expect("two lines");
        assert_eq!(items.len(), 2);
        let problem = from_lines(b"{\"a\": 1}\n[2]\n").expect_err("a list is no item");
        assert_eq!(problem.errors[0].pointer, "/items/1");
        assert!(problem.detail.starts_with("line 2: "), "{}", problem.detail);
    }
}
