//! The server is killed at random moments while clients write: what was acknowledged is there after the next start, with
//! the addresses and ports that the answers named, and nothing is given twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const ROUNDS: u64 = 8;
const WRITERS: u64 = 2;
/// More than any writer gets done before the server dies.
const REQUESTS: u64 = 400;
const SEED: u64 = 0x6d61_696e_7374_6179;

/// A request of a writer.
#[derive(Clone, Debug)]
enum Write {
    Service(String),
    Slice(String),
    DeleteService(String),
}

/// What an answer promised about a Service or slice: uid, addresses and node ports.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Promise {
    uid: String,
    addresses: Vec<String>,
    ports: Vec<u64>,
}

/// What the clients know.
#[derive(Default)]
struct Known {
    services: BTreeMap<String, Promise>,
    slices: BTreeMap<String, Promise>,
    /// Deletions that were acknowledged.
    gone: Vec<String>,
    /// Deletions that were not: either way is right.
    doubted: Vec<String>,
    revision: u64,
}

fn promise(object: &Value) -> Promise {
    let texts =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let ports = object["spec"]["ports"].as_array().into_iter().flatten();
    Promise {
        uid: object["metadata"]["uid"].as_str().expect("objects have uids").to_owned(),
        addresses: texts(&object["spec"]["clusterIPs"]),
        ports: ports.filter_map(|port| port["nodePort"].as_u64()).collect(),
    }
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

/// The writes of one writer: Services of both kinds, slices, and now and then a deletion of what was just made.
fn writes(round: u64, writer: u64) -> Vec<Write> {
    let name = |index: u64| format!("r{round}-w{writer}-{index}");
    let write = |index: u64| match index % 5 {
        0 | 1 | 3 => Write::Service(name(index)),
        2 => Write::Slice(name(index)),
        _ => Write::DeleteService(name(index - 1)),
    };
    (0..REQUESTS).map(write).collect()
}

/// The certificates of the kubeconfig as files, for curl.
fn certificates(sandbox: &Sandbox) {
    for (file, path) in [
        ("ca.pem", "{.clusters[0].cluster.certificate-authority-data}"),
        ("client.pem", "{.users[0].user.client-certificate-data}"),
        ("client.key", "{.users[0].user.client-key-data}"),
    ] {
        let text = sandbox.kubectl_ok(&["config", "view", "--raw", "-o", &format!("jsonpath={path}")]);
        let bytes = STANDARD.decode(text.trim()).expect("certificates are base64");
        std::fs::write(sandbox.path().join(file), bytes).expect("a file in the sandbox's directory");
    }
}

/// One curl that sends all writes over one connection; its answers lie in files named after the request's number.
fn config(sandbox: &Sandbox, server: &str, writes: &[Write], answers: &Path) -> String {
    let directory = sandbox.path().display();
    let requests = writes.iter().enumerate().map(|(index, write)| {
        let services = format!("{server}/api/v1/namespaces/default/services");
        let (method, url, body) = match write {
            Write::Service(name) => {
                let kind = if index % 5 == 0 { "NodePort" } else { "ClusterIP" };
                let spec = json!({ "type": kind, "ports": [{ "port": 80 }] });
                (
                    "POST",
                    services,
                    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec }),
                )
            }
            Write::Slice(name) => {
                let body = json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": { "name": name },
                    "addressType": "IPv4", "endpoints": [{ "addresses": ["10.200.0.1"] }], "ports": [{ "port": 80 }],
                });
                ("POST", format!("{server}/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"), body)
            }
            Write::DeleteService(name) => ("DELETE", format!("{services}/{name}"), json!({})),
        };
        let body = body.to_string().replace('"', "\\\"");
        format!(
            "url = \"{url}\"\nrequest = {method}\nheader = \"content-type: application/json\"\ndata = \"{body}\"\n\
             cacert = \"{directory}/ca.pem\"\ncert = \"{directory}/client.pem\"\nkey = \"{directory}/client.key\"\n\
             output = \"{}/{index}\"\nwrite-out = \"%{{http_code}} {index}\\n\"\nsilent\n",
            answers.display()
        )
    });
    requests.collect::<Vec<_>>().join("next\n")
}

/// Sends the writes until the server is gone; the ones that were acknowledged, with their answers.
fn write(sandbox: &Sandbox, server: &str, name: &str, writes: &[Write]) -> Vec<(usize, Value)> {
    let answers = sandbox.path().join(name);
    std::fs::create_dir(&answers).expect("a directory for answers");
    let file = sandbox.path().join(format!("{name}.curl"));
    std::fs::write(&file, config(sandbox, server, writes, &answers)).expect("a file for curl");
    let output = sandbox.client("curl").arg("-K").arg(&file).output();
    let output = output.expect("curl must be installed: sh scripts/test.sh does it");
    let mut acknowledged = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (code, index) = line.split_once(' ').expect("a code and a number");
        let index: usize = index.parse().expect("a number");
        let body = std::fs::read(answers.join(index.to_string())).unwrap_or_default();
        match code {
            // An answer that the kill cut short promises nothing.
            "200" | "201" => acknowledged.extend(serde_json::from_slice(&body).ok().map(|answer| (index, answer))),
            "000" => {}
            _ => panic!("{:?} was answered {code}: {}", writes[index], String::from_utf8_lossy(&body)),
        }
    }
    acknowledged
}

