//! The crash harness in the share that fits into every test run; `cargo xtask crash` plays as many rounds as one likes.

use mainstay_tests::crash::{Flaw, run};

#[test]
fn what_was_acknowledged_survives_every_fault_and_nothing_else_appears() {
    let report = run(300, 4, Flaw::None).unwrap_or_else(|why| panic!("{why}"));
    println!("{report}");
    // The harness must have met what it is for.
    for met in [
        "while writing: PowerCut",
        "while writing: SyncFails",
        "while writing: Full",
        "while writing: ShortWrite",
        "while opening: PowerCut",
        "full disks healed while running",
        "rounds that ended with writes under way",
        "closed in peace",
        "bit rot: refused",
    ] {
        assert!(report.count(met) > 3, "{met}: {}\n{report}", report.count(met));
    }
    // This needs two threads to meet: ten times in a run like this one.
    assert!(report.count("closures that a heal overtook") > 0, "{report}");
}

/// The same check must fail for a log that believes its cache after a failed sync; otherwise it proves nothing.
#[test]
fn the_harness_catches_a_log_that_trusts_the_cache_after_a_failed_sync() {
    let caught = (0..20).any(|seed| run(90, seed, Flaw::TrustsTheCache).is_err());
    assert!(caught, "1800 rounds and nothing was lost");
}

#[test]
fn the_harness_catches_a_log_that_does_not_sync() {
    let why = run(30, 1, Flaw::DoesNotSync).expect_err("30 rounds and nothing was lost");
    assert!(why.contains("acknowledged") || why.contains("does not open"), "{why}");
}
