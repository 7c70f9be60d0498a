//! The tasks together: words to picture to sheet, as a workflow would chain them.
#![expect(clippy::unwrap_used, reason = "tests")]

use aquatint_engine::artifact::{Artifact, ArtifactStore};
use aquatint_engine::id::{RunId, StepName, WorkflowName};
use aquatint_engine::registry::Registry;
use aquatint_engine::task::{AttemptInfo, ContextParts, TaskContext};
use aquatint_engine::time::Timestamp;
use aquatint_tasks::{Options, painter, provenance, register_all};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn context(folder: &std::path::Path, step: &str) -> TaskContext {
    let run = RunId::new(Timestamp(1_700_000_000_000));
    let workflow = WorkflowName::new("image-generation").unwrap();
    TaskContext::new(ContextParts {
        info: AttemptInfo::new(run, workflow, StepName::new(step).unwrap()),
        cancel: CancellationToken::new(),
        soft_timeout: CancellationToken::new(),
        scratch: folder.join(step),
        artifacts: ArtifactStore::open(&folder.join("artifacts")).unwrap(),
        reports: tokio::sync::mpsc::unbounded_channel().0,
    })
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    register_all(&mut registry, &Options::default());
    registry
}

#[tokio::test]
async fn words_become_a_picture_that_remembers_them() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry();
    let run = async |step: &str, task: &str, input: Value| {
        let attempt = registry.start(task, context(folder.path(), step), input);
        attempt.unwrap().await.unwrap()
    };
    let prompt = "ein Leuchtturm, a lighthouse on a cliff";
    let refined = run(
        "refine",
        "prompt.refine",
        json!({ "prompt": prompt, "style": "watercolor", "seed": 7 }),
    )
    .await;
    let input = json!({ "prompt": refined["prompt"], "negative_prompt": refined["negative_prompt"], "style": refined["style"], "width": 96, "height": 64, "seed": 7 });
    let painted = run("generate", "image.generate", input).await;
    let large = run(
        "upscale",
        "image.upscale",
        json!({ "image": painted["image"] }),
    )
    .await;
    let sheet = run(
        "sheet",
        "image.compose",
        json!({ "images": [large["image"], null] }),
    )
    .await;
    assert_eq!(sheet["placeholders"], 1);
    let artifact: Artifact = serde_json::from_value(large["image"].clone()).unwrap();
    let bytes = context(folder.path(), "look")
        .read(&artifact)
        .await
        .unwrap();
    let said = provenance::read_png(&bytes).unwrap();
    assert_eq!(said.step(), Some("upscale"));
    assert_eq!(said.fact("prompt"), refined["prompt"].as_str());
    assert_eq!(said.fact("seed"), Some("7"));
    assert!(
        said.fact("derived_from")
            .unwrap()
            .starts_with("step generate of run ")
    );
}

#[tokio::test]
async fn refining_gives_the_painter_an_hour_and_a_style_but_no_thing() {
    const HOURS: [&str; 6] = ["dawn", "day", "golden hour", "sunset", "dusk", "night"];
    let folder = tempfile::tempdir().unwrap();
    let registry = registry();
    let understood = |prompt: &str| painter::Scene::from_prompt(prompt, "").understood;
    let subject = "rolling hills";
    let before = understood(subject);
    for style in [
        "none",
        "photo",
        "painting",
        "oil",
        "woodcut",
        "watercolor",
        "neon",
        "noir",
        "pastel",
        "autumn",
        "sepia",
        "winter",
    ] {
        for seed in 0..40 {
            let input = json!({ "prompt": subject, "style": style, "seed": seed });
            let attempt = registry.start("prompt.refine", context(folder.path(), "refine"), input);
            let refined = attempt.unwrap().await.unwrap();
            let prompt = refined["prompt"].as_str().unwrap();
            for word in understood(prompt)
                .iter()
                .filter(|word| !before.contains(word))
            {
                let is_manner = painter::Style::named(word).is_some();
                assert!(
                    is_manner || HOURS.contains(&word.as_str()),
                    "`{prompt}` adds {word}"
                );
            }
        }
    }
}
