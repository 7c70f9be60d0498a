//! Servers before a cluster, and clients that go on with the next one when theirs is gone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aquatint_engine::id::RunId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::{Accepted, Cluster};
use crate::load::DEFINITIONS;
use crate::servers::LOOK;

/// How long a client waits for an answer before it asks another server.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(30);

const CLIENTS: usize = 4;

/// Where the servers listen, as clients know it; a server that is gone leaves its old address behind.
type Addresses = Arc<Mutex<[SocketAddr; 2]>>;

/// `aquatint serve`, with a worker behind it.
#[derive(Debug)]
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    async fn start(cluster: &Cluster<'_>, log: PathBuf) -> Self {
        let stderr = std::fs::File::create(&log).unwrap();
        let mut command = cluster.program(&["serve", "--listen", "127.0.0.1:0"]);
        let mut server = Self {
            process: command.stderr(stderr).spawn().unwrap(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let began = Instant::now();
        loop {
            let said = std::fs::read_to_string(&log).unwrap();
            let address = said.lines().find_map(|line| {
                let rest = line.split_once("listening on http://")?.1;
                rest.split(';').next()?.parse().ok()
            });
            if let Some(address) = address {
                server.address = address;
                return server;
            }
            assert!(
                began.elapsed() < START,
                "the server does not listen: {said}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a client learned: which submits were acknowledged, and as what.
#[derive(Debug, Default)]
struct Ledger {
    acknowledged: HashMap<String, (Accepted, RunId)>,
    wrong: Vec<String>,
}

/// Kills servers in turn while clients submit, each submit under a key of its own, and sends it again until it is
/// acknowledged. Every third is sent once more after that, to the other server.
pub(crate) async fn kill_servers(cluster: &mut Cluster<'_>, kills: usize) {
    let log = |n: usize| cluster.folder().join(format!("server-{n}.log"));
    let mut servers = [
        Server::start(cluster, log(0)).await,
        Server::start(cluster, log(1)).await,
    ];
    let addresses: Addresses = Arc::new(Mutex::new([servers[0].address, servers[1].address]));
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let first = i64::try_from(cluster.runs.len()).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (addresses, is_over) = (Arc::clone(&addresses), Arc::clone(&is_over));
            tokio::spawn(submit_until(client, first, addresses, is_over))
        })
        .collect();
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let which = kill % 2;
        servers[which].kill();
        // For a while only one is left.
        tokio::time::sleep(Duration::from_millis(300)).await;
        servers[which] = Server::start(cluster, log(2 + kill)).await;
        addresses.lock().unwrap()[which] = servers[which].address;
    }
    is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    for client in clients {
        let ledger = client.await.unwrap();
        cluster.wrong.extend(ledger.wrong);
        let accepted = ledger.acknowledged.into_values();
        cluster.runs.extend(accepted.map(|(accepted, _)| accepted));
    }
}

async fn submit_until(
    client: usize,
    first: i64,
    addresses: Addresses,
    is_over: Arc<std::sync::atomic::AtomicBool>,
) -> Ledger {
    let mut ledger = Ledger::default();
    let mut server = client % 2;
    let mut count = 0;
    while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
        let n = first + i64::try_from(count * CLIENTS + client).unwrap();
        let (workflow, _) = DEFINITIONS[count % DEFINITIONS.len()];
        let key = format!("client-{client}-{count}");
        let body = json!({ "workflow": workflow, "inputs": { "n": n } }).to_string();
        let began = Instant::now();
        let mut times = 1 + usize::from(count % 3 == 0);
        while times > 0 {
            let address = addresses.lock().unwrap()[server];
            let answer = tokio::time::timeout(ANSWER, post(address, &key, &body)).await;
            server = 1 - server;
            let Ok(Ok((status, told))) = answer else {
                assert!(began.elapsed() < START * 2, "no server answers");
                tokio::time::sleep(LOOK).await;
                continue;
            };
            times -= 1;
            let id = told["id"].as_str().and_then(|id| id.parse().ok());
            let Some(id) = id.filter(|_| matches!(status, 200 | 202)) else {
                ledger.wrong.push(format!("{key}: {status} {told}"));
                break;
            };
            let accepted = Accepted { id, workflow, n };
            let known = ledger.acknowledged.entry(key.clone());
            let (_, known) = known.or_insert((accepted, id));
            if *known != id {
                let wrong = format!("{key} is acknowledged as {known} and as {id}");
                ledger.wrong.push(wrong);
            }
        }
        count += 1;
    }
    ledger
}

/// One request on a connection of its own: its status, and what it answers.
async fn post(address: SocketAddr, key: &str, body: &str) -> std::io::Result<(u16, Value)> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let head = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let cut_off = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(cut_off)?;
    let body = serde_json::from_str(body).map_err(|_| cut_off())?;
    Ok((status.ok_or_else(cut_off)?, body))
}
