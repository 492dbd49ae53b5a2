//! kube-rs: objects, watch, streams, and a controller that makes a Service of each ConfigMap with a finalizer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Config, ResourceExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::sandbox::Sandbox;

/// Longer than anything takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The label of the ConfigMaps that the controller looks at, and of the Services it makes.
const MINE: &str = "made-by=kube-rs";

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[test]
fn kube_rs_objects_and_streams() {
    with_client(|client| async move {
        objects(&client).await?;
        streams(&client).await
    });
}

#[test]
fn kube_rs_reflector_and_controller() {
    with_client(controller);
}

fn with_client<F: Future<Output = Result<(), Failure>>>(run: impl FnOnce(Client) -> F) {
    let sandbox = crate::prepared();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = runtime.expect("a runtime").block_on(async {
        let client = client(&sandbox).await?;
        tokio::time::timeout(PATIENCE, run(client)).await?
    });
    done.unwrap_or_else(|error| panic!("{error}\n{error:?}\nserver:\n{}", sandbox.log()));
}

async fn client(sandbox: &Sandbox) -> Result<Client, Failure> {
    let kubeconfig = Kubeconfig::read_from(sandbox.path().join("kubeconfig"))?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
}

fn service() -> Result<Service, Failure> {
    Ok(serde_json::from_value(json!({
        "metadata": { "name": "web", "labels": { "made-by": "hand" } },
        "spec": { "selector": { "app": "echo" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    }))?)
}

async fn objects(client: &Client) -> Result<(), Failure> {
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let made = services.create(&PostParams::default(), &service()?).await?;
    assert!(made.spec.as_ref().and_then(|spec| spec.cluster_ip.as_ref()).is_some(), "{made:?}");
    let again = services.create(&PostParams::default(), &service()?).await;
    assert!(matches!(&again, Err(kube::Error::Api(status)) if status.code == 409), "{again:?}");

    let listed = services.list(&ListParams::default().labels("made-by=hand")).await?;
    assert_eq!(listed.items.len(), 1);
    let from = listed.metadata.resource_version.unwrap_or_default();
    let mut changes = services.watch(&WatchParams::default().labels("made-by=hand"), &from).await?.boxed();

    let merge = Patch::Merge(json!({ "metadata": { "annotations": { "round": "1" } } }));
    services.patch("web", &PatchParams::default(), &merge).await?;
    // Our own status writes are changes too.
    while let Some(change) = changes.try_next().await? {
        match change {
            WatchEvent::Modified(one) if one.annotations().get("round").is_some_and(|round| round == "1") => break,
            WatchEvent::Modified(_) => {}
            other => return Err(format!("a change of another kind: {other:?}").into()),
        }
    }

    let strategic = Patch::Strategic(json!({ "spec": { "ports": [{ "port": 80, "name": "http" }] } }));
    let patched = services.patch("web", &PatchParams::default(), &strategic).await?;
    let ports = patched.spec.and_then(|spec| spec.ports).unwrap_or_default();
    assert_eq!((ports.len(), ports[0].name.as_deref()), (1, Some("http")));

    let apply = Patch::Apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "labels": { "round": "2" } },
    }));
    let applied = services.patch("web", &PatchParams::apply("kube-rs-test"), &apply).await?;
    assert!(applied.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some("kube-rs-test")));
    services.delete("web", &DeleteParams::default()).await?;
    assert!(services.get_opt("web").await?.is_none());
    Ok(())
}

async fn streams(client: &Client) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.logs("echo", &LogParams { tail_lines: Some(5), ..LogParams::default() }).await?;

    let attach = kube::api::AttachParams::default().stdin(true).stderr(false);
    let mut session = pods.exec("echo", ["cat"], &attach).await?;
    let (mut input, mut output) = (session.stdin().ok_or("no stdin")?, session.stdout().ok_or("no stdout")?);
    input.write_all(b"from kube-rs\n").await?;
    input.shutdown().await?;
    drop(input);
    let mut answer = String::new();
    output.read_to_string(&mut answer).await?;
    assert_eq!(answer, "from kube-rs\n");

    let mut forward = pods.portforward("echo", &[8080]).await?;
    let mut stream = forward.take_stream(8080).ok_or("no stream")?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: echo\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// A ConfigMap with the label becomes a Service of the same name; deleting it deletes the Service before the finalizer.
async fn controller(client: Client) -> Result<(), Failure> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let selected = watcher::Config::default().labels(MINE);
    let run = Controller::new(maps.clone(), selected.clone())
        .owns(services.clone(), selected.clone())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(200)), Arc::new(client.clone()))
        .for_each(|_| std::future::ready(()));
    let task = tokio::spawn(run);

    let (reader, writer) = reflector::store::<Service>();
    let mirror = reflector(writer, watcher(services.clone(), selected)).touched_objects();
    let mirror = tokio::spawn(mirror.for_each(|_| std::future::ready(())));
    for name in ["one", "two"] {
        let map =
            json!({ "metadata": { "name": name, "labels": { "made-by": "kube-rs" } }, "data": { "port": "8080" } });
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
    }
    until(|| async { Ok(reader.state().len() == 2) }).await?;
    let status = services.get("one").await?.status.unwrap_or_default();
    assert!(status.load_balancer.is_some());

    services.delete("one", &DeleteParams::default()).await?;
    until(|| async { Ok(services.get_opt("one").await?.is_some()) }).await?;
    maps.delete("two", &DeleteParams::default()).await?;
    until(|| async { Ok(maps.get_opt("two").await?.is_none()) }).await?;
    assert!(services.get_opt("two").await?.is_none(), "the finalizer went before the Service");
    task.abort();
    mirror.abort();
    Ok(())
}

async fn reconcile(map: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, finalizer::Error<kube::Error>> {
    let maps: Api<ConfigMap> = Api::default_namespaced((*client).clone());
    let services: Api<Service> = Api::default_namespaced((*client).clone());
    finalizer(&maps, "example.com/service", map, |event| async {
        match event {
            finalizer::Event::Apply(map) => apply(&services, &map).await,
            finalizer::Event::Cleanup(map) => {
                let gone = services.delete(&map.name_any(), &DeleteParams::default()).await;
                match gone {
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(Action::await_change()),
                    other => other.map(|_| Action::await_change()),
                }
            }
        }
    })
    .await
}

async fn apply(services: &Api<Service>, map: &ConfigMap) -> Result<Action, kube::Error> {
    let port: i32 = map.data.as_ref().and_then(|data: &BTreeMap<_, _>| data.get("port")?.parse().ok()).unwrap_or(80);
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": map.name_any(), "uid": map.uid(), "controller": true }]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": map.name_any(), "labels": { "made-by": "kube-rs" }, "ownerReferences": owner },
        "spec": { "selector": { "app": "echo" }, "ports": [{ "port": port }] },
    });
    let manager = PatchParams::apply("kube-rs-controller").force();
    services.patch(&map.name_any(), &manager, &Patch::Apply(service)).await?;
    Ok(Action::await_change())
}

async fn until<F: Future<Output = Result<bool, Failure>>>(mut look: impl FnMut() -> F) -> Result<(), Failure> {
    while !look().await? {
        // Lets others run between two looks at a state; nothing depends on its length.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
