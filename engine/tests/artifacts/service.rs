//! A real S3 service over a folder, on a free port of this machine; and one that misbehaves.

use std::net::SocketAddr;
use std::path::PathBuf;

use aquatint_engine::artifact::{ArtifactError, ArtifactPlace, ArtifactStore, S3Options};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const ID: &str = "test-id";
pub(crate) const SECRET: &str = "test-secret-never-shown";

/// The service; stopping it cuts every connection.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    running: Option<JoinHandle<()>>,
}

impl Service {
    /// With one bucket, `pictures`.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pictures")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut service = Self {
            address: listener.local_addr().unwrap(),
            folder,
            running: None,
        };
        service.serve(listener);
        service
    }

    fn serve(&mut self, listener: TcpListener) {
        let files = s3s_fs::FileSystem::new(self.folder.path()).unwrap();
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ID, SECRET));
        let service = builder.build();
        self.running = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                // Else every answer waits 40 ms for the reader's word that it has the head.
                socket.set_nodelay(true).unwrap();
                let service = service.clone();
                connections.spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        }));
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    pub(crate) async fn start_again(&mut self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    /// Where the service keeps what is in the bucket.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.folder.path().join("pictures")
    }

    pub(crate) fn place(&self, url: &str) -> ArtifactPlace {
        place(self.address, url, SECRET)
    }
}

pub(crate) fn place(address: SocketAddr, url: &str, secret: &str) -> ArtifactPlace {
    let options = S3Options {
        endpoint: Some(format!("http://{address}")),
        access_key_id: Some(ID.into()),
        secret_access_key: Some(secret.into()),
        ..S3Options::default()
    };
    ArtifactPlace::parse(url, options).unwrap()
}

/// Opens a place, with a data folder that goes with the test.
pub(crate) async fn open(
    place: &ArtifactPlace,
) -> Result<(ArtifactStore, tempfile::TempDir), ArtifactError> {
    let data = tempfile::tempdir().unwrap();
    Ok((ArtifactStore::open_at(place, data.path()).await?, data))
}

/// A service that gives one answer to listings and another to everything else.
pub(crate) async fn misbehaving(listing: String, otherwise: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (listing, otherwise) = (listing.clone(), otherwise.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match socket.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let is_listing = String::from_utf8_lossy(&head).contains("list-type=2");
                let answer = if is_listing { listing } else { otherwise };
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    address
}

/// What a service says to a listing that finds nothing.
pub(crate) fn empty_listing() -> String {
    let body = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
