//! Definitions that are published while the system runs.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use support::Bench;

const FIRST: &str = "name: first\nsteps:\n  a: { task: test.echo, with: { n: 0 } }\n";

fn version(name: &str, n: usize) -> String {
    format!("name: {name}\nsteps:\n  a: {{ task: test.echo, with: {{ n: {n} }} }}\n")
}

/// Whatever the order in which looks at the store end, what this process knows afterwards is what is kept:
/// no look that began before a definition was published puts the one before back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_look_undoes_what_another_found() {
    let bench = Arc::new(Bench::idle(&[FIRST], |_| {}).await);
    // Another process at the same store.
    let other = Arc::new(Bench::over(Arc::clone(&bench.folder), &[FIRST], |_| {}).await);
    for round in 0..40 {
        let mut doing = tokio::task::JoinSet::new();
        for n in 0..4 {
            for (place, engine) in [&bench.engine, &other.engine].into_iter().enumerate() {
                let (publisher, looker) = (engine.clone(), engine.clone());
                doing.spawn(async move {
                    let text = version("one", 100 * round + 10 * n + place);
                    publisher.publish("one.yaml", &text).await.map(drop)
                });
                doing.spawn(async move { looker.refresh_library().await });
            }
        }
        while let Some(done) = doing.join_next().await {
            done.unwrap().unwrap();
        }
        // What this process published last it knows, or something newer, without another look.
        let known = |bench: &Bench| {
            let library = bench.engine.library();
            library.source("one").unwrap().1.to_owned()
        };
        let (here, there) = (known(&bench), known(&other));
        bench.engine.refresh_library().await.unwrap();
        other.engine.refresh_library().await.unwrap();
        let kept = known(&bench);
        assert_eq!(kept, known(&other));
        assert!(
            here == kept || there == kept,
            "nobody knows what was kept last: {kept}\n{here}\n{there}"
        );
    }
    Arc::into_inner(other).unwrap().finish().await;
    Arc::into_inner(bench).unwrap().finish().await;
}
