//! A real process, a real file, a real `kill -9`: turns writers that die at random moments into the check that every
//! write they were told of is there, and that no address was handed out twice.
//!
//! A killed process leaves the kernel's page cache behind, so this shows the lock, the reopening and the order of
//! acknowledgement; the loss of un-synced bytes is shown by the faulty disk in the store's own tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use api::object::{ObjectKey, Revision};
use bytes::Bytes;
use store::{OpenError, Range, Store, Txn};

/// Set for the child only: the directory of its store.
const CHILD: &str = "MAINSTAY_STORE_CRASH_DIR";
const ROUNDS: usize = 12;
const ADDRESSES: usize = 1 << 16;

/// Takes the lowest free address for a new Service, and now and then gives one back, as the API's allocation does. The
/// ledger keeps what was handed out, whatever happens to the Service later.
fn allocate(txn: &mut Txn<'_>, name: &str) -> Result<String, String> {
    let services = txn.scan("services", None);
    if services.len() % 7 == 6 {
        let (key, body) = (services[3].key.clone(), services[3].body.bytes());
        txn.delete("services", &key, body);
    }
    let taken: BTreeSet<Bytes> = txn.scan("services", None).iter().map(|record| record.body.bytes()).collect();
    let mut free = (0..ADDRESSES).map(|n| format!("10.96.{}.{}", n / 256, n % 256));
    let address = free.find(|address| !taken.contains(address.as_bytes())).ok_or("the range is exhausted")?;
    for table in ["services", "ledger"] {
        txn.put(table, ObjectKey::new("perf", name), Bytes::from(address.clone().into_bytes()));
    }
    Ok(address)
}

/// The process that gets killed: several writers, a line on stdout for each acknowledgement.
fn child(directory: &Path) {
    let store = Store::open_dir(directory).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0.. {
                        let name = format!("s{}-{writer}-{number}", std::process::id());
                        let (address, revision) = store.write(|txn| allocate(txn, &name)).await.unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "acknowledged {revision} {name} {address}").unwrap();
                        out.flush().unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

/// Starts the child, kills it after so many acknowledgements, and returns all that were written before it died.
fn kill_after(directory: &Path, acknowledgements: usize) -> Vec<(Revision, String, String)> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["killed_writers_lose_nothing_acknowledged", "--exact", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let parse = |line: &str| {
        // The test harness of the child may have left its own text before ours.
        let (_, line) = line.split_once("acknowledged ")?;
        let mut words = line.split(' ').map(str::to_owned);
        Some((Revision(words.next()?.parse().ok()?), words.next()?, words.next()?))
    };
    while seen.len() < acknowledgements {
        let line = lines.next().expect("the child ended by itself").unwrap();
        seen.extend(parse(&line));
    }
    assert!(matches!(Store::open_dir(directory), Err(OpenError::InUse { .. })), "the child holds the lock");
    process.kill().unwrap();
    process.wait().unwrap();
    // The last line may be torn; the others in the pipe were acknowledged too.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    seen.extend(rest.iter().rev().skip(1).rev().filter_map(|line| parse(line)));
    seen
}

#[test]
fn killed_writers_lose_nothing_acknowledged() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return child(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut last = Revision(0);
    for round in 0..ROUNDS {
        let acknowledged = kill_after(directory.path(), [1, 40, 7, 150][round % 4]);
        let store = Store::open_dir(directory.path()).unwrap();
        let newest = acknowledged.iter().map(|(revision, ..)| *revision).max().unwrap();
        assert!(newest > last && store.revision() >= newest, "round {round}: {} after {newest}", store.revision());
        last = store.revision();

        let page = store.list("services", &Range::default(), None).unwrap();
        let mut holders = BTreeMap::new();
        for record in &page.records {
            let twice = holders.insert(record.body.bytes(), record.key.clone());
            assert_eq!(twice, None, "round {round}: {:?} belongs to two Services", record.body);
        }
        for (revision, name, address) in &acknowledged {
            let key = ObjectKey::new("perf", name.as_str());
            let entry = store.get("ledger", &key, None).unwrap().expect("an acknowledged write is there");
            assert_eq!(
                (entry.revision, &entry.body.bytes()[..]),
                (*revision, address.as_bytes()),
                "round {round}: {name}"
            );
        }
        // A transaction is whole: no Service without its line in the ledger.
        for record in &page.records {
            let entry = store.get("ledger", &record.key, None).unwrap().expect("a Service has a ledger line");
            assert_eq!(entry.body, record.body);
        }
    }
}
