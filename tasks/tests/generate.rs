//! `image.generate` as a worker runs it.

#![expect(clippy::unwrap_used, reason = "tests")]

use aquatint_engine::artifact::{Artifact, ArtifactStore};
use aquatint_engine::id::{RunId, StepName, WorkflowName};
use aquatint_engine::registry::Registry;
use aquatint_engine::task::{AttemptInfo, ContextParts, Remedy, Report, TaskContext, TaskError};
use aquatint_engine::time::Timestamp;
use aquatint_tasks::generate::Generate;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct Bench {
    ctx: TaskContext,
    cancel: CancellationToken,
    reports: tokio::sync::mpsc::UnboundedReceiver<Report>,
    artifacts: ArtifactStore,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(&folder.path().join("artifacts")).unwrap();
    let (sender, reports) = tokio::sync::mpsc::unbounded_channel();
    let cancel = CancellationToken::new();
    let ctx = TaskContext::new(ContextParts {
        info: AttemptInfo::new(
            RunId::new(Timestamp(1_700_000_000_000)),
            WorkflowName::new("image-generation").unwrap(),
            StepName::new("generate").unwrap(),
        ),
        cancel: cancel.clone(),
        soft_timeout: CancellationToken::new(),
        scratch: folder.path().join("scratch"),
        artifacts: artifacts.clone(),
        reports: sender,
    });
    Bench {
        ctx,
        cancel,
        reports,
        artifacts,
        _folder: folder,
    }
}

async fn generate(bench: &Bench, input: Value) -> Result<Value, TaskError> {
    let mut registry = Registry::new();
    registry.register(Generate);
    registry
        .start("image.generate", bench.ctx.clone(), input)
        .unwrap()
        .await
}

#[tokio::test]
async fn what_is_painted_so_far_is_shown_small_and_is_no_result() {
    let mut bench = bench();
    let input = json!({ "prompt": "a lighthouse at sunset", "width": 640, "height": 320 });
    let output = generate(&bench, input).await.unwrap();
    let mut previews = Vec::new();
    while let Ok(report) = bench.reports.try_recv() {
        if let Report::Preview(preview) = report {
            previews.push(preview);
        }
    }
    let first = previews.first().expect("the sky, at least");
    let picture = image::load_from_memory(&bench.artifacts.read(first).unwrap()).unwrap();
    assert_eq!((picture.width(), picture.height()), (128, 64));
    let result: Artifact = serde_json::from_value(output["image"].clone()).unwrap();
    assert_eq!(bench.ctx.saved(), [result]);
}

#[tokio::test]
async fn a_prompt_becomes_a_png_that_says_what_was_understood() {
    let mut bench = bench();

    let output = generate(
        &bench,
        json!({ "prompt": "a red boat on a lake with a kraken", "negative_prompt": "birds",
                "width": 96, "height": 64, "seed": 7, "style": "noir" }),
    )
    .await
    .unwrap();

    let image: Artifact = serde_json::from_value(output["image"].clone()).unwrap();
    assert_eq!(image.name, "a-red-boat-on-a-lake-7.png");
    let bytes = bench.artifacts.read(&image).unwrap();
    let picture = image::load_from_memory(&bytes).unwrap();
    assert_eq!((picture.width(), picture.height()), (96, 64));
    assert_eq!(
        output["understood"],
        json!(["red boat", "lake", "no birds", "noir"])
    );
    assert_eq!(output["ignored"], json!(["kraken"]));
    assert_eq!(
        (&output["seed"], &output["model"]),
        (&json!(7), &json!("painter"))
    );

    bench.reports.close();
    let mut said = vec![];
    let mut fraction = 0.0;
    while let Some(report) = bench.reports.recv().await {
        if let Report::Progress(progress) = report {
            assert!(
                progress.fraction >= fraction - 1e-6,
                "{progress:?} after {fraction}"
            );
            fraction = progress.fraction;
            if said.last() != Some(&progress.message) {
                said.push(progress.message);
            }
        }
    }
    assert_eq!(
        said,
        [
            "painting the sky",
            "shaping the land",
            "placing things",
            "letting light fall",
            "finishing the picture",
            "painted"
        ]
    );
}

#[tokio::test]
async fn defaults_fill_in_what_is_not_said() {
    let bench = bench();
    let output = generate(&bench, json!({ "prompt": "hills" }))
        .await
        .unwrap();
    assert_eq!(
        (&output["width"], &output["height"], &output["seed"]),
        (&json!(512), &json!(512), &json!(0))
    );
}

#[tokio::test]
async fn what_cannot_be_painted_is_refused_with_a_remedy() {
    let bench = bench();
    for (input, expected) in [
        (
            json!({ "prompt": "" }),
            "prompt is empty; say what to show, for example `a lighthouse on a cliff at sunset`",
        ),
        (
            json!({ "prompt": "x".repeat(5001) }),
            "prompt has 5001 characters; shorten it to 5000",
        ),
        (
            json!({ "prompt": "sea", "width": 63 }),
            "width is 63; use 64 to 2048 pixels (`image.upscale` makes larger pictures)",
        ),
        (
            json!({ "prompt": "sea", "height": 2049 }),
            "height is 2049; use 64 to 2048 pixels (`image.upscale` makes larger pictures)",
        ),
        (
            json!({ "prompt": "sea", "seed": 9_007_199_254_740_993_u64 }),
            "seed is 9007199254740993; use a whole number up to 9007199254740992",
        ),
        (
            json!({ "prompt": "sea", "model": "sdxl" }),
            "unknown model `sdxl`: this build has `painter`",
        ),
        (
            json!({ "prompt": "sea", "style": "cubist" }),
            "unknown style `cubist`; use one of `plain`, `neon`, `noir`, `pastel`, `autumn`, `winter`, `watercolor`, `sepia`, `woodcut`, `oil`",
        ),
    ] {
        let error = generate(&bench, input).await.unwrap_err();
        assert_eq!(
            (error.class.as_str(), error.remedy),
            ("invalid_input", Remedy::Fail)
        );
        assert_eq!(error.message, expected);
    }
    let error = generate(
        &bench,
        json!({ "prompt": "sea", "num_inference_steps": 30 }),
    )
    .await
    .unwrap_err();
    assert!(
        error.message.contains("num_inference_steps"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_cancelled_attempt_paints_no_further_and_saves_nothing() {
    let mut bench = bench();
    let cancel = bench.cancel.clone();
    let (ctx, input) = (
        bench.ctx.clone(),
        json!({ "prompt": "sea", "width": 2048, "height": 2048 }),
    );
    let mut registry = Registry::new();
    registry.register(Generate);
    let attempt = tokio::spawn(registry.start("image.generate", ctx, input).unwrap());
    // The first word of progress shows that it paints.
    bench.reports.recv().await.unwrap();
    cancel.cancel();
    let error = attempt.await.unwrap().unwrap_err();
    assert_eq!(error.remedy, Remedy::Cancelled);
    assert!(bench.ctx.saved().is_empty());
}
