//! Somebody runs `nft` in the node's network: it is heard at once, repaired, and told in an Event about the Node.

use crate::sandbox::Sandbox;

#[test]
fn what_others_do_to_the_table_is_repaired_and_told() {
    let sandbox = Sandbox::start();
    // The cluster's own Services are enough: the API answers at its virtual address.
    let answers = |sandbox: &Sandbox| {
        let output = sandbox.exec(&["curl", "-sk", "--max-time", "5", "https://10.96.0.1/livez"]);
        String::from_utf8_lossy(&output.stdout).contains("ok")
    };
    sandbox.until("the API answers at its virtual address", answers);
    let repairs = |sandbox: &Sandbox| sandbox.status()["programming"]["repairs"].as_u64().unwrap_or(0);
    assert_eq!(repairs(&sandbox), 0, "our own work is no damage");
    sandbox.exec_ok(&["nft", "flush", "ruleset"]);
    sandbox.until("the repair is counted", |sandbox| repairs(sandbox) >= 1);
    assert!(answers(&sandbox), "the virtual address works again");
    sandbox.exec_ok(&["nft", "insert", "rule", "inet", "mainstay", "services", "drop"]);
    sandbox.until("the foreign rule is gone", |sandbox| repairs(sandbox) >= 2);
    assert!(answers(&sandbox));
    sandbox.until("an Event tells of it", |sandbox| {
        let columns = "jsonpath={range .items[*]}{.involvedObject.kind} {.type} {.message}{\"\\n\"}{end}";
        let events =
            sandbox.kubectl_ok(&["get", "events", "-A", "--field-selector=reason=DataplaneRepaired", "-o", columns]);
        let mut told = events.lines().filter(|line| line.starts_with("Node Warning nft (process "));
        told.any(|line| {
            line.contains("changed table inet mainstay: deleted the table.") && line.contains("put back within")
        })
    });
}