impl Known {
    /// Notes what one writer was told.
    fn note(&mut self, writes: &[Write], acknowledged: &[(usize, Value)]) {
        let answers: BTreeMap<usize, &Value> = acknowledged.iter().map(|(index, answer)| (*index, answer)).collect();
        for (index, write) in writes.iter().enumerate() {
            match (write, answers.get(&index)) {
                (Write::Service(name), Some(answer)) => drop(self.services.insert(name.clone(), promise(answer))),
                (Write::Slice(name), Some(answer)) => drop(self.slices.insert(name.clone(), promise(answer))),
                (Write::DeleteService(name), Some(_)) => {
                    self.services.remove(name);
                    self.gone.push(name.clone());
                }
                (Write::DeleteService(name), None) => self.doubted.push(name.clone()),
                _ => {}
            }
            if let (Write::Service(_) | Write::Slice(_), Some(answer)) = (write, answers.get(&index)) {
                self.revision = self.revision.max(revision(answer));
            }
        }
    }

    /// Compares with what the server has now; whatever it has beyond that is a promise from now on.
    fn check(&mut self, sandbox: &Sandbox) {
        let list = |kind: &str| -> Value {
            serde_json::from_str(&sandbox.kubectl_ok(&["get", "--raw", kind])).expect("lists are JSON")
        };
        let services = list("/api/v1/services");
        let slices = list("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices");
        assert!(revision(&services) >= self.revision, "revision {} was promised", self.revision);
        let by_name = |list: &Value| -> BTreeMap<String, Promise> {
            let items = list["items"].as_array().expect("items").iter();
            items.map(|item| (item["metadata"]["name"].as_str().expect("a name").to_owned(), promise(item))).collect()
        };
        let (services, slices) = (by_name(&services), by_name(&slices));
        for doubted in self.doubted.drain(..).filter(|name| !services.contains_key(name)) {
            self.services.remove(&doubted);
        }
        for (promised, found) in [(&self.services, &services), (&self.slices, &slices)] {
            for (name, promise) in promised {
                assert_eq!(found.get(name), Some(promise), "{name} was acknowledged");
            }
        }
        for name in &self.gone {
            assert!(!services.contains_key(name), "the deletion of {name} was acknowledged");
        }
        assert_unique(
            "address",
            services.iter().flat_map(|(name, found)| found.addresses.iter().map(move |it| (it, name))),
        );
        assert_unique(
            "node port",
            services.iter().flat_map(|(name, found)| found.ports.iter().map(move |it| (it, name))),
        );
        (self.services, self.slices) = (services, slices);
    }
}

fn assert_unique<'a, T: Ord + std::fmt::Debug>(what: &str, given: impl Iterator<Item = (T, &'a String)>) {
    let mut owners = BTreeMap::new();
    for (value, name) in given {
        let text = format!("{value:?}");
        if let Some(other) = owners.insert(value, name) {
            panic!("{what} {text} belongs to {other} and to {name}");
        }
    }
}

/// The next number of a xorshift generator.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn acknowledged_writes_outlive_kill_9() {
    let mut sandbox = Sandbox::start();
    certificates(&sandbox);
    let (mut known, mut seed, mut cut_short, mut total) = (Known::default(), SEED, 0, 0);
    for round in 0..ROUNDS {
        let server = sandbox.status()["server"].as_str().expect("the server's URL").to_owned();
        // The moment is the point of this test; whether it falls early or late, every check below holds.
        let moment = 5 + usize::try_from(random(&mut seed) % 60).unwrap_or(0);
        let all: Vec<Vec<Write>> = (0..WRITERS).map(|writer| writes(round, writer)).collect();
        let acknowledged: Vec<_> = std::thread::scope(|scope| {
            let (shared, server) = (&sandbox, &server);
            let mut writers = Vec::new();
            for (writer, writes) in all.iter().enumerate() {
                writers.push(scope.spawn(move || write(shared, server, &format!("{round}-{writer}"), writes)));
            }
            while answered(shared, round) < moment && !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(1));
            }
            kill(shared);
            writers.into_iter().map(|writer| writer.join().expect("the writer ends")).collect()
        });
        sandbox.kill_server();
        for (writes, acknowledged) in all.iter().zip(&acknowledged) {
            known.note(writes, acknowledged);
            total += acknowledged.len();
            cut_short += usize::from(!acknowledged.is_empty() && acknowledged.len() < writes.len());
        }
        sandbox.restart();
        known.check(&sandbox);
    }
    assert!(total > 100, "only {total} writes were acknowledged: nothing was tested");
    assert!(cut_short >= usize::try_from(ROUNDS).unwrap_or(0), "only {cut_short} writers were cut short in their work");
}

/// How many answers have come in a round.
fn answered(sandbox: &Sandbox, round: u64) -> usize {
    let of =
        |writer: u64| std::fs::read_dir(sandbox.path().join(format!("{round}-{writer}"))).into_iter().flatten().count();
    (0..WRITERS).map(of).sum()
}

fn kill(sandbox: &Sandbox) {
    let pid = i32::try_from(sandbox.server.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill -9 of the server");
}
