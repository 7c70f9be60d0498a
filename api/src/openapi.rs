//! The document (OpenAPI 3.1), generated from the routes, and what is true of every route.

use axum::http::StatusCode;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, SecurityRequirement,
};
use utoipa::{Modify, OpenApi as _};

use crate::problem::{Mistake, Problem};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Aquatint",
        description = "Durable workflows for AI media: submit runs and batches, watch them, fetch what they made.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem, Mistake)),
    tags(
        (name = "runs", description = "Executions of workflows"),
        (name = "batches", description = "Many items of one workflow, and one finalize"),
        (name = "files", description = "Uploads, and what runs made"),
        (name = "events", description = "What happens, as it happens"),
        (name = "workflows", description = "What can be run"),
        (name = "schedules", description = "What begins by itself, and when"),
        (name = "operations", description = "Queues and workers"),
        (name = "keys", description = "API keys"),
        (name = "webhooks", description = "Who is told when runs end"),
        (name = "compatible: images", description = "As image back ends of old"),
        (name = "compatible: training", description = "As a model-training service of old"),
        (name = "health", description = "Whether this server lives, and what it counts")
    ),
    modifiers(&Common)
)]
struct Document;

/// The document before its routes.
pub(crate) fn base() -> OpenApi {
    Document::openapi()
}

struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        if let Some(components) = document.components.as_mut() {
            let bearer = Http::builder()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("aq_<id>_<secret>")
                .build();
            components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
            let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
            components.add_security_scheme("key", header);
        }
    }
}

/// Says of every route what holds for all of them: that it may want a key, and how it refuses.
pub(crate) fn finish(document: &mut OpenApi) {
    let nobody: [&str; 0] = [];
    let security = vec![
        SecurityRequirement::default(),
        SecurityRequirement::new("bearer", nobody),
        SecurityRequirement::new("key", nobody),
    ];
    let refusal = ResponseBuilder::new()
        .description("A problem (RFC 9457)")
        .content(
            "application/problem+json",
            ContentBuilder::new()
                .schema(Some(RefOr::Ref(Ref::from_schema_name("Problem"))))
                .build(),
        )
        .build();
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("delete", &mut item.delete),
            ("patch", &mut item.patch),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(operation_id(method, path));
            let is_open = path == "/livez" || path == "/readyz";
            if !is_open && operation.security.is_none() {
                operation.security = Some(security.clone());
            }
            let responses = &mut operation.responses.responses;
            for (status, response) in responses.iter_mut() {
                if let RefOr::T(response) = response {
                    complete(status, response);
                }
            }
            if !responses.contains_key("default") {
                responses.insert("default".to_owned(), RefOr::T(refusal.clone()));
            }
        }
    }
}

/// Names an operation after its address, as no other is: `get_runs_id_artifacts_digest`.
fn operation_id(method: &str, path: &str) -> String {
    // Systems whose clients work here had names that our own have too, at the root.
    let (root, own) = match path.strip_prefix("/api/v1") {
        Some(own) => ("", own),
        None => ("root_", path),
    };
    let words = own.split(['/', '{', '}', '-']);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("{method}_{root}{}", words.join("_"))
}

/// Says what every answer of this status has: some words, and of a refusal that it may be a problem.
fn complete(status: &str, response: &mut Response) {
    if response.description.is_empty() {
        let known = status
            .parse()
            .ok()
            .and_then(|code: u16| StatusCode::from_u16(code).ok());
        let reason = known.and_then(|status| status.canonical_reason());
        reason
            .unwrap_or("An answer")
            .clone_into(&mut response.description);
    }
    if status.starts_with('4') || status.starts_with('5') {
        let problem = ContentBuilder::new()
            .schema(Some(RefOr::Ref(Ref::from_schema_name("Problem"))))
            .build();
        response
            .content
            .entry("application/problem+json".to_owned())
            .or_insert(RefOr::T(problem));
    }
}
