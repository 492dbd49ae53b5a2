//! Weights, slow starts and rings over time: how many slots each endpoint has, and what a restart makes of it.

use std::time::Duration;

use super::*;

/// A Service with annotations; endpoints as in [`Rig::endpoints`].
fn service(rig: &mut Rig, name: &str, address: &str, annotations: &Json) {
    rig.put("services", name, &json!({ "metadata": { "annotations": annotations }, "spec": cluster_ip(address) }));
}

/// Slots by the last byte of the endpoint's address.
fn shares(rig: &Rig, address: [u8; 4]) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for endpoint in rig.behind(SetName::Front4, &front(address, 80)) {
        *shares.entry(endpoint.rsplit('.').next().unwrap().to_owned()).or_default() += 1;
    }
    shares
}

fn expected(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Lets time pass until `seconds`; only what is due is compiled.
fn at(rig: &mut Rig, seconds: u64) -> usize {
    rig.programmer.set_now(Duration::from_secs(seconds));
    rig.step().keys_compiled
}

const WEB: [u8; 4] = [10, 96, 0, 1];

#[test]
fn an_endpoint_that_becomes_ready_gets_its_share_in_steps() {
    let mut rig = Rig::new(usize::MAX);
    service(&mut rig, "web", "10.96.0.1", &json!({ "mainstay.dev/slow-start": "30s" }));
    rig.endpoints("web", "TCP", &["10.244.0.1", "10.244.0.2"]);
    rig.step();
    assert_eq!(shares(&rig, WEB), expected(&[("1", 1), ("2", 1)]), "what was there first is not new");
    assert_eq!(rig.programmer.next_step(), None);
    at(&mut rig, 100);
    rig.endpoints("web", "TCP", &["10.244.0.1", "10.244.0.2", "10.244.0.3"]);
    rig.step();
    assert_eq!(shares(&rig, WEB), expected(&[("1", 10), ("2", 10), ("3", 1)]));
    assert!(rig.programmer.next_step() > Some(Duration::from_secs(103)));
    assert_eq!(at(&mut rig, 102), 0, "nothing is due");
    assert_eq!(at(&mut rig, 104), 1);
    assert_eq!(shares(&rig, WEB), expected(&[("1", 5), ("2", 5), ("3", 1)]), "two tenths");
    // After an error the kernel is read again, and the start goes on where it was.
    rig.programmer.adopt(rig.kernel.clone());
    assert_eq!(at(&mut rig, 115), 1);
    assert_eq!(shares(&rig, WEB), expected(&[("1", 2), ("2", 2), ("3", 1)]), "five tenths");
    // A second one comes, the first one leaves in the middle of its start.
    rig.endpoints("web", "TCP", &["10.244.0.1", "10.244.0.2", "10.244.0.4"]);
    rig.step();
    assert_eq!(shares(&rig, WEB), expected(&[("1", 10), ("2", 10), ("4", 1)]), "who leaves, leaves at once");
    assert_eq!(at(&mut rig, 146), 1);
    assert_eq!(shares(&rig, WEB), expected(&[("1", 1), ("2", 1), ("4", 1)]));
    assert_eq!(rig.programmer.next_step(), None);
    assert_eq!(at(&mut rig, 500), 0);
}

#[test]
fn a_restart_starts_no_old_endpoint_slowly() {
    let mut rig = Rig::new(usize::MAX);
    service(&mut rig, "web", "10.96.0.1", &json!({ "mainstay.dev/slow-start": "30s" }));
    rig.endpoints("web", "TCP", &["10.244.0.1"]);
    rig.step();
    rig.endpoints("web", "TCP", &["10.244.0.1", "10.244.0.2"]);
    rig.step();
    assert_eq!(shares(&rig, WEB), expected(&[("1", 10), ("2", 1)]));
    rig.restart();
    rig.endpoints("web", "TCP", &["10.244.0.1", "10.244.0.2", "10.244.0.3"]);
    rig.step();
    assert_eq!(shares(&rig, WEB), expected(&[("1", 1), ("2", 1), ("3", 1)]), "nobody knows how old they are");
    rig.restart();
    assert_eq!(rig.step().batches.len(), 0, "nothing changed");
    rig.endpoints("web", "TCP", &["10.244.0.1", "10.244.0.4"]);
    rig.step();
    assert_eq!(shares(&rig, WEB), expected(&[("1", 10), ("4", 1)]), "what comes now is new");
    service(&mut rig, "web", "10.96.0.1", &json!({}));
    rig.step();
    assert_eq!(shares(&rig, WEB), expected(&[("1", 1), ("4", 1)]), "without the annotation there is no slow start");
    assert_eq!(rig.programmer.next_step(), None);
}

#[test]
fn rings_are_kept_over_a_restart_and_run_out_with_a_word() {
    let mut rig = Rig::new(usize::MAX);
    // One more than there are lanes for rings of four.
    for number in 0..=32 {
        let (name, turns) = (format!("s{number:03}"), json!({ "mainstay.dev/balance": "round-robin" }));
        service(&mut rig, &name, &format!("10.96.1.{number}"), &turns);
        rig.endpoints(&name, "TCP", &["10.244.0.1", "10.244.0.2", "10.244.0.3"]);
    }
    for batch in rig.plan().batches {
        rig.apply(&batch);
    }
    assert_eq!(rig.kernel[&SetName::Special].len(), 32);
    let codes: BTreeSet<u32> =
        rig.kernel[&SetName::Special].values().map(|code| words::word(code).unwrap() & 0x7ff).collect();
    assert_eq!(codes.len(), 32, "each has a lane of its own");
    let problems = rig.problems();
    assert!(problems.len() == 1 && problems[0].starts_with("ns/s032: annotation mainstay.dev/balance"), "{problems:?}");
    rig.restart();
    assert_eq!(rig.plan().batches.len(), 0, "nothing changed");
    // A lane that is given up serves who had none, once that one is compiled again.
    rig.delete("services", "s000");
    for batch in rig.plan().batches {
        rig.apply(&batch);
    }
    rig.endpoints("s032", "TCP", &["10.244.0.1", "10.244.0.2"]);
    for batch in rig.plan().batches {
        rig.apply(&batch);
    }
    assert_eq!(rig.problems(), [""; 0]);
    assert_eq!(rig.kernel[&SetName::Special].len(), 32);
}
