//! The ledger on files and directories of a test: order, kills, what others changed since.

use super::*;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write_file(ledger: &Ledger, path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).ok();
    let change = Change::File { path: path.to_owned(), before, after: text.to_owned() };
    ledger.make(change, || Ok(std::fs::write(path, text)?)).unwrap();
}

#[test]
fn everything_is_taken_back_in_reverse_also_after_a_kill() {
    let (data, host) = (directory(), directory());
    let (made, old) = (host.path().join("made"), host.path().join("old"));
    std::fs::write(&old, "of the host").unwrap();
    let ledger = Ledger::open(data.path()).unwrap();
    ledger.make(Change::Directory { path: made.clone() }, || Ok(std::fs::create_dir(&made)?)).unwrap();
    write_file(&ledger, &made.join("inside"), "ours");
    write_file(&ledger, &old, "ours");
    write_file(&ledger, &old, "ours, newer");
    // Noted and never made.
    ledger.note(Change::File { path: host.path().join("never"), before: None, after: "x".into() }).unwrap();
    drop(ledger);

    let ledger = Ledger::open(data.path()).unwrap();
    assert_eq!(ledger.changes().len(), 5);
    let undone = ledger.undo_all().unwrap();
    assert_eq!((undone.count, undone.left.len(), undone.failed.len()), (4, 0, 0), "{undone:?}");
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "of the host");
    assert!(!made.exists());
    assert!(!Ledger::exists(data.path()), "a ledger without changes is no file");
}

