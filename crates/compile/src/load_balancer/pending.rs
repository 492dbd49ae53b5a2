//! A Service in, why it has no load-balancer address out: the answer for those who ask, and who never change anything.

use std::collections::BTreeMap;

use super::choose::{Known, choose};
use super::{Pools, Problem, is_ours};
use crate::diagnose::Pending;
use crate::snapshot::{Service, ServiceType, Snapshot};

/// Why the Service, which need not be in the snapshot, lacks an address; none if it has all that it can have, or will.
pub fn missing(service: &Service, snapshot: &Snapshot, pools: &Pools) -> Option<Problem> {
    if service.service_type != ServiceType::LoadBalancer {
        return None;
    }
    if !is_ours(service, pools) {
        // Whoever serves that class gives the address.
        let served = service.load_balancer.ingress.is_empty();
        return service.load_balancer.class.clone().filter(|_| served).map(Problem::OtherClass);
    }
    let (promised, leaving) = (BTreeMap::new(), BTreeMap::new());
    choose(service, &Known { snapshot, pools, promised: &promised, leaving: &leaving }).problem
}

impl From<Problem> for Pending {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::NoPool => Self::NoPool,
            Problem::Exhausted { .. } => Self::Empty,
            Problem::OtherClass(class) => Self::OtherClass(class.into()),
            Problem::NoFamily(_) => Self::WrongFamily,
            other => Self::Reported(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use api::object::{ObjectKey, Revision};
    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::Builder;

    #[test]
    fn who_asks_hears_what_the_desk_would_say() {
        let cases: [(&[&str], Value, Option<&str>); 7] = [
            (&[], json!({}), Some("NoPool")),
            (&["10.99.0.1"], json!({}), None),
            (&["fd00::7"], json!({}), Some("WrongFamily")),
            (&["10.99.0.1"], json!({ "loadBalancerIP": "1.1.1.1" }), Some("1.1.1.1 is in no pool")),
            (&["10.99.0.1"], json!({ "loadBalancerClass": "e.com/lb" }), Some("OtherClass")),
            (&[], json!({ "type": "NodePort" }), None),
            (&["10.99.0.1"], json!({ "other": true }), Some("Empty")),
        ];
        for (pools, more, expected) in cases {
            let mut builder = Builder::default();
            let mut spec = json!({ "type": "LoadBalancer", "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"] });
            for (field, value) in more.as_object().unwrap() {
                spec[field] = value.clone();
            }
            let mut put = |name: &str, status: Value| {
                let object = json!({ "metadata": {}, "spec": spec, "status": status }).to_string();
                builder.put("services", &ObjectKey::new("ns", name), Revision(1), object.as_bytes()).unwrap();
            };
            put("web", json!({}));
            if more["other"] == true {
                put("other", json!({ "loadBalancer": { "ingress": [{ "ip": "10.99.0.1" }] } }));
            }
            let (snapshot, pools) = (builder.publish(Revision(1)).0, Pools::parse(pools).unwrap());
            let service = snapshot.services.get(&ObjectKey::new("ns", "web")).unwrap();
            let found = missing(service, &snapshot, &pools).map(Pending::from);
            let text = found.as_ref().map(|pending| format!("{pending:?}"));
            assert_eq!(text.is_some(), expected.is_some(), "{more}: {text:?}");
            assert!(text.unwrap_or_default().contains(expected.unwrap_or_default()), "{more}: {found:?}");
        }
    }
}
