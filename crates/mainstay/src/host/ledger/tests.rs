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
    let undone = Ledger::open_to_undo(data.path()).unwrap().undo_all().unwrap();
    assert!(undone.failed.len() == 1 && undone.failed[0].contains("line 1"), "the rest is taken back: {undone:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "nonsense\n", "and what nobody understands stays");
}

#[test]
fn a_note_that_does_not_fit_is_cut_off_again() {
    let data = directory();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            kernel::namespace::new_mount().unwrap_or_else(|error| panic!("{error}: run the tests as root"));
            kernel::mount::make_private().unwrap();
            std::fs::create_dir(data.path().join("host")).unwrap();
            kernel::mount::tmpfs(&data.path().join("host"), "0700", 8192).unwrap();
            let filler = data.path().join("host/filler");
            std::fs::write(&filler, [0; 4096]).unwrap();
            let ledger = Ledger::open(data.path()).unwrap();
            let name = "x".repeat(1000);
            let noted = |number: usize| ledger.note(Change::Directory { path: format!("/none/{number}{name}").into() });
            let fitted = (0..100).take_while(|number| noted(*number).is_ok()).count();
            assert!((1..100).contains(&fitted), "{fitted} fit");
            let error = format!("{:#}", noted(fitted).unwrap_err());
            assert!(error.contains("Make room"), "{error}");
            std::fs::remove_file(filler).unwrap();
            noted(fitted).unwrap();
            drop(ledger);
            assert_eq!(Ledger::open(data.path()).unwrap().changes().len(), fitted + 1, "no half line is between them");
        });
        thread.join().unwrap();
    });
}

#[test]
fn what_is_taken_back_is_not_made_again_by_others_meanwhile() {
    let (data, host) = (directory(), directory());
    let path = |name: &str| host.path().join(name);
    let (rule, reached, go) = (path("rule"), path("reached"), path("go"));
    let argv = |line: String| vec!["sh".to_owned(), "-c".to_owned(), line];
    // Its way back takes until somebody says so.
    let change = Change::Foreign {
        what: "a rule".into(),
        holds: argv(format!("test -e {}", rule.display())),
        undo: argv(format!(
            "rm {}; touch {}; while ! [ -e {} ]; do sleep 0.01; done",
            rule.display(),
            reached.display(),
            go.display()
        )),
    };
    let ledger = Ledger::open(data.path()).unwrap();
    let make = || Ok(std::fs::write(&rule, "")?);
    ledger.make(change.clone(), make).unwrap();
    std::thread::scope(|scope| {
        let undone = scope.spawn(|| ledger.undo_all().unwrap());
        while !reached.exists() {
            std::thread::yield_now();
        }
        // A guard sees the rule gone, and mends.
        assert!(ledger.is_closed());
        let again = scope.spawn(|| ledger.make(change.clone(), make));
        let other = Change::Directory { path: path("other") };
        assert!(ledger.note(other).unwrap_err().to_string().contains("taken back"));
        std::fs::write(&go, "").unwrap();
        assert!(again.join().unwrap().is_err());
        assert!(undone.join().unwrap().failed.is_empty());
    });
    assert!(ledger.make(change, make).is_err(), "not later either");
    assert!(!rule.exists() && !Ledger::exists(data.path()));
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

const ALL6: &str = "net/ipv6/conf/all/forwarding";

/// What a kernel that knows no forwarding per link needs.
fn forwarding_of_all_links() -> Change {
    let read = |name: &str| if name.ends_with("force_forwarding") { None } else { sysctl::read(name) };
    let links = ["lo", "one", "two"].map(str::to_owned);
    let uplinks = std::collections::BTreeSet::from(["one".to_owned()]);
    let mut planned = crate::host::forwarding::plan(&read, &links, &uplinks, true);
    planned.retain(|change| matches!(change, Change::Sysctl { name, .. } if name == ALL6));
    planned.pop().expect("it is off")
}

#[test]
fn forwarding_of_all_links_leaves_that_of_each_alone() {
    in_new_network(|| {
        sysctl::write("net/ipv6/conf/two/forwarding", "1").unwrap();
        let before = settings();
        let data = directory();
        let ledger = Ledger::open(data.path()).unwrap();
        ledger.apply_sysctl(forwarding_of_all_links()).unwrap();
        let changed = settings().into_iter().filter(|now| !before.contains(now)).collect::<Vec<_>>();
        assert_eq!(
            changed,
            [(ALL6.to_owned(), Some("1".to_owned()))],
            "links go on listening to routers, later ones too"
        );
        // Somebody turns it on for one link: that stays his.
        sysctl::write("net/ipv6/conf/one/forwarding", "1").unwrap();
        let undone = ledger.undo_all().unwrap();
        assert!(undone.left.is_empty() && undone.failed.is_empty(), "{undone:?}");
        assert_eq!(sysctl::read("net/ipv6/conf/one/forwarding").as_deref(), Some("1"));
        sysctl::write("net/ipv6/conf/one/forwarding", "0").unwrap();
        assert_eq!(settings(), before);
    });
}

#[test]
fn forwarding_that_somebody_else_turned_on_meanwhile_stays_on() {
    in_new_network(|| {
        let data = directory();
        let ledger = Ledger::open(data.path()).unwrap();
        ledger.apply_sysctl(forwarding_of_all_links()).unwrap();
        sysctl::write(ALL6, "1").unwrap();
        let undone = ledger.undo_all().unwrap();
        assert!(undone.left[0].contains("somebody else relies on it"), "{undone:?}");
        assert_eq!(sysctl::read(ALL6).as_deref(), Some("1"));
    });
}

#[test]
fn forwarding_cut_short_by_a_kill_is_our_own_doing() {
    in_new_network(|| {
        let before = settings();
        let data = directory();
        let killed = || {
            let ledger = Ledger::open(data.path()).unwrap();
            let mut begun = forwarding_of_all_links();
            if let Change::Sysctl { only_if, .. } = &mut begun {
                only_if.clear();
            }
            ledger.note(begun).unwrap();
            // Killed here: the kernel has moved every link along.
            sysctl::write("net/ipv6/conf/one/accept_ra", "2").unwrap();
            sysctl::write(ALL6, "1").unwrap();
        };
        killed();
        let undone = Ledger::open(data.path()).unwrap().undo_all().unwrap();
        assert!(undone.left.is_empty() && undone.failed.is_empty(), "{undone:?}");
        assert_eq!(settings(), before);
        // The next start goes on with it.
        killed();
        let ledger = Ledger::open(data.path()).unwrap();
        ledger.finish_sysctls().unwrap();
        let changed = settings().into_iter().filter(|now| !before.contains(now)).collect::<Vec<_>>();
        assert_eq!(changed, [(ALL6.to_owned(), Some("1".to_owned()))]);
        sysctl::write(ALL6, "1").unwrap();
        assert_eq!(ledger.undo_all().unwrap().left.len(), 1, "somebody else relies on it by now");
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
