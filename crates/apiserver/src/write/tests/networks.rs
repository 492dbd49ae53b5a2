//! Sections 1.5 and 1.8 of the reference inside the write transaction: who has which address of which network.

use ::api::kinds::{EVENT, IP_ADDRESS, SERVICE_CIDR, ip_address};
use contract::access::{Scope, WatchStep};
use futures::StreamExt;

use super::*;

fn cluster(name: &str) -> ObjectKey {
    ObjectKey::new("", name)
}

fn network(name: &str, cidrs: &[&str]) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "cidrs": cidrs } })
}

/// A Service with this address, or with any when it is empty.
fn at(name: &str, address: &str) -> Value {
    let mut service = service(name, "ClusterIP");
    if !address.is_empty() {
        service["spec"]["clusterIP"] = address.into();
    }
    service
}

async fn addresses(api: &Api) -> Vec<(String, String)> {
    let list = api.list(&IP_ADDRESS, &Scope::default()).await.unwrap();
    let shown = |object: &Arc<Object>| (object.key.name.to_string(), ip_address::parent_text(&json_of(object)));
    list.items.iter().map(shown).collect()
}

async fn stored(api: &Api, name: &str) -> Value {
    json_of(&api.get(&SERVICE_CIDR, &cluster(name)).await.unwrap())
}

async fn gone(api: &Api, name: &str) -> bool {
    api.get(&SERVICE_CIDR, &cluster(name)).await.is_err()
}

async fn drop_network(api: &Api, name: &str) {
    api.delete(&SERVICE_CIDR, &cluster(name), &DeleteOptions::default()).await.unwrap();
}

async fn bootstrapped(range: &str) -> (Api, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (reopened(&dir, &[range]).await, dir)
}

async fn reopened(dir: &tempfile::TempDir, ranges: &[&str]) -> Api {
    let mut config = config(30000..=30001);
    config.ranges.service = ranges.iter().map(|range| range.parse().unwrap()).collect();
    let api = Api::new(Store::open_dir(dir.path()).unwrap(), config).unwrap();
    let _ = api.create(&NAMESPACE, json!({ "metadata": { "name": "default" } })).await;
    api.bootstrap().await.unwrap();
    api
}

