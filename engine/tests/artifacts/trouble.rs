//! What a bucket can suffer: wrong credentials, no bucket, no service, half an answer.

use aquatint_engine::TaskError;
use aquatint_engine::artifact::{Artifact, ArtifactError};
use aquatint_engine::task::Remedy;
use tokio::task::block_in_place;

use crate::service::{self, SECRET, Service, empty_listing, misbehaving, open, place};

async fn refusal(place: &aquatint_engine::artifact::ArtifactPlace) -> (ArtifactError, String) {
    let error = open(place).await.map(|_| ()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        !text.contains(SECRET) && !text.contains("wrong-secret"),
        "{text}"
    );
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    (error.clone(), error.to_string())
}

fn remedy(error: ArtifactError) -> Remedy {
    TaskError::from(error).remedy
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_with_the_bucket_and_the_remedy() {
    let service = Service::start().await;
    let (error, text) = refusal(&place(service.address, "s3://pictures", "wrong-secret")).await;
    assert!(
        text.contains("`pictures`")
            && text.contains("SignatureDoesNotMatch")
            && text.contains("AQUATINT_S3_SECRET_ACCESS_KEY"),
        "{text}"
    );
    assert_eq!(remedy(error), Remedy::Fail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_told_with_the_remedy() {
    let service = Service::start().await;
    let (error, text) = refusal(&service.place("s3://no-such-bucket")).await;
    assert!(
        text.contains("there is no bucket `no-such-bucket`")
            && text.contains("AQUATINT_ARTIFACTS")
            && text.contains(&service.address.to_string()),
        "{text}"
    );
    assert_eq!(remedy(error), Remedy::Fail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_may_be_up_later() {
    let mut service = Service::start().await;
    let (store, _data) = open(&service.place("s3://pictures")).await.unwrap();
    service.stop().await;
    let down = block_in_place(|| store.put("x", "image/png", b"x")).unwrap_err();
    assert!(down.to_string().contains("cannot be reached"), "{down}");
    assert_eq!(remedy(down), Remedy::Retry);
    let (error, text) = refusal(&service.place("s3://pictures")).await;
    assert!(text.contains("refused"), "{text}");
    assert_eq!(remedy(error), Remedy::Retry);
    service.start_again().await;
    let artifact = block_in_place(|| store.put("x", "image/png", b"x")).unwrap();
    assert_eq!(block_in_place(|| store.read(&artifact)).unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_deleted_meanwhile_is_not_taken_for_a_missing_file() {
    let body = "<Error><Code>NoSuchBucket</Code><Message>gone</Message></Error>";
    let gone = format!(
        "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let address = misbehaving(empty_listing(), gone).await;
    let (store, _data) = open(&place(address, "s3://pictures", SECRET))
        .await
        .unwrap();
    let put = block_in_place(|| store.put("x", "image/png", b"x"));
    let read = block_in_place(|| store.read(&artifact("a")));
    for error in [put.unwrap_err(), read.unwrap_err()] {
        assert!(error.to_string().contains("there is no bucket"), "{error}");
        assert_eq!(remedy(error), Remedy::Fail);
    }
}

/// One that nobody stored.
fn artifact(digit: &str) -> Artifact {
    Artifact {
        digest: digit.repeat(64),
        name: "x".to_owned(),
        media_type: "image/png".to_owned(),
        size_bytes: 100,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_trouble_is_worth_another_try() {
    let busy = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let address = misbehaving(busy.to_owned(), busy.to_owned()).await;
    let (error, text) = refusal(&place(address, "s3://pictures", SECRET)).await;
    assert!(text.contains("503"), "{text}");
    assert_eq!(remedy(error), Remedy::Retry);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_worth_another_try_and_leaves_nothing() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nLast-Modified: Mon, 02 Nov 2026 10:00:00 GMT\r\nETag: \"x\"\r\nConnection: close\r\n\r\nonly a part";
    let address = misbehaving(empty_listing(), half.to_owned()).await;
    let (store, data) = open(&place(address, "s3://pictures", SECRET))
        .await
        .unwrap();
    let error = block_in_place(|| store.read(&artifact("a"))).unwrap_err();
    assert_eq!(remedy(error), Remedy::Retry);
    assert_eq!(files_below(data.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_it_is_stored_leaves_nothing() {
    // 20 MB, in parts, from a file that somebody writes to all the time.
    let service = Service::start().await;
    let (store, data) = open(&service.place("s3://pictures")).await.unwrap();
    let source = data.path().join("growing");
    let file = std::fs::File::create(&source).unwrap();
    file.set_len(20_000_000).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = {
        let (file, stop) = (file.try_clone().unwrap(), std::sync::Arc::clone(&stop));
        std::thread::spawn(move || {
            use std::os::unix::fs::FileExt as _;
            let mut n = 0u64;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                n += 1;
                file.write_at(&n.to_le_bytes(), 19_999_000).unwrap();
            }
        })
    };
    let stored = block_in_place(|| store.put_file("x", "image/png", &source));
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    writer.join().unwrap();
    let error = stored.unwrap_err();
    assert!(error.to_string().contains("changed"), "{error}");
    assert_eq!(visible(&service), 0);
}

/// Files below a folder that are not somebody's temporary ones.
fn files_below(folder: &std::path::Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        count += if path.is_dir() { files_below(&path) } else { 1 };
    }
    count
}

fn visible(service: &service::Service) -> usize {
    files_below(&service.bucket())
}
