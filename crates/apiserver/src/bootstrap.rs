//! What every cluster has from the start, and what says who holds which address: made when missing, made again when
//! somebody deletes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::kind::Kind;
use api::kinds::{self, address, ip_address, priority_class, read, service_cidr};
use api::object::{ObjectKey, Revision};
use api::status::Status;
use contract::access::{Access, DeleteOptions, Scope, WatchStep};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::clock::seconds;
use crate::object::{meta, parsed};
use crate::pipeline::Api;
use crate::write::addresses::key_of_address;

const COMPONENT: &str = "kubernetes-service-cidr-controller";

impl Api {
    /// Makes the built-in PriorityClasses, the ServiceCIDR of the configured ranges and missing IPAddresses. Returns the
    /// revision from which on they are to be kept.
    pub async fn bootstrap(&self) -> Result<Revision, Status> {
        let from = self.store().revision();
        for class in priority_class::built_in() {
            self.create_missing(&kinds::PRIORITY_CLASS, class).await?;
        }
        self.default_network().await?;
        self.repair_addresses().await?;
        Ok(from)
    }

    /// Makes again what is deleted after `from` although it must be there. Runs until the store cannot write any more.
    pub async fn keep(self, mut from: Revision) {
        let kinds: [&'static Kind; 2] = [&kinds::SERVICE_CIDR, &kinds::IP_ADDRESS];
        loop {
            if let Ok(mut steps) = self.watch(&kinds, from).await {
                while let Some(Ok(step)) = steps.next().await {
                    self.follow(step).await;
                }
            }
            // The watch fell behind what the store keeps.
            match self.bootstrap().await {
                Ok(revision) => from = revision,
                Err(status) => return tracing::warn!(%status, "what every cluster has could not be made"),
            }
        }
    }

    async fn follow(&self, step: WatchStep) {
        let WatchStep::Delete(_, object) = step else { return };
        if let Err(status) = self.restore(&object.key).await {
            tracing::debug!(key = %object.key, %status, "what was deleted could not be made again");
        }
    }

    async fn restore(&self, key: &ObjectKey) -> Result<(), Status> {
        if &*key.name == service_cidr::DEFAULT {
            return self.default_network().await;
        }
        let Some(address) = address::parse_ip(&key.name) else { return Ok(()) };
        let service = self.inner.taken().service(address).cloned();
        match service {
            Some(service) => self.create_missing(&kinds::IP_ADDRESS, ip_address::of_service(address, &service)).await,
            None => Ok(()),
        }
    }

    async fn create_missing(&self, kind: &'static Kind, object: Value) -> Result<(), Status> {
        match self.create(kind, object).await {
            Err(status) if status.reason != "AlreadyExists" => Err(status),
            _ => Ok(()),
        }
    }

    /// The ServiceCIDR of the configured ranges: made if missing, given a second family, otherwise left as it is.
    async fn default_network(&self) -> Result<(), Status> {
        let kind = &kinds::SERVICE_CIDR;
        let wanted: Vec<String> = self.inner.config.ranges.service.iter().map(ToString::to_string).collect();
        let key = ObjectKey::new("", service_cidr::DEFAULT);
        let stored = match self.read(kind, &key) {
            Ok(stored) => parsed(&stored.json)?,
            Err(status) if status.code == 404 => {
                let object = json!({ "metadata": { "name": service_cidr::DEFAULT }, "spec": { "cidrs": wanted } });
                return self.create_missing(kind, object).await;
            }
            Err(status) => return Err(status),
        };
        let has = read::texts(&stored, "/spec/cidrs");
        if has == wanted {
            return Ok(());
        }
        if has.len() == 1 && wanted.len() == 2 && has[0] == wanted[0] {
            let mut grown = stored.clone();
            read::put(&mut grown, "/spec/cidrs", wanted);
            return self.update(kind, grown).await.map(|_| ());
        }
        let why = format!(
            "The default ServiceCIDR [{}] does not match the controller flag configurations [{}]",
            has.join(" "),
            wanted.join(" ")
        );
        tracing::warn!("{why}; Services get addresses from the ServiceCIDR");
        self.event(&stored, "KubernetesDefaultServiceCIDRInconsistent", &why).await
    }

    /// Tells of a network by an Event in `default`, where those of cluster-scoped objects live.
    async fn event(&self, network: &Value, reason: &str, message: &str) -> Result<(), Status> {
        let now = seconds(self.inner.config.clock.now());
        // One name, so that every start finds the Event of the first one.
        let name = format!("{}.{}", meta(network, "name"), reason.to_lowercase());
        let event = json!({
            "metadata": { "name": name, "namespace": "default" },
            "involvedObject": {
                "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "name": meta(network, "name"),
                "uid": meta(network, "uid"),
            },
            "type": "Warning", "reason": reason, "message": message, "source": { "component": COMPONENT },
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        self.create_missing(&kinds::EVENT, event).await
    }

    /// Makes the IPAddresses those that Services hold: a data directory may be older than IPAddresses are.
    async fn repair_addresses(&self) -> Result<(), Status> {
        let stored = self.list(&kinds::IP_ADDRESS, &Scope::default()).await?.items;
        let known: BTreeSet<&ObjectKey> = stored.iter().map(|object| &object.key).collect();
        let held: BTreeMap<ObjectKey, (IpAddr, ObjectKey)> = {
            let taken = self.inner.taken();
            taken.held().map(|(address, service)| (key_of_address(address), (address, service.clone()))).collect()
        };
        for (_, (address, service)) in held.iter().filter(|(key, _)| !known.contains(key)) {
            self.create_missing(&kinds::IP_ADDRESS, ip_address::of_service(*address, service)).await?;
        }
        for stored in stored.iter().filter(|object| !held.contains_key(&object.key)) {
            let object = parsed(&stored.json)?;
            if ip_address::is_managed(&object) {
                let options = DeleteOptions { uid: Some(meta(&object, "uid").to_owned()), ..DeleteOptions::default() };
                match self.delete(&kinds::IP_ADDRESS, &stored.key, &options).await {
                    Err(status) if status.code != 404 && status.code != 409 => return Err(status),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
