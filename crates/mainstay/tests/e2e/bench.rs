//! The measurements in small: each ends, leaves nothing, and its figures are of what it says.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::account;
use crate::sandbox::text;

/// Figures of `mainstay bench ARGUMENTS --json`.
fn figures(arguments: &str) -> Value {
    let output = Command::new(account::program())
        .arg("bench")
        .args(arguments.split(' '))
        .arg("--json")
        .stdin(Stdio::null())
        .output()
        .expect("mainstay runs");
    assert!(output.status.success(), "bench {arguments}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

fn number(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("no {name} in {figures}"))
}

#[test]
fn churn_counts_what_it_changed_and_who_worked() {
    for limit in ["", " --batch-bytes 425984"] {
        let figures = figures(&format!("churn --services 20 --endpoints 3 --rate 200 --seconds 1 --period 50{limit}"));
        let changes = number(&figures, "changes");
        assert!((1.0..=400.0).contains(&changes), "{figures}");
        assert!(number(&figures, "lag_p99_us") >= number(&figures, "lag_p50_us"), "{figures}");
        assert!(
            number(&figures, "batches") >= 1.0 && number(&figures, "netlink_bytes_per_change") > 100.0,
            "{figures}"
        );
        assert!(number(&figures, "process_cores") >= number(&figures, "dataplane_cores"), "{figures}");
        // The writer has ended by then, and counts for nothing in the process's figure.
        assert_eq!(figures["threads"]["dataplane"], figures["dataplane_cores"], "{figures}");
    }
}

#[test]
fn a_change_is_in_the_kernel_no_later_than_its_client_hears_of_it() {
    let figures = figures("programming --services 30 --endpoints 2 --samples 20");
    assert!(number(&figures, "commit_to_kernel_p50_us") > 0.0, "{figures}");
    assert!(number(&figures, "commit_to_kernel_p50_us") <= number(&figures, "change_p50_us"), "{figures}");
}

#[test]
fn connections_are_measured_three_ways() {
    let figures = figures("connect --services 5 --endpoints 1 --samples 50");
    for way in ["direct", "service", "node_port"] {
        for figure in ["p50_us", "p99_us", "per_s", "rr_us"] {
            assert!(number(&figures, &format!("{way}_{figure}")) > 0.0, "{figures}");
        }
    }
}

#[test]
fn a_killed_servers_successor_writes_nothing_to_the_kernel() {
    for shape in ["--services 30", "--services 30 --dual-stack"] {
        let figures = figures(&format!("restart --endpoints 2 --samples 2 {shape}"));
        assert_eq!(number(&figures, "batches"), 0.0, "{figures}");
    }
}

#[test]
fn a_directory_is_filled_once() {
    let home = account::directory();
    let directory = home.path().join("data");
    let fill = || {
        let mut command = Command::new(account::program());
        command.args(["bench", "fill", "--services", "3", "--target", "10.240.1.10", "--data-dir"]).arg(&directory);
        command.stdin(Stdio::null()).output().expect("mainstay runs")
    };
    assert!(fill().status.success());
    let again = fill();
    assert!(!again.status.success() && text(&again).contains("holds a store already"), "{}", text(&again));
}
