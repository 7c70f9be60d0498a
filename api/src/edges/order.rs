//! What a client of the image back ends orders: a task type, a prompt, pictures, parameters; checked
//! as those systems checked it, and turned into a run of the workflow that bears the type's name.

use std::collections::BTreeMap;
use std::time::Duration;

use aquatint_engine::artifact::Artifact;
use aquatint_engine::id::RunId;
use aquatint_engine::store::RunView;
use aquatint_engine::{EngineError, Submission};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::admission;
use crate::app::App;
use crate::attachments;
use crate::auth::Principal;
use crate::files;
use crate::problem::Problem;

/// The longest prompt, in characters.
const MAX_PROMPT: usize = 5_000;

/// How a run says that it was ordered here, and how.
const TYPE_TAG: &str = "aquatint:task:";
const INLINE_TAG: &str = "aquatint:inline";

/// What can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskType {
    ImageGeneration,
    FaceSwap,
    BackgroundRemoval,
    ObjectRemoval,
    StyleTransfer,
    ImageEnhancement,
}

impl TaskType {
    const ALL: [Self; 6] = [
        Self::ImageGeneration,
        Self::FaceSwap,
        Self::BackgroundRemoval,
        Self::ObjectRemoval,
        Self::StyleTransfer,
        Self::ImageEnhancement,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ImageGeneration => "image_generation",
            Self::FaceSwap => "face_swap",
            Self::BackgroundRemoval => "background_removal",
            Self::ObjectRemoval => "object_removal",
            Self::StyleTransfer => "style_transfer",
            Self::ImageEnhancement => "image_enhancement",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The workflow that does it, where there is one of that name.
    fn workflow(self) -> String {
        self.as_str().replace('_', "-")
    }

    fn needs_prompt(self) -> bool {
        self == Self::ImageGeneration
    }

    fn needs_image(self) -> bool {
        self != Self::ImageGeneration
    }
}

/// A picture as it came.
#[derive(Debug)]
pub(super) enum Picture {
    Stored(Artifact),
    Base64(String),
}

/// An order as it came, unchecked.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) task_type: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) image: Option<Picture>,
    pub(super) target_image: Option<Picture>,
    pub(super) parameters: Map<String, Value>,
}

/// Why an order is refused, in the words of those systems.
#[derive(Debug)]
pub(super) enum Refusal {
    /// 400: what is wrong with which field.
    Fields(BTreeMap<String, Vec<String>>),
    /// 400 and a sentence.
    Plain(String),
    /// 404.
    Unknown,
    /// What those systems have no words for.
    Problem(Problem),
}

impl Refusal {
    pub(super) fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Fields(BTreeMap::from([(field.to_owned(), vec![message.into()])]))
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Self::Problem(error.into())
    }
}

/// `{error, details}`: how those systems refuse.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: String,
    /// What is wrong, by field.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<BTreeMap<String, Vec<String>>>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, details) = match self {
            Self::Fields(details) => (
                StatusCode::BAD_REQUEST,
                "Invalid input".to_owned(),
                Some(details),
            ),
            Self::Plain(error) => (StatusCode::BAD_REQUEST, error, None),
            Self::Unknown => (StatusCode::NOT_FOUND, "Task not found".to_owned(), None),
            Self::Problem(problem) => return problem.into_response(),
        };
        (status, Json(ErrorBody { error, details })).into_response()
    }
}

/// Checks an order and submits it. `kept` is how long its result is kept, where it came inline.
pub(super) async fn place(
    app: &App,
    who: &Principal,
    order: Order,
    kept: Option<Duration>,
) -> Result<(RunId, TaskType), Refusal> {
    let kind = check(&order)?;
    let name = kind.workflow();
    app.engine.refresh_library().await?;
    let library = app.engine.library();
    if library.source(&name).is_none() {
        return Err(Refusal::Problem(Problem::not_implemented(format!(
            "`{}` has no handler here: it needs a workflow called `{name}`; add a definition of that name",
            kind.as_str()
        ))));
    }
    let plan = library.get(&name).map_err(Problem::from)?.plan.clone();
    let takes = |input: &str| plan.inputs.schemas().contains_key(input);
    let mut inputs = Map::new();
    if let Some(prompt) = order.prompt.filter(|_| takes("prompt")) {
        inputs.insert("prompt".to_owned(), prompt.into());
    }
    for (field, picture) in [("image", order.image), ("target_image", order.target_image)] {
        if let Some(picture) = picture {
            let file = stored(app, field, picture).await?;
            if takes(field) {
                let file = serde_json::to_value(file).expect("a file's facts are plain JSON");
                inputs.insert(field.to_owned(), file);
            }
        }
    }
    // What a workflow has no use for is left aside: clients send what other models want.
    let own = ["prompt", "image", "target_image"];
    let parameters = order.parameters.into_iter();
    inputs.extend(parameters.filter(|(key, _)| takes(key) && !own.contains(&key.as_str())));
    // The client gets the size that it asked for.
    if kind == TaskType::ImageGeneration && takes("factor") && !inputs.contains_key("factor") {
        inputs.insert("factor".to_owned(), 1.into());
    }
    let mut tags = vec![format!("{TYPE_TAG}{}", kind.as_str())];
    tags.extend(kept.map(|_| INLINE_TAG.to_owned()));
    let mut inputs = Value::Object(inputs);
    let submission = Submission {
        attachments: attachments::checked(app, who, &mut inputs).await?,
        inputs,
        tags,
        retention: kept,
        ..Submission::new(name, Value::Null)
    };
    match admission::submit(app, who, submission).await {
        Ok(submitted) => Ok((submitted.run, kind)),
        Err(problem) if problem.code == "invalid" => Err(by_field(&problem)),
        Err(problem) => Err(Refusal::Problem(problem)),
    }
}