#[tokio::test]
async fn every_address_of_a_service_has_an_object_that_says_so() {
    let (api, _dir) = bootstrapped("10.96.0.0/24").await;
    let before = api.store().revision();
    let made = json_of(&api.create(&SERVICE, at("ham", "10.96.0.9")).await.unwrap());
    assert_eq!(addresses(&api).await, [("10.96.0.9".to_owned(), "services/default/ham".to_owned())]);
    assert_eq!(api.store().revision().0, before.0 + 2, "both in one transaction");
    let object = json_of(&api.get(&IP_ADDRESS, &cluster("10.96.0.9")).await.unwrap());
    let labels = json!({
        "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    });
    assert_eq!(object["metadata"]["labels"], labels);
    assert!(object["metadata"]["uid"].is_string() && object["metadata"]["creationTimestamp"].is_string());

    let mut alias = made.clone();
    alias["spec"]["type"] = "ExternalName".into();
    alias["spec"]["externalName"] = "example.com".into();
    api.update(&SERVICE, alias).await.unwrap();
    assert_eq!(addresses(&api).await, [], "given back with the type");
    let mut back = now(&api, &SERVICE, "ham").await;
    back["spec"]["type"] = "ClusterIP".into();
    back["spec"]["clusterIP"] = "10.96.0.20".into();
    api.update(&SERVICE, back).await.unwrap();
    assert_eq!(addresses(&api).await[0].0, "10.96.0.20");
    api.create(&SERVICE, at("none", "None")).await.unwrap();
    api.delete(&SERVICE, &key("ham"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(addresses(&api).await, []);
}

#[tokio::test]
async fn refused_writes_and_dry_runs_note_no_address() {
    let (api, _dir) = bootstrapped("10.96.0.0/24").await;
    let before = api.store().revision();
    let mut bad = at("ham", "10.96.0.9");
    bad["spec"]["ports"] = json!([{ "port": 0 }]);
    assert_eq!(api.create(&SERVICE, bad).await.unwrap_err().code, 422);
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    api.create_object(&SERVICE, "", &at("ham", "10.96.0.9"), &dry).await.unwrap();
    assert_eq!((addresses(&api).await, api.store().revision()), (Vec::new(), before));
}

#[tokio::test]
async fn conflicts_name_the_owner() {
    let (api, _dir) = bootstrapped("10.96.0.0/24").await;
    api.create(&SERVICE, at("ham", "10.96.0.9")).await.unwrap();
    let parent = json!({ "group": "example.com", "resource": "gateways", "namespace": "a", "name": "g" });
    let kept = json!({ "metadata": { "name": "10.96.0.10" }, "spec": { "parentRef": parent } });
    api.create(&IP_ADDRESS, kept.clone()).await.unwrap();
    for (ip, why) in [
        ("10.96.0.9", "provided IP is already allocated (by default/ham)"),
        ("10.96.0.10", "provided IP is already allocated (by gateways.example.com/a/g)"),
        ("10.97.0.1", "the provided network does not match the current range (10.96.0.0/24)"),
    ] {
        let refused = api.create(&SERVICE, at("eggs", ip)).await.unwrap_err();
        let head = "Service \"eggs\" is invalid: spec.clusterIPs: Invalid value:";
        assert_eq!(refused.message, format!("{head} [\"{ip}\"]: failed to allocate IP {ip}: {why}"));
    }
    let mut twice = kept;
    twice["metadata"]["name"] = "10.96.0.9".into();
    let refused = api.create(&IP_ADDRESS, twice).await.unwrap_err();
    assert_eq!(refused.message, "ipaddresses.networking.k8s.io \"10.96.0.9\" already exists");
    api.delete(&IP_ADDRESS, &cluster("10.96.0.10"), &DeleteOptions::default()).await.unwrap();
    api.create(&SERVICE, at("eggs", "10.96.0.10")).await.unwrap();
}

#[tokio::test]
async fn the_default_network_is_that_of_the_flags() {
    let (api, dir) = bootstrapped("10.96.0.0/24").await;
    let made = stored(&api, "kubernetes").await;
    assert_eq!(made["spec"]["cidrs"], json!(["10.96.0.0/24"]));
    let condition = &made["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("Ready"), &json!("True")));
    assert_eq!(condition["lastTransitionTime"], "2026-11-21T08:00:00Z");
    drop(api);
    let api = reopened(&dir, &["10.96.0.0/24", "fd00:96::/112"]).await;
    let grown = json!(["10.96.0.0/24", "fd00:96::/112"]);
    assert_eq!(stored(&api, "kubernetes").await["spec"]["cidrs"], grown);
    drop(api);
    let api = reopened(&dir, &["10.97.0.0/24"]).await;
    assert_eq!(stored(&api, "kubernetes").await["spec"]["cidrs"], grown, "not overwritten");
    let events = api.list(&EVENT, &Scope::default()).await.unwrap().items;
    assert_eq!(json_of(&events[0])["reason"], "KubernetesDefaultServiceCIDRInconsistent");
    let made = json_of(&api.create(&SERVICE, at("ham", "")).await.unwrap());
    let ip = made["spec"]["clusterIP"].as_str().unwrap();
    assert!(ip.starts_with("10.96.0."), "addresses come from what is stored: {ip}");
}

#[tokio::test]
async fn a_full_network_is_followed_by_the_next() {
    let (api, _dir) = bootstrapped("10.96.0.0/30").await;
    for name in ["a", "b"] {
        api.create(&SERVICE, at(name, "")).await.unwrap();
    }
    let full = api.create(&SERVICE, at("c", "")).await.unwrap_err();
    let why = "Internal error occurred: failed to allocate a serviceIP for Service \"c\": range is full";
    assert_eq!((full.code, full.message.as_str()), (500, why));
    let outside = api.create(&SERVICE, at("c", "10.97.0.5")).await.unwrap_err();
    assert!(outside.message.contains("does not match the current range (10.96.0.0/30)"), "{outside}");
    api.create(&SERVICE_CIDR, network("more", &["10.97.0.0/29"])).await.unwrap();
    api.create(&SERVICE, at("c", "10.97.0.5")).await.unwrap();
    let made = json_of(&api.create(&SERVICE, at("d", "")).await.unwrap());
    assert!(made["spec"]["clusterIP"].as_str().unwrap().starts_with("10.97.0."), "{made}");
    for ip in ["10.97.0.0", "10.97.0.7"] {
        let refused = api.create(&SERVICE, at("e", ip)).await.unwrap_err();
        let why = "the provided network does not match the current range (10.96.0.0/30, 10.97.0.0/29)";
        assert!(refused.message.ends_with(why), "{refused}");
    }
    api.create(&SERVICE_CIDR, network("wider", &["10.97.0.0/24"])).await.unwrap();
    api.create(&SERVICE, at("e", "10.97.0.7")).await.unwrap();
}

#[tokio::test]
async fn a_used_network_goes_with_its_last_address() {
    let (api, _dir) = bootstrapped("10.96.0.0/24").await;
    api.create(&SERVICE_CIDR, network("more", &["10.97.0.0/24"])).await.unwrap();
    api.create(&SERVICE, at("ham", "10.97.0.5")).await.unwrap();
    drop_network(&api, "more").await;
    let waiting = stored(&api, "more").await;
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(waiting["metadata"]["finalizers"], json!(["networking.k8s.io/service-cidr-finalizer"]));
    let condition = &waiting["status"]["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Terminating")));
    let refused = api.create(&SERVICE, at("eggs", "10.97.0.6")).await.unwrap_err();
    assert!(refused.message.contains("does not match the current range (10.96.0.0/24)"), "{refused}");
    let mut lives = now(&api, &SERVICE, "ham").await;
    lives["metadata"]["labels"] = json!({ "a": "b" });
    api.update(&SERVICE, lives).await.unwrap();
    api.delete(&SERVICE, &key("ham"), &DeleteOptions::default()).await.unwrap();
    assert!(gone(&api, "more").await && addresses(&api).await.is_empty());
}

#[tokio::test]
async fn an_unused_or_covered_network_goes_at_once() {
    let (api, _dir) = bootstrapped("10.96.0.0/24").await;
    api.create(&SERVICE_CIDR, network("more", &["10.97.0.0/24"])).await.unwrap();
    drop_network(&api, "more").await;
    assert!(gone(&api, "more").await);
    api.create(&SERVICE_CIDR, network("more", &["10.97.0.0/24"])).await.unwrap();
    api.create(&SERVICE, at("ham", "10.97.0.5")).await.unwrap();
    drop_network(&api, "more").await;
    assert!(!gone(&api, "more").await);
    api.create(&SERVICE_CIDR, network("wider", &["10.97.0.0/16"])).await.unwrap();
    assert!(gone(&api, "more").await, "its addresses have another network now");
    assert_eq!(addresses(&api).await.len(), 1);
    api.create(&SERVICE_CIDR, network("same", &["10.97.0.0/16"])).await.unwrap();
    drop_network(&api, "wider").await;
    assert!(gone(&api, "wider").await, "a twin has the same addresses");
}

#[tokio::test]
async fn without_a_ready_network_there_are_no_addresses() {
    let (api, _dir) = bootstrapped("10.96.0.0/24").await;
    api.create(&SERVICE, at("ham", "")).await.unwrap();
    drop_network(&api, "kubernetes").await;
    let dynamic = api.create(&SERVICE, at("eggs", "")).await.unwrap_err();
    assert!(dynamic.code == 500 && dynamic.message.ends_with("range is full"), "{dynamic}");
    let explicit = api.create(&SERVICE, at("eggs", "10.96.0.9")).await.unwrap_err();
    assert!(explicit.code == 422 && explicit.message.contains("does not match the current range"), "{explicit}");
}

#[tokio::test]
async fn what_must_be_there_is_made_again() {
    let (api, _dir) = bootstrapped("10.96.0.0/24").await;
    api.create(&SERVICE, at("ham", "10.96.0.9")).await.unwrap();
    let first = json_of(&api.get(&IP_ADDRESS, &cluster("10.96.0.9")).await.unwrap());
    let from = api.store().revision();
    tokio::spawn(api.clone().keep(from));
    let mut steps = api.watch(&[&IP_ADDRESS, &SERVICE_CIDR], from).await.unwrap();
    let mut next_put = async || loop {
        if let WatchStep::Put(_, object) = steps.next().await.unwrap().unwrap() {
            break json_of(&object);
        }
    };
    api.delete(&IP_ADDRESS, &cluster("10.96.0.9"), &DeleteOptions::default()).await.unwrap();
    let again = next_put().await;
    assert_ne!(first["metadata"]["uid"], again["metadata"]["uid"]);
    assert_eq!(first["spec"], again["spec"]);
    api.delete(&SERVICE, &key("ham"), &DeleteOptions::default()).await.unwrap();
    drop_network(&api, "kubernetes").await;
    assert_eq!(next_put().await["metadata"]["name"], "kubernetes");
}

#[tokio::test]
async fn an_old_data_directory_gets_its_addresses_noted() {
    let (api, dir) = bootstrapped("10.96.0.0/24").await;
    api.create(&SERVICE, at("ham", "10.96.0.9")).await.unwrap();
    api.delete(&IP_ADDRESS, &cluster("10.96.0.9"), &DeleteOptions::default()).await.unwrap();
    let stray = ip_address::of_service("10.96.0.77".parse().unwrap(), &key("gone"));
    api.create(&IP_ADDRESS, stray).await.unwrap();
    drop(api);
    let api = reopened(&dir, &["10.96.0.0/24"]).await;
    assert_eq!(addresses(&api).await, [("10.96.0.9".to_owned(), "services/default/ham".to_owned())]);
    let refused = api.create(&SERVICE, at("eggs", "10.96.0.9")).await.unwrap_err();
    assert!(refused.message.ends_with("provided IP is already allocated (by default/ham)"), "{refused}");
    api.create(&SERVICE, at("eggs", "10.96.0.77")).await.unwrap();
}
