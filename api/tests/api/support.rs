//! A server without a socket: an engine in a folder of its own, a worker, and a router to ask.

use std::time::Duration;

use aquatint_api::{Api, ApiConfig};
use aquatint_engine::id::QueueName;
use aquatint_engine::{Engine, EngineConfig, Library, Registry, Worker, WorkerConfig};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// Longer than anything here takes, and shorter than a patient person waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const DEFINITIONS: &[&str] = &[
    "name: say\ninputs: { words: { type: string, minLength: 1 }, n: { type: integer, default: 1 } }\n\
     steps:\n  a: { task: core.echo, with: { value: \"${{ inputs.words }}\" } }\n  b: { task: core.echo, needs: [a], with: { value: \"${{ steps.a.value }}\" } }\n\
     outputs: { words: \"${{ steps.b.value }}\" }\n",
    "name: wait\ninputs: { ms: { type: integer, default: 60000 } }\nsteps:\n  nap: { task: core.sleep, with: { duration: \"${{ string(inputs.ms) + 'ms' }}\" } }\n",
    "name: break\nsteps:\n  bad: { task: core.fail, with: { message: \"the kiln is cold\" } }\ndefaults: { retry: { attempts: 1 } }\n",
    "name: show\ninputs: { image: { type: object } }\nsteps:\n  a: { task: image.upscale, with: { image: \"${{ inputs.image }}\", factor: 2 } }\n\
     outputs: { image: \"${{ steps.a.image }}\" }\n",
    "name: sum-up\ninputs: { results: { type: array } }\nsteps:\n  a: { task: core.echo, with: { value: \"${{ size(inputs.results) }}\" } }\n\
     outputs: { seen: \"${{ steps.a.value }}\" }\n",
    "name: webhook-delivery\ninputs: { hook: { type: string }, message: { type: string }, event: { type: object } }\n\
     steps:\n  deliver: { task: core.echo, with: { value: \"${{ inputs.event.type }}\" } }\n",
    "name: hold\ninputs: { image: { type: object } }\nsteps:\n  a: { task: core.echo, with: { value: 1 } }\n",
    "name: tidy\nsteps:\n  a: { task: maintenance.clean, with: { grace: 1h } }\n",
    "name: outer\ninputs: { results: { type: array, default: [] } }\nsteps:\n  a: { workflow: tidy }\n",
    "name: strict\nscope: admin\nsteps:\n  a: { task: core.echo, with: { value: 1 } }\n",
    "name: style-transfer\ninputs: { image: { type: object } }\nsteps:\n  a: { workflow: outer }\n",
];

/// A server and its worker.
pub(crate) struct House {
    pub(crate) engine: Engine,
    router: Router,
    config: ApiConfig,
    worker: Option<Worker>,
    _folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The answer, which must have this status.
    pub(crate) fn has(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// A problem of this kind.
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        let answer = self.has(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(
            (problem["status"].as_u64(), problem["code"].as_str()),
            (Some(u64::from(status)), Some(code))
        );
        problem
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(ApiConfig::default()).await
    }

    pub(crate) async fn with(config: ApiConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry::new();
        aquatint_tasks::register_all(&mut registry, &aquatint_tasks::Options::default());
        let mut library = Library::new(registry);
        for text in DEFINITIONS {
            let name = text.lines().next().unwrap().strip_prefix("name: ").unwrap();
            library.add(name, format!("{name}.yaml"), *text);
        }
        for embedded in aquatint_workflows::all()
            .iter()
            .filter(|e| e.name() == "image-generation")
        {
            library.add(embedded.name(), embedded.file_name, embedded.text);
        }
        let engine = Engine::open(EngineConfig::new(folder.path()), library)
            .await
            .unwrap();
        let queues = ["default", "cpu", "gpu"].map(|q| (QueueName::new(q).unwrap(), 4));
        let worker = Some(
            engine
                .start_worker(WorkerConfig::new(queues))
                .await
                .unwrap(),
        );
        let router = Api::new(engine.clone(), config.clone(), None).router();
        Self {
            engine,
            router,
            config,
            worker,
            _folder: folder,
        }
    }

    /// Another server over the same store, which knows nothing of what this one remembers.
    pub(crate) fn begin_anew(&mut self) {
        self.router = Api::new(self.engine.clone(), self.config.clone(), None).router();
    }

    /// A new key of these scopes, and its id.
    pub(crate) async fn key(&self, scopes: &[&str], sees_all: bool) -> (String, String) {
        let new =
            serde_json::json!({ "name": scopes.join("+"), "scopes": scopes, "sees_all": sees_all });
        let new = serde_json::from_value(new).unwrap();
        let key = Api::make_key(&self.engine, &new).await.unwrap();
        let id = key.split('_').nth(1).unwrap().to_owned();
        (key, id)
    }

    /// Asks as somebody with a key; a body that is null is none.
    pub(crate) async fn ask(&self, key: &str, method: Method, path: &str, body: &Value) -> Answer {
        self.send(keyed(key, method, path, body)).await
    }

    /// Only how a request is answered, of answers that may have no end.
    pub(crate) async fn status(&self, request: Request<Body>) -> StatusCode {
        self.router.clone().oneshot(request).await.unwrap().status()
    }

    /// Nobody works any more.
    pub(crate) async fn without_worker() -> Self {
        let mut house = Self::new().await;
        house.worker.take().unwrap().stop().await;
        house
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect())
            .await
            .unwrap()
            .unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            bytes: bytes.to_bytes().to_vec(),
        }
    }

    /// An answer whose body is read piece by piece.
    pub(crate) async fn open(&self, request: Request<Body>) -> Body {
        self.router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_body()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, &[], Body::empty()))
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send(request(
            Method::POST,
            path,
            &json,
            Body::from(body.to_string()),
        ))
        .await
    }

    /// Submits, and waits for the end.
    pub(crate) async fn run(&self, workflow: &str, inputs: Value) -> Value {
        let new = serde_json::json!({ "workflow": workflow, "inputs": inputs });
        self.post("/api/v1/runs?wait=30s", &new)
            .await
            .has(200)
            .json()
    }

    /// Submits, and returns the id.
    pub(crate) async fn submit(&self, workflow: &str, inputs: Value) -> String {
        let new = serde_json::json!({ "workflow": workflow, "inputs": inputs });
        let run = self.post("/api/v1/runs", &new).await.has(202).json();
        run["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn close(mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stop().await;
        }
        let report = self.engine.check().await.unwrap();
        assert!(report.is_clean(), "{report:#?}");
        self.engine.close().await;
    }
}

/// A request that shows a key.
pub(crate) fn keyed(key: &str, method: Method, path: &str, body: &Value) -> Request<Body> {
    let bearer = format!("Bearer {key}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    request(method, path, &headers, body)
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "127.0.0.1:8000");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// A form with these parts: name, file name where it is a file, content.
pub(crate) fn form(path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map_or(String::new(), |f| format!("; filename=\"{f}\""));
        body.extend(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n")
                .bytes(),
        );
        body.extend_from_slice(content);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    request(
        Method::POST,
        path,
        &[("content-type", "multipart/form-data; boundary=edge")],
        Body::from(body),
    )
}

/// A small PNG.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([x.to_le_bytes()[0], y.to_le_bytes()[0], 99])
    });
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}
