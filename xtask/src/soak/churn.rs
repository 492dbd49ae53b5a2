//! A number in, the change of the cluster with that number made: the same ones in every run, bounded in what exists.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::http::Client;

/// Services that exist at once; beyond it the oldest goes.
const SERVICES_MAX: usize = 200;
/// Replicas of the Deployment at rest.
const REPLICAS: u64 = 3;
const NAMESPACE: &str = "default";

/// Makes changes and remembers what they left.
#[derive(Debug, Default)]
pub(super) struct Churn {
    number: u64,
    services: VecDeque<u64>,
    /// Changes by kind, in words.
    pub(super) made: std::collections::BTreeMap<&'static str, u64>,
}

impl Churn {
    /// What is there at rest: a Deployment of echo pods and its Service.
    pub(super) fn rest(client: &mut Client) -> Result<()> {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "echo", "image": "mainstay/echo", "ports": [{"containerPort": 8080}]}]},
            }},
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "soak"}, "data": {}});
        for (path, object) in [(deployments(), deployment), (core("services"), service), (core("configmaps"), map)] {
            expect(client, "POST", &path, Some(&object), &[201])?;
        }
        Ok(())
    }

    /// Makes the next change.
    pub(super) fn next(&mut self, client: &mut Client) -> Result<()> {
        self.number += 1;
        let number = self.number;
        let kind = match number % 10 {
            0 if number.is_multiple_of(250) => self.roll(client)?,
            0 | 1 => self.add(client)?,
            2 => self.remove_oldest(client)?,
            3 => watch(client)?,
            4 if number.is_multiple_of(20) => scale(client, REPLICAS + number / 20 % 3)?,
            4 => map(client, number)?,
            5 => self.patch_service(client)?,
            _ => self.patch_slice(client)?,
        };
        *self.made.entry(kind).or_default() += 1;
        Ok(())
    }

    /// Takes back everything that changes left, so that only what leaked differs from before.
    pub(super) fn settle(&mut self, client: &mut Client) -> Result<()> {
        while !self.services.is_empty() {
            self.remove(client)?;
        }
        scale(client, REPLICAS)?;
        Ok(())
    }

    /// Whether the Deployment is complete and no pod more is left.
    pub(super) fn settled(client: &mut Client) -> Result<bool> {
        let (_, pods) = client.send("GET", &core("pods?labelSelector=app%3Dweb"), None)?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        Ok(pods.len() as u64 == REPLICAS && pods.iter().filter(ready).count() as u64 == REPLICAS)
    }

    fn add(&mut self, client: &mut Client) -> Result<&'static str> {
        let number = self.number;
        if self.services.len() >= SERVICES_MAX {
            self.remove(client)?;
        }
        let kind = if number.is_multiple_of(20) { "NodePort" } else { "ClusterIP" };
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name(number)},
            "spec": {"type": kind, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        expect(client, "POST", &core("services"), Some(&service), &[201])?;
        expect(client, "POST", &slices(), Some(&slice(number, 0)), &[201])?;
        self.services.push_back(number);
        Ok("service added")
    }

    fn remove_oldest(&mut self, client: &mut Client) -> Result<&'static str> {
        if self.services.len() > SERVICES_MAX / 2 {
            self.remove(client)?;
            return Ok("service removed");
        }
        self.patch_slice(client)
    }

    fn remove(&mut self, client: &mut Client) -> Result<()> {
        let Some(number) = self.services.pop_front() else { return Ok(()) };
        expect(client, "DELETE", &format!("{}/{}", slices(), name(number)), None, &[200])?;
        expect(client, "DELETE", &core(&format!("services/{}", name(number))), None, &[200])
    }

    fn patch_service(&self, client: &mut Client) -> Result<&'static str> {
        let Some(number) = self.services.back() else { return map(client, self.number) };
        let patch = json!({"metadata": {"annotations": {"soak": self.number.to_string()}}});
        expect(client, "PATCH", &core(&format!("services/{}", name(*number))), Some(&patch), &[200])?;
        Ok("service patched")
    }

    fn patch_slice(&self, client: &mut Client) -> Result<&'static str> {
        let at = (self.number as usize).wrapping_mul(7) % self.services.len().max(1);
        let Some(number) = self.services.get(at) else { return map(client, self.number) };
        let patch = json!({"endpoints": slice(*number, self.number)["endpoints"]});
        expect(client, "PATCH", &format!("{}/{}", slices(), name(*number)), Some(&patch), &[200])?;
        Ok("slice changed")
    }

    /// A rolling restart: every pod is replaced.
    fn roll(&self, client: &mut Client) -> Result<&'static str> {
        let stamp = json!({"soak": self.number.to_string()});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": stamp}}}});
        expect(client, "PATCH", &format!("{}/web", deployments()), Some(&patch), &[200])?;
        Ok("rolling restart")
    }
}

fn map(client: &mut Client, number: u64) -> Result<&'static str> {
    let patch = json!({"data": {"number": number.to_string()}});
    expect(client, "PATCH", &core("configmaps/soak"), Some(&patch), &[200])?;
    Ok("config map patched")
}

fn scale(client: &mut Client, replicas: u64) -> Result<&'static str> {
    let patch = json!({"spec": {"replicas": replicas}});
    expect(client, "PATCH", &format!("{}/web/scale", deployments()), Some(&patch), &[200])?;
    Ok("scaled")
}

/// A watch that ends at once: what it holds must go with it.
fn watch(client: &mut Client) -> Result<&'static str> {
    let path = core("services?watch=true&timeoutSeconds=1&resourceVersion=0&labelSelector=soak%3Dnone");
    let mut own = Client::connect(client.address())?;
    std::thread::spawn(move || own.send("GET", &path, None).map(drop));
    Ok("watch")
}

fn expect(client: &mut Client, method: &str, path: &str, body: Option<&Value>, codes: &[u16]) -> Result<()> {
    let (code, answer) = client.send(method, path, body)?;
    if !codes.contains(&code) {
        bail!("{method} {path} was answered {code}: {}", answer["message"]);
    }
    Ok(())
}

fn name(number: u64) -> String {
    format!("soak-{number}")
}

fn core(rest: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{rest}")
}

fn deployments() -> String {
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
}

fn slices() -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices")
}

/// A slice of four endpoints whose addresses depend on `turn`.
fn slice(number: u64, turn: u64) -> Value {
    let address = |index: u64| format!("10.200.{}.{}", (number + turn) % 250, (index + turn) % 250 + 1);
    let endpoint = |index| json!({"addresses": [address(index)], "conditions": {"ready": true}});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name(number), "labels": {"kubernetes.io/service-name": name(number)}},
        "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": (0..4).map(endpoint).collect::<Vec<_>>(),
    })
}