/// Everything that is wrong with an order, by field.
fn check(order: &Order) -> Result<TaskType, Refusal> {
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut say =
        |field: &str, message: String| wrong.entry(field.to_owned()).or_default().push(message);
    let kind = match order.task_type.as_deref() {
        None | Some("") => {
            say("task_type", "This field is required.".to_owned());
            None
        }
        Some(text) => {
            let kind = TaskType::parse(text);
            if kind.is_none() {
                let text: String = text.chars().take(80).collect();
                say("task_type", format!("\"{text}\" is not a valid choice."));
            }
            kind
        }
    };
    let prompt = order.prompt.as_deref().unwrap_or_default();
    if prompt.chars().count() > MAX_PROMPT {
        say(
            "prompt",
            format!("Ensure this field has no more than {MAX_PROMPT} characters."),
        );
    }
    if let Some(kind) = kind {
        if kind.needs_prompt() && prompt.trim().is_empty() {
            say(
                "prompt",
                format!("Prompt is required for {}", kind.as_str()),
            );
        }
        if kind.needs_image() && order.image.is_none() {
            say("image", format!("Image is required for {}", kind.as_str()));
        }
        if kind == TaskType::FaceSwap && order.target_image.is_none() {
            say(
                "target_image",
                format!("Target image is required for {}", kind.as_str()),
            );
        }
    }
    match kind {
        Some(kind) if wrong.is_empty() => Ok(kind),
        _ => Err(Refusal::Fields(wrong)),
    }
}

/// A picture among the stored files.
async fn stored(app: &App, field: &str, picture: Picture) -> Result<Artifact, Refusal> {
    let file = match picture {
        Picture::Stored(file) => file,
        Picture::Base64(text) => {
            // Also as a data URL, with the kind in front.
            let text = text
                .split_once(";base64,")
                .map_or(text.as_str(), |(_, data)| data);
            let content = BASE64_STANDARD
                .decode(text.trim())
                .map_err(|_| Refusal::field(field, "Invalid base64 image data."))?;
            match files::store(app, field, "", content).await {
                Ok(file) => file,
                Err(problem) if problem.status.is_client_error() => {
                    return Err(Refusal::field(field, problem.detail));
                }
                Err(problem) => return Err(Refusal::Problem(problem)),
            }
        }
    };
    if file.media_type.starts_with("image/") {
        Ok(file)
    } else {
        Err(Refusal::field(
            field,
            "Upload a valid image. The file you uploaded was either not an image or a corrupted image.",
        ))
    }
}

/// A problem's mistakes as those systems say them: under the field, or under the parameters.
fn by_field(problem: &Problem) -> Refusal {
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mistake in &problem.errors {
        let path = mistake
            .pointer
            .trim_start_matches("/inputs")
            .trim_start_matches('/');
        let field = path.split('/').next().unwrap_or_default();
        let (field, message) = match field {
            "prompt" | "image" | "target_image" => (field, mistake.message.clone()),
            "" => ("non_field_errors", mistake.message.clone()),
            other => ("parameters", format!("{other}: {}", mistake.message)),
        };
        wrong.entry(field.to_owned()).or_default().push(message);
    }
    if wrong.is_empty() {
        wrong.insert("non_field_errors".to_owned(), vec![problem.detail.clone()]);
    }
    Refusal::Fields(wrong)
}

/// A task that was ordered here: its run, its type, and whether its result goes out inline.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) run: RunView,
    pub(super) task_type: String,
    pub(super) is_inline: bool,
}

/// The task of this id, as far as whoever asks may know of it.
pub(super) async fn find(app: &App, who: &Principal, id: &str) -> Result<Ordered, Refusal> {
    let id: RunId = id.parse().map_err(|_| Refusal::Unknown)?;
    let run = match app.run(who, id).await {
        Ok(run) => run,
        Err(problem) if problem.status == StatusCode::NOT_FOUND => return Err(Refusal::Unknown),
        Err(problem) => return Err(Refusal::Problem(problem)),
    };
    // What has expired is gone, though the sweep that deletes it may be an hour away.
    if run.expires_at.is_some_and(|at| at <= app.engine.now()) {
        return Err(Refusal::Unknown);
    }
    let task_type = run.tags.iter().find_map(|tag| tag.strip_prefix(TYPE_TAG));
    let task_type = task_type.ok_or(Refusal::Unknown)?.to_owned();
    let is_inline = run.tags.iter().any(|tag| tag == INLINE_TAG);
    Ok(Ordered {
        run,
        task_type,
        is_inline,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(order: &Order) -> BTreeMap<String, Vec<String>> {
        match check(order) {
            Err(Refusal::Fields(wrong)) => wrong,
            other => panic!("expected fields, got {other:?}"),
        }
    }

    #[test]
    fn orders_are_refused_in_the_words_clients_know() {
        let order = |task_type: &str, prompt: &str| Order {
            task_type: Some(task_type.to_owned()),
            prompt: Some(prompt.to_owned()),
            ..Order::default()
        };
        assert_eq!(
            wrong(&Order::default())["task_type"],
            ["This field is required."]
        );
        assert_eq!(
            wrong(&order("video", ""))["task_type"],
            ["\"video\" is not a valid choice."]
        );
        assert_eq!(
            wrong(&order("image_generation", " "))["prompt"],
            ["Prompt is required for image_generation"]
        );
        let both = wrong(&order("face_swap", ""));
        assert_eq!(both.keys().collect::<Vec<_>>(), ["image", "target_image"]);
        assert!(check(&order("image_generation", &"é".repeat(MAX_PROMPT))).is_ok());
        assert!(
            wrong(&order("image_generation", &"é".repeat(MAX_PROMPT + 1))).contains_key("prompt")
        );
    }
}
