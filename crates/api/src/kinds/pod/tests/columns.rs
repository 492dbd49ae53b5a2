//! The words that `kubectl get pods` shows, case by case.

use super::*;

const NOW: i64 = 1000;

/// Ready, Status and Restarts of a pod with these parts of its status.
fn row(init: usize, status: Value, deleted: bool) -> [String; 3] {
    let init: Vec<_> = (0..init).map(|i| json!({ "name": format!("i{i}"), "image": "i" })).collect();
    let mut pod = pod(json!({ "initContainers": init }));
    pod["status"] = status;
    if deleted {
        pod["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
    }
    let cells = Pod.cells(&pod, NOW);
    [1, 2, 3].map(|index| cells[index].as_str().unwrap().to_owned())
}

fn container(state: Value, ready: bool, restarts: i64) -> Value {
    json!({ "name": "c", "state": state, "ready": ready, "restartCount": restarts })
}

fn terminated(members: Value) -> Value {
    json!({ "terminated": members })
}

#[test]
fn one_container() {
    let running = json!({ "running": { "startedAt": "t" } });
    let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
    let table = [
        ("Pending", json!([]), false, ["0/1", "Pending", "0"]),
        (
            "Pending",
            json!([container(waiting("ContainerCreating"), false, 0)]),
            false,
            ["0/1", "ContainerCreating", "0"],
        ),
        ("Pending", json!([container(waiting("ErrImagePull"), false, 0)]), false, ["0/1", "ErrImagePull", "0"]),
        ("Running", json!([container(running.clone(), true, 0)]), false, ["1/1", "Running", "0"]),
        ("Running", json!([container(running.clone(), false, 2)]), false, ["0/1", "Running", "2"]),
        ("Running", json!([container(waiting("CrashLoopBackOff"), false, 3)]), false, ["0/1", "CrashLoopBackOff", "3"]),
        (
            "Running",
            json!([container(terminated(json!({ "exitCode": 1, "reason": "Error" })), false, 0)]),
            false,
            ["0/1", "Error", "0"],
        ),
        (
            "Running",
            json!([container(terminated(json!({ "exitCode": 3 })), false, 0)]),
            false,
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            "Running",
            json!([container(terminated(json!({ "exitCode": 137, "signal": 9 })), false, 0)]),
            false,
            ["0/1", "Signal:9", "0"],
        ),
        (
            "Succeeded",
            json!([container(terminated(json!({ "exitCode": 0, "reason": "Completed" })), false, 0)]),
            false,
            ["0/1", "Completed", "0"],
        ),
        ("Running", json!([container(running.clone(), true, 0)]), true, ["1/1", "Terminating", "0"]),
        (
            "Succeeded",
            json!([container(terminated(json!({ "exitCode": 0, "reason": "Completed" })), false, 0)]),
            true,
            ["0/1", "Completed", "0"],
        ),
    ];
    for (phase, statuses, deleted, expected) in table {
        let status = json!({ "phase": phase, "containerStatuses": statuses });
        assert_eq!(row(0, status.clone(), deleted), expected, "{status}");
    }
    assert_eq!(row(0, json!({ "phase": "Failed", "reason": "Evicted" }), false)[1], "Evicted");
    assert_eq!(row(0, json!({ "phase": "Running", "reason": "NodeLost" }), true)[1], "Unknown");
    let gated = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "reason": "SchedulingGated" }] });
    assert_eq!(row(0, gated, false)[1], "SchedulingGated");
}

#[test]
fn restarts_say_when() {
    let mut status = container(json!({ "running": {} }), true, 2);
    status["lastState"] = terminated(json!({ "exitCode": 1, "finishedAt": "1970-01-01T00:16:35Z" }));
    assert_eq!(row(0, json!({ "phase": "Running", "containerStatuses": [status.clone()] }), false)[2], "2 (5s ago)");
    status["restartCount"] = 0.into();
    assert_eq!(row(0, json!({ "phase": "Running", "containerStatuses": [status] }), false)[2], "0");
}

#[test]
fn a_finished_container_beside_a_running_one() {
    let done = container(terminated(json!({ "exitCode": 0, "reason": "Completed" })), false, 0);
    let failed = container(terminated(json!({ "exitCode": 1, "reason": "Error" })), false, 0);
    let running = container(json!({ "running": {} }), true, 0);
    let word = |statuses: Value, ready: &str| {
        let status = json!({ "phase": "Running", "containerStatuses": statuses, "conditions": [{ "type": "Ready", "status": ready }] });
        row(0, status, false)[1].clone()
    };
    assert_eq!(word(json!([done, running]), "True"), "Running");
    assert_eq!(word(json!([done, running]), "False"), "NotReady");
    assert_eq!(word(json!([done, failed]), "False"), "Error");
}

#[test]
fn init_containers() {
    let done = json!({ "name": "i0", "state": terminated(json!({ "exitCode": 0 })), "restartCount": 0 });
    let init =
        |statuses: Value| row(2, json!({ "phase": "Pending", "initContainerStatuses": statuses }), false)[1].clone();
    assert_eq!(init(json!([{ "name": "i0", "state": { "running": {} } }])), "Init:0/2");
    assert_eq!(init(json!([done, { "name": "i1", "state": { "running": {} } }])), "Init:1/2");
    assert_eq!(init(json!([{ "name": "i0", "state": { "waiting": { "reason": "PodInitializing" } } }])), "Init:0/2");
    assert_eq!(
        init(json!([{ "name": "i0", "state": { "waiting": { "reason": "CrashLoopBackOff" } } }])),
        "Init:CrashLoopBackOff"
    );
    assert_eq!(
        init(json!([{ "name": "i0", "state": terminated(json!({ "exitCode": 1, "reason": "Error" })) }])),
        "Init:Error"
    );
    assert_eq!(init(json!([{ "name": "i0", "state": terminated(json!({ "exitCode": 2 })) }])), "Init:ExitCode:2");
    assert_eq!(
        init(json!([{ "name": "i0", "state": terminated(json!({ "exitCode": 2, "signal": 9 })) }])),
        "Init:Signal:9"
    );
    assert_eq!(init(json!([done, done])), "Pending");
}

#[test]
fn a_sidecar_counts_as_a_container() {
    let mut pod = pod(json!({ "initContainers": [{ "name": "s", "image": "i", "restartPolicy": "Always" }] }));
    pod["status"] = json!({
        "phase": "Running", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }],
        "initContainerStatuses": [{ "name": "s", "started": true, "ready": true, "restartCount": 1, "state": { "running": {} } }],
        "containerStatuses": [container(json!({ "running": {} }), true, 1)],
        "conditions": [{ "type": "g/a", "status": "True" }],
    });
    pod["spec"]["nodeName"] = "n".into();
    pod["spec"]["readinessGates"] = json!([{ "conditionType": "g/a" }, { "conditionType": "g/b" }]);
    assert_eq!(Pod.cells(&pod, NOW), ["p", "2/2", "Running", "2", "<unknown>", "10.0.0.1", "n", "<none>", "1/2"]);
}
