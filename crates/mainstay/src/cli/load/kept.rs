//! Connections that stay: an address and a number in, a question now and then on each, every loss counted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{CONNECTION_TIMEOUT, Outcome, kind_of, record};

/// How often each connection is used.
const PERIOD: Duration = Duration::from_secs(1);

/// Keeps `count` connections busy until standard input ends or the time is over.
pub(super) async fn run(address: SocketAddr, count: u32, seconds: u64, outcome: &Arc<Mutex<Outcome>>) {
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..count {
        let outcome = outcome.clone();
        tasks.spawn(async move {
            // Spread over the period, so that something is on its way at any moment.
            sleep(PERIOD * index / count.max(1)).await;
            loop {
                let began = Instant::now();
                let (kind, text) = one(address, &outcome).await;
                record(&outcome, Err((kind, text)), began.elapsed());
                sleep(PERIOD).await;
            }
        });
    }
    let (mut stdin, mut byte) = (tokio::io::stdin(), [0_u8; 1]);
    let ended = async { while matches!(stdin.read(&mut byte).await, Ok(1..)) {} };
    // Either is a reason to stop.
    let _ = timeout(Duration::from_secs(seconds), ended).await;
}

/// One connection until it fails: what happened.
async fn one(address: SocketAddr, outcome: &Mutex<Outcome>) -> (&'static str, String) {
    if let Ok(mut outcome) = outcome.lock() {
        outcome.started += 1;
    }
    let stream = match timeout(CONNECTION_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return (kind_of(&error), format!("connect: {error}")),
        Err(_) => return ("timeout", format!("not connected in {CONNECTION_TIMEOUT:?}")),
    };
    let mut stream = BufReader::new(stream);
    for number in 0_u64.. {
        let began = Instant::now();
        match timeout(CONNECTION_TIMEOUT, ask(&mut stream, number)).await {
            Ok(Ok(pod)) => record(outcome, Ok(pod), began.elapsed()),
            Ok(Err(error)) => return (kind_of(&error), format!("question {number} on a kept connection: {error}")),
            Err(_) => return ("timeout", format!("question {number} on a kept connection: no answer")),
        }
        sleep(PERIOD).await;
    }
    ("other", "out of numbers".to_owned())
}

/// One line and its answer: the name of the pod.
async fn ask(stream: &mut BufReader<TcpStream>, number: u64) -> std::io::Result<String> {
    stream.write_all(format!("question {number}\n").as_bytes()).await?;
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::ConnectionReset.into());
    }
    let answer: serde_json::Value = serde_json::from_str(&line)?;
    let same = answer["received"] == format!("question {number}");
    let pod = answer["pod"].as_str().filter(|_| same).map(str::to_owned);
    pod.ok_or_else(|| std::io::Error::other(format!("not the answer to question {number}: {line}")))
}
