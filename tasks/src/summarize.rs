//! `batch.summarize`: what came of a mapped step.
//!
//! A batch may have ten thousand items; a step's output may not exceed
//! [`MAX_OUTPUT_BYTES`]. So the lists here are bounded and say what they leave
//! out, and the whole account goes into an artifact.

use aquatint_engine::artifact::Artifact;
use aquatint_engine::task::{LogLevel, MAX_OUTPUT_BYTES, Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Counts what a mapped step's items came to, and gathers their pictures.
///
/// Give it the step itself: `results: ${{ steps.paint }}`.
#[derive(Debug, Clone, Copy)]
pub struct Summarize;

/// What `batch.summarize` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The results of a mapped step, in order.
    pub results: Vec<ItemResult>,
}

/// What one item came to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ItemResult {
    /// The item's place in the list, from 0.
    pub index: u32,
    /// How it ended.
    pub status: ItemStatus,
    /// What it returned.
    #[serde(default)]
    pub output: Value,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// How an item ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// With an output.
    Succeeded,
    /// With an error.
    Failed,
    /// It never began: its condition was false, or what it needed failed.
    Skipped,
    /// It was stopped.
    Cancelled,
}

/// What `batch.summarize` returns.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// How many items there were.
    pub total: usize,
    /// How many succeeded.
    pub completed: usize,
    /// How many failed or were cancelled.
    pub failed: usize,
    /// How many never began.
    pub skipped: usize,
    /// Each item's picture (`output.image`) in order, null where there is none;
    /// the first 1,000 items at most.
    pub images: Vec<Option<Artifact>>,
    /// How many items `images` does not cover.
    pub images_left_out: usize,
    /// The first errors, 100 at most.
    pub errors: Vec<ItemError>,
    /// Every item with its status, picture and error, as JSON.
    pub report: Artifact,
}

/// Why one item failed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ItemError {
    /// The item's place in the list, from 0.
    pub index: u32,
    /// The error, cut at 300 bytes.
    pub message: String,
}

const MAX_IMAGES: usize = 1000;
const MAX_ERRORS: usize = 100;
const MAX_MESSAGE_BYTES: usize = 300;
/// Room for the pictures' names and digests; the errors and counts need the rest.
const MAX_IMAGES_BYTES: usize = MAX_OUTPUT_BYTES / 2;

impl Task for Summarize {
    const NAME: &'static str = "batch.summarize";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Counts what a batch's items came to and gathers their pictures.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        ctx.blocking(move |ctx| summarize(ctx, &input.results))
            .await
    }
}

fn summarize(ctx: &TaskContext, results: &[ItemResult]) -> Result<Output, TaskError> {
    let count = |of: &[ItemStatus]| results.iter().filter(|r| of.contains(&r.status)).count();
    let completed = count(&[ItemStatus::Succeeded]);
    let failed = count(&[ItemStatus::Failed, ItemStatus::Cancelled]);
    let skipped = count(&[ItemStatus::Skipped]);
    ctx.log(
        LogLevel::Info,
        format!(
            "{completed} of {} items succeeded, {failed} failed, {skipped} were skipped",
            results.len()
        ),
    );
    let pictures: Vec<Option<Artifact>> = results.iter().map(picture).collect();
    let report = report(ctx, results, &pictures)?;
    let mut room = MAX_IMAGES_BYTES;
    let images: Vec<_> = pictures
        .into_iter()
        .take(MAX_IMAGES)
        .take_while(|image| {
            let bytes = serde_json::to_string(image).map_or(usize::MAX, |text| text.len() + 1);
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        })
        .collect();
    Ok(Output {
        total: results.len(),
        completed,
        failed,
        skipped,
        images_left_out: results.len() - images.len(),
        images,
        errors: results.iter().filter_map(error).take(MAX_ERRORS).collect(),
        report,
    })
}

/// `output.image`, when it has an artifact's shape.
fn picture(result: &ItemResult) -> Option<Artifact> {
    Artifact::deserialize(result.output.get("image")?).ok()
}

