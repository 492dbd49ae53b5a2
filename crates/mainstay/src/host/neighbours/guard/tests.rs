//! The guard beside others, in network namespaces of their own: what failed is tried again.

use std::sync::Mutex;

use kernel::nl::batch::Batch;
use kernel::nl::nftables::{self, Hook};

use super::*;

/// What a guard said.
#[derive(Default)]
struct Heard {
    told: Mutex<Vec<Option<String>>>,
}

fn in_new_network(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            kernel::namespace::new_net().unwrap_or_else(|error| panic!("{error}: run the tests as root"));
            work();
        });
        thread.join().unwrap();
    });
}

fn guard(data: &tempfile::TempDir, problem: Option<&str>) -> (Guard, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let told = heard.clone();
    let ours = Ours {
        pods: vec!["10.244.0.0/16".parse().unwrap()],
        services: vec!["10.96.0.0/16".parse().unwrap()],
        dns: vec!["10.96.0.10".parse().unwrap()],
        node: vec!["10.244.0.1".parse().unwrap()],
        domain: "cluster.local".into(),
        own_table: true,
    };
    let guard = Guard {
        ours,
        ledger: Arc::new(Ledger::open(data.path()).unwrap()),
        fix: false,
        problem: problem.map(str::to_owned),
        tell: Box::new(move |problem| told.told.lock().unwrap().push(problem)),
    };
    (guard, heard)
}

fn commit(fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    fill(&mut batch);
    batch.commit(&mut Socket::open(Protocol::Netfilter).unwrap(), "change a table of the test").unwrap();
}

#[test]
fn a_problem_is_tried_again_until_it_is_gone() {
    in_new_network(|| {
        let lo = kernel::nl::route::Rtnetlink::open().and_then(|mut netlink| {
            let index = netlink.link_index("lo")?;
            netlink.link_set_up(index, true)
        });
        lo.unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut cost = Duration::ZERO;
        commit(|batch| {
            nftables::new_table(batch, "theirs", None);
            nftables::new_chain(batch, "theirs", "in", Some(Hook { kind: "filter", number: 1, priority: 0 }));
            nftables::new_rule(batch, "theirs", "in", |w| {
                w.nest(1, |w| {
                    w.string(1, "immediate");
                    w.nest(2, |w| {
                        w.be32(1, 0);
                        w.nest(2, |w| nftables::write_verdict(w, 0, ""));
                    });
                });
            });
        });
        let (guard, heard) = guard(&data, Some("said at the start"));
        let last = |heard: &Heard| heard.told.lock().unwrap().last().cloned();
        let mut seen = guard.look(None, &mut cost).unwrap();
        assert_eq!(last(&heard), None, "not at once");
        let due = |seen: &mut Seen| seen.retry.as_mut().expect("it is to be tried again").at = Instant::now();
        due(&mut seen);
        let mut seen = guard.look(Some(&seen), &mut cost).unwrap();
        let told = last(&heard).flatten().expect("the problem is still there");
        assert!(told.contains("theirs"), "{told}");
        let pause = seen.retry.as_ref().map(|retry| retry.pause);
        assert_eq!(pause, Some(RETRY * 2), "less and less often");
        // Somebody mends it in a way that no number shows: here, by what the test pretends to have seen.
        commit(|batch| nftables::delete_table(batch, "theirs"));
        let mut socket = Socket::open(Protocol::Netfilter).unwrap();
        (seen.generation, seen.others) =
            (rulesets::generation(&mut socket).unwrap(), others(&mut socket, &mut cost).unwrap());
        due(&mut seen);
        let seen = guard.look(Some(&seen), &mut cost).unwrap();
        assert_eq!(last(&heard), Some(None), "all is open");
        assert!(seen.retry.is_none());
    });
}

#[test]
fn reading_takes_a_small_share_of_the_time() {
    let pause = |ms| pause(Duration::from_millis(ms)).as_millis();
    assert_eq!([pause(0), pause(10), pause(60), pause(5_000)], [250, 250, 600, 10_000]);
}
