//! A Service before and after a write in; the IPAddresses that say which addresses it holds out, in the same transaction.
//! With the last address that needs it, a ServiceCIDR whose deletion waits goes too.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::kinds::{self, address, ip_address, read, service_cidr};
use api::object::ObjectKey;
use api::status::Status;
use compile::allocate::{Cidr, cidrs, held_addresses, may_go};
use serde_json::Value;

use super::{Draft, finish, update};
use crate::clock::seconds;
use crate::object::{deleting, finalizers, key_of, meta_mut, parsed, set};

/// Key of the IPAddress of an address.
pub(crate) fn key_of_address(address: IpAddr) -> ObjectKey {
    ObjectKey::new("", address.to_string())
}

impl Draft<'_, '_> {
    /// Makes the IPAddresses of a Service those of `new`. A dry run takes nothing.
    pub(super) fn move_addresses(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let held = |service: Option<&Value>| service.map_or_else(Vec::new, held_addresses);
        let (before, after) = (held(old), held(new));
        if self.dry_run || before == after {
            return;
        }
        for address in before.iter().filter(|address| !after.contains(address)) {
            if let Some(service) = old {
                self.free_address(*address, &key_of(service));
            }
        }
        for address in after.iter().filter(|address| !before.contains(address)) {
            if let Some(service) = new {
                self.note_address(*address, &key_of(service));
            }
        }
        self.settle_networks();
    }

    /// Stores the IPAddress of a Service's address, unless there is one.
    pub(crate) fn note_address(&mut self, address: IpAddr, service: &ObjectKey) {
        let (kind, key) = (&kinds::IP_ADDRESS, key_of_address(address));
        if self.record(kind, &key).is_some() {
            return;
        }
        let mut object = ip_address::of_service(address, service);
        let metadata = meta_mut(&mut object);
        metadata.insert("uid".into(), self.api.config.ids.uid().into());
        metadata.insert("creationTimestamp".into(), seconds(self.now).into());
        self.put_unbooked(kind, &key, object, None);
    }

    /// Removes the IPAddress of an address, if it says that the Service has it.
    pub(crate) fn free_address(&mut self, address: IpAddr, service: &ObjectKey) {
        let (kind, key) = (&kinds::IP_ADDRESS, key_of_address(address));
        let Some(Ok(old)) = self.record(kind, &key).map(|record| parsed(&record.body.bytes())) else { return };
        if ip_address::service(&old).as_ref() == Some(service) {
            self.remove_unbooked(kind, &key, old.clone(), &old);
        }
    }

    /// Lets go of ServiceCIDRs whose deletion waits for nothing any more.
    pub(super) fn settle_networks(&mut self) {
        let kind = &kinds::SERVICE_CIDR;
        // Nothing waits nearly always, and then nothing is read.
        if self.dry_run || !self.api.taken().any_network_waits() {
            return;
        }
        for record in self.scan(kind) {
            let Ok(old) = parsed(&record.body.bytes()) else { continue };
            let mut new = old.clone();
            if deleting(&old) && self.settle_network(&mut new).is_ok() && new != old {
                update::store(self, kind, &record, &old, new);
            }
        }
    }

    /// Takes the finalizer off a ServiceCIDR that is being deleted if it may go; otherwise says why it waits.
    pub(super) fn settle_network(&self, object: &mut Value) -> Result<(), Status> {
        let old = object.clone();
        if self.network_may_go(object)? {
            let mut kept: Vec<String> = finalizers(object).into_iter().map(str::to_owned).collect();
            kept.retain(|name| name != service_cidr::FINALIZER);
            set(meta_mut(object), "finalizers", (!kept.is_empty()).then(|| kept.into()));
        } else {
            service_cidr::set_ready(object, service_cidr::Ready::Terminating);
            finish::times(self.now, object, Some(&old));
        }
        Ok(())
    }

    fn network_may_go(&self, object: &Value) -> Result<bool, Status> {
        let key = key_of(object);
        let mut others: Vec<Cidr> = Vec::new();
        for record in self.scan(&kinds::SERVICE_CIDR).iter().filter(|record| record.key != key) {
            let other = parsed(&record.body.bytes())?;
            if service_cidr::is_ready(&other) {
                others.extend(cidrs(&other));
            }
        }
        let own = cidrs(object);
        let mut held = BTreeSet::new();
        for record in self.scan(&kinds::IP_ADDRESS) {
            let Some(address) = address::parse_ip(&record.key.name) else { continue };
            if own.iter().any(|cidr| cidr.contains(address)) && ip_address::is_managed(&parsed(&record.body.bytes())?) {
                held.insert(address);
            }
        }
        Ok(may_go(object, &others, held))
    }
}

/// Whether two versions of a ServiceCIDR are about the same networks and equally ready.
pub(super) fn same_network(one: &Value, other: &Value) -> bool {
    read::same(one, other, "/spec/cidrs") && service_cidr::is_ready(one) == service_cidr::is_ready(other)
}