fn error(result: &ItemResult) -> Option<ItemError> {
    let message = match (&result.error, result.status) {
        (Some(message), _) => message.as_str(),
        (None, ItemStatus::Failed) => "failed without a message",
        (None, ItemStatus::Cancelled) => "was cancelled",
        (None, ItemStatus::Succeeded | ItemStatus::Skipped) => return None,
    };
    // Control characters would take six bytes each in JSON.
    let message: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let cut = message.floor_char_boundary(MAX_MESSAGE_BYTES);
    let message = if cut < message.len() {
        format!("{}…", &message[..cut])
    } else {
        message
    };
    Some(ItemError {
        index: result.index,
        message,
    })
}

fn report(
    ctx: &TaskContext,
    results: &[ItemResult],
    pictures: &[Option<Artifact>],
) -> Result<Artifact, TaskError> {
    #[derive(Serialize)]
    struct Line<'a> {
        index: u32,
        status: ItemStatus,
        image: &'a Option<Artifact>,
        error: &'a Option<String>,
    }
    let lines: Vec<_> = results
        .iter()
        .zip(pictures)
        .map(|(result, image)| Line {
            index: result.index,
            status: result.status,
            image,
            error: &result.error,
        })
        .collect();
    let json = serde_json::to_vec_pretty(&lines).expect("text and numbers are always JSON");
    ctx.save_blocking("report.json", "application/json", &json)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::Bench;
    use serde_json::json;

    fn artifact(name: &str) -> Value {
        json!({ "artifact": "a".repeat(64), "name": name, "media_type": "image/png", "size_bytes": 9 })
    }

    #[tokio::test]
    async fn every_ending_is_counted_and_pictures_keep_their_places() {
        let bench = Bench::new();
        let results = json!([
            { "index": 0, "status": "succeeded", "output": { "image": artifact("0.png") }, "error": null },
            { "index": 1, "status": "failed", "output": null, "error": "no\nmemory" },
            { "index": 2, "status": "skipped", "output": null, "error": null },
            { "index": 3, "status": "cancelled" },
            { "index": 4, "status": "succeeded", "output": { "image": "a word" }, "error": null },
        ]);
        let output = bench
            .run(Summarize, json!({ "results": results }))
            .await
            .unwrap();
        let counts =
            ["total", "completed", "failed", "skipped"].map(|key| output[key].as_u64().unwrap());
        assert_eq!(counts, [5, 2, 2, 1]);
        assert_eq!(
            output["images"],
            json!([artifact("0.png"), null, null, null, null])
        );
        assert_eq!(
            output["errors"],
            json!([{ "index": 1, "message": "no memory" }, { "index": 3, "message": "was cancelled" }])
        );
    }

    #[tokio::test]
    async fn ten_thousand_items_fit_an_output_and_none_is_lost_from_the_report() {
        let bench = Bench::new();
        let results: Vec<_> = (0..10_000)
            .map(|index| match index % 2 {
                0 => json!({ "index": index, "status": "succeeded", "output": { "image": artifact(&"é".repeat(100)) } }),
                _ => json!({ "index": index, "status": "failed", "error": "\u{1}ü".repeat(400) }),
            })
            .collect();
        let output = bench
            .run(Summarize, json!({ "results": results }))
            .await
            .unwrap();
        assert!(output.to_string().len() < MAX_OUTPUT_BYTES);
        assert_eq!(output["errors"].as_array().unwrap().len(), 100);
        let kept = output["images"].as_array().unwrap().len();
        assert_eq!(
            kept + usize::try_from(output["images_left_out"].as_u64().unwrap()).unwrap(),
            10_000
        );
        let report: Artifact = serde_json::from_value(output["report"].clone()).unwrap();
        let report: Vec<Value> =
            serde_json::from_slice(&bench.ctx.read(&report).await.unwrap()).unwrap();
        assert_eq!(report.len(), 10_000);
    }

    #[tokio::test]
    async fn an_empty_batch_is_no_error() {
        let output = Bench::new()
            .run(Summarize, json!({ "results": [] }))
            .await
            .unwrap();
        assert_eq!(output["total"], 0);
        assert_eq!(output["images"], json!([]));
    }
}