#[test]
fn what_others_changed_since_is_left_alone_and_said() {
    let (data, host) = (directory(), directory());
    let path = host.path().join("file");
    let ledger = Ledger::open(data.path()).unwrap();
    write_file(&ledger, &path, "ours");
    std::fs::write(&path, "theirs").unwrap();
    let undone = ledger.undo_all().unwrap();
    assert_eq!(undone.count, 0);
    assert!(undone.left[0].contains("somebody else"), "{undone:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
}

#[test]
fn a_line_cut_short_counts_as_not_made_and_a_damaged_one_is_named() {
    let data = directory();
    let ledger = Ledger::open(data.path()).unwrap();
    ledger.note(Change::Directory { path: "/nonexistent/a".into() }).unwrap();
    drop(ledger);
    let path = Ledger::path(data.path());
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
    let ledger = Ledger::open(data.path()).unwrap();
    assert_eq!(ledger.changes().len(), 1);
    ledger.note(Change::Directory { path: "/nonexistent/b".into() }).unwrap();
    drop(ledger);
    assert_eq!(Ledger::open(data.path()).unwrap().changes().len(), 2, "the cut line is no part of the next one");

    std::fs::write(&path, format!("nonsense\n{whole}")).unwrap();
    let error = format!("{:#}", Ledger::open(data.path()).unwrap_err());
    assert!(error.contains("line 1") && error.contains("damaged"), "{error}");
}

#[test]
fn a_reboot_forgets_what_the_kernel_held_and_keeps_files() {
    let (data, host) = (directory(), directory());
    let path = host.path().join("file");
    let ledger = Ledger::open(data.path()).unwrap();
    write_file(&ledger, &path, "ours");
    // If this were tried, the table of another instance on this machine would be at stake: it must not be.
    ledger.note(Change::NftTable { name: "mainstay-test-none".into() }).unwrap();
    assert!(ledger.is_live());
    drop(ledger);
    let file = Ledger::path(data.path());
    let boot = Place::here().unwrap().boot;
    let text = std::fs::read_to_string(&file).unwrap().replace(&boot, "another-boot");
    std::fs::write(&file, text).unwrap();
    let ledger = Ledger::open(data.path()).unwrap();
    assert!(!ledger.is_live());
    let undone = ledger.undo_all().unwrap();
    assert_eq!((undone.count, undone.failed.len()), (1, 0), "{undone:?}");
    assert!(!path.exists());
}

#[test]
fn a_change_that_was_taken_back_is_no_more_noted() {
    let data = directory();
    let ledger = Ledger::open(data.path()).unwrap();
    let change = Change::Directory { path: "/nonexistent/a".into() };
    ledger.note(change.clone()).unwrap();
    ledger.note(change.clone()).unwrap();
    assert_eq!(ledger.changes().len(), 1, "once");
    ledger.gone(&change).unwrap();
    drop(ledger);
    assert!(Ledger::open(data.path()).unwrap().changes().is_empty());
}

#[test]
fn a_second_opener_is_refused() {
    let data = directory();
    let _held = Ledger::open(data.path()).unwrap();
    let error = Ledger::open(data.path()).unwrap_err().to_string();
    assert!(error.contains("mainstay down"), "{error}");
}

/// Runs `work` on a thread in a network namespace of its own, with two links.
fn in_new_network<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            kernel::namespace::new_net().unwrap_or_else(|error| panic!("{error}: run the tests as root"));
            let mut netlink = kernel::nl::route::Rtnetlink::open().unwrap();
            let veth = kernel::nl::route::VethSpec {
                name: "one",
                peer_name: "two",
                peer_netns: None,
                mtu: None,
                mac: None,
                peer_mac: None,
            };
            netlink.veth_create(&veth).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// The settings that a kernel without forwarding per link changes along.
fn settings() -> Vec<(String, Option<String>)> {
    let of = |link: &str| ["forwarding", "accept_ra"].map(|what| format!("net/ipv6/conf/{link}/{what}"));
    let names = ["all", "default", "lo", "one", "two"].into_iter().flat_map(of);
    names.map(|name| (name.clone(), sysctl::read(&name))).collect()
}

#[test]
fn forwarding_of_all_links_comes_back_with_that_of_each() {
    in_new_network(|| {
        sysctl::write("net/ipv6/conf/two/forwarding", "1").unwrap();
        let before = settings();
        let data = directory();
        let ledger = Ledger::open(data.path()).unwrap();
        // A kernel that knows no forwarding per link.
        let read = |name: &str| if name.ends_with("force_forwarding") { None } else { sysctl::read(name) };
        let links = ["lo", "one", "two"].map(str::to_owned);
        let uplinks = std::collections::BTreeSet::from(["one".to_owned()]);
        for change in crate::host::forwarding::plan(&read, &links, &uplinks, true) {
            ledger.apply_sysctl(change).unwrap();
        }
        let now = |name: &str| sysctl::read(&format!("net/ipv6/conf/{name}")).unwrap();
        assert_eq!((now("all/forwarding").as_str(), now("one/forwarding").as_str()), ("1", "1"));
        assert_eq!(now("one/accept_ra"), "2", "router advertisements go on being heard");
        let undone = ledger.undo_all().unwrap();
        assert!(undone.left.is_empty() && undone.failed.is_empty(), "{undone:?}");
        assert_eq!(settings(), before);
    });
}

#[test]
fn addresses_and_tables_go_and_what_is_gone_is_no_failure() {
    in_new_network(|| {
        let data = directory();
        let ledger = Ledger::open(data.path()).unwrap();
        let address = Change::Address { link: "one".into(), address: "192.0.2.1".parse().unwrap() };
        ledger.make(address, || crate::host::add_address("one", "192.0.2.1".parse().unwrap())).unwrap();
        for change in [
            Change::Address { link: "one".into(), address: "192.0.2.2".parse().unwrap() },
            Change::Address { link: "none".into(), address: "192.0.2.2".parse().unwrap() },
            Change::Route { link: "one".into(), network: "192.0.2.0".parse().unwrap(), prefix: 24, source: None },
            Change::NftTable { name: "mainstay".into() },
            Change::PodLinks,
            Change::Cgroup { path: "/sys/fs/cgroup/mainstay-test-none".into() },
        ] {
            ledger.note(change).unwrap();
        }
        let undone = ledger.undo_all().unwrap();
        assert_eq!((undone.count, undone.left.len(), undone.failed.len()), (1, 0, 0), "{undone:?}");
        let left = kernel::nl::route::Rtnetlink::open().unwrap().addresses().unwrap();
        assert!(!left.iter().any(|address| address.address.to_string() == "192.0.2.1"), "{left:?}");
    });
}

#[test]
fn what_belongs_to_others_goes_by_their_own_command() {
    let (data, host) = (directory(), directory());
    let rule = host.path().join("rule");
    let path = rule.display().to_string();
    let ledger = Ledger::open(data.path()).unwrap();
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let foreign =
        |undo: Vec<String>| Change::Foreign { what: "a rule".into(), holds: argv(&["test", "-e", &path]), undo };
    ledger.make(foreign(argv(&["rm", &path])), || Ok(std::fs::write(&rule, "")?)).unwrap();
    assert_eq!(ledger.undo_all().unwrap().count, 1);
    assert!(!rule.exists());
    let ledger = {
        drop(ledger);
        Ledger::open(data.path()).unwrap()
    };
    ledger.make(foreign(argv(&["false"])), || Ok(std::fs::write(&rule, "")?)).unwrap();
    let undone = ledger.undo_all().unwrap();
    assert!(undone.failed.len() == 1 && Ledger::exists(data.path()), "it stays noted: {undone:?}");
    std::fs::remove_file(&rule).unwrap();
    let undone = ledger.undo_all().unwrap();
    assert!(undone.failed.is_empty(), "somebody has seen to it: {undone:?}");
}
