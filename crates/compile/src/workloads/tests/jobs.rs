//! Jobs on the toy API: completions, failures, deadlines, indexes, and random outcomes that are counted exactly once.

use std::collections::BTreeSet;

use api::kinds::{JOB, POD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Toy;
use crate::workloads::objects::Pod;
use crate::workloads::{Job, job};

fn toy(spec: Value) -> Toy {
    let mut toy = Toy { seconds: 1_767_225_600, ..Toy::default() };
    let mut object = json!({
        "metadata": {"name": "pi"},
        "spec": {
            "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "selector": {"matchLabels": {"job": "pi"}},
            "template": {
                "metadata": {"labels": {"job": "pi"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "v1"}]},
            },
        },
    });
    json_merge(&mut object["spec"], &spec);
    toy.create(&JOB, object);
    toy
}

fn json_merge(target: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            target[name] = value.clone();
        }
    }
}

impl Toy {
    fn job(&self) -> Job {
        self.all(&JOB, Job::decode).pop().unwrap()
    }

    fn step_job(&mut self) -> usize {
        let (job, pods) = (self.job(), self.all(&POD, Pod::decode));
        let decision = job::reconcile(&job, &pods.iter().collect::<Vec<_>>(), &self.now());
        let count = decision.writes.len();
        self.perform(decision.writes);
        count
    }

    fn rest_job(&mut self) {
        for _ in 0..100 {
            if self.step_job() == 0 {
                return;
            }
        }
        panic!("does not come to rest: {:#?}", self.job().status);
    }

    fn active(&self) -> Vec<String> {
        let pods = self.all(&POD, Pod::decode);
        pods.iter().filter(|pod| pod.active()).map(|pod| pod.meta.name.to_string()).collect()
    }

    fn finish(&mut self, name: &str, phase: &str) {
        let at = self.now().text;
        let mut pod = self.objects[&("pods", name.to_owned())].clone();
        pod["status"] = json!({"phase": phase, "containerStatuses": [{"state": {"terminated": {"finishedAt": at}}}]});
        self.put(&POD, name, pod);
    }

    fn conditions(&self) -> Vec<String> {
        let status = self.job().status;
        let text = |it: &job::Condition| format!("{}={} {}", it.r#type, it.status, it.reason);
        status.conditions.iter().map(text).collect()
    }
}

#[test]
fn a_job_runs_as_many_pods_as_must_succeed() {
    let mut toy = toy(json!({"completions": 3, "parallelism": 2}));
    toy.rest_job();
    assert_eq!(toy.active().len(), 2);
    let pod = toy.objects[&("pods", toy.active()[0].clone())].clone();
    assert_eq!(pod["metadata"]["finalizers"], json!(["batch.kubernetes.io/job-tracking"]));
    for expected in [2, 1, 0] {
        let name = toy.active()[0].clone();
        toy.finish(&name, "Succeeded");
        toy.rest_job();
        assert_eq!(toy.active().len(), expected);
    }
    let status = toy.job().status;
    assert_eq!((status.succeeded, status.failed, status.active), (3, 0, 0));
    assert!(status.start_time.is_some() && status.completion_time.is_some());
    assert_eq!(toy.conditions(), ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"]);
    assert!(toy.all(&POD, Pod::decode).iter().all(|pod| pod.meta.finalizers.is_empty()), "pods are let go");
    assert!(toy.events.contains(&"Job completed".to_owned()), "{:?}", toy.events);
}

#[test]
fn a_job_without_completions_ends_with_its_first_success_and_one_of_none_at_once() {
    let mut queue = toy(json!({"completions": null, "parallelism": 3}));
    queue.rest_job();
    let names = queue.active();
    assert_eq!(names.len(), 3);
    queue.finish(&names[0], "Succeeded");
    queue.rest_job();
    assert_eq!(queue.active().len(), 2, "the others may finish");
    assert!(queue.conditions().is_empty());
    for name in &names[1..] {
        queue.finish(name, "Succeeded");
    }
    queue.rest_job();
    assert_eq!(queue.job().status.succeeded, 3);
    assert!(queue.conditions()[1].starts_with("Complete=True"));
    let mut none = toy(json!({"completions": 0}));
    none.rest_job();
    assert!(none.conditions()[1].starts_with("Complete=True") && none.names().is_empty());
}

#[test]
fn failures_wait_longer_and_longer_and_in_the_end_the_job_fails() {
    let mut toy = toy(json!({"backoffLimit": 2}));
    toy.rest_job();
    for pause in [10, 20] {
        let name = toy.active()[0].clone();
        toy.finish(&name, "Failed");
        toy.rest_job();
        assert!(toy.active().is_empty());
        toy.seconds += pause - 1;
        toy.rest_job();
        assert!(toy.active().is_empty(), "{pause} seconds are not over");
        toy.seconds += 1;
        toy.rest_job();
        assert_eq!(toy.active().len(), 1);
    }
    let name = toy.active()[0].clone();
    toy.finish(&name, "Failed");
    toy.rest_job();
    let expected = ["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"];
    assert_eq!(toy.conditions(), expected);
    assert_eq!(toy.job().status.failed, 3);
    assert_eq!(toy.step_job(), 0);
}

#[test]
fn a_deadline_ends_what_runs() {
    let mut toy = toy(json!({"activeDeadlineSeconds": 30}));
    toy.rest_job();
    toy.seconds += 30;
    toy.rest_job();
    assert!(toy.names().is_empty());
    assert_eq!(toy.conditions(), ["FailureTarget=True DeadlineExceeded", "Failed=True DeadlineExceeded"]);
    assert_eq!((toy.job().status.failed, toy.job().status.active), (1, 0));
}

#[test]
fn a_suspended_job_has_no_pods_and_starts_anew_when_it_is_resumed() {
    let mut toy = toy(json!({"suspend": true}));
    toy.rest_job();
    assert!(toy.names().is_empty() && toy.job().status.start_time.is_none());
    assert_eq!(toy.conditions(), ["Suspended=True JobSuspended"]);
    toy.change(&JOB, "pi", |job| job["spec"]["suspend"] = json!(false));
    toy.rest_job();
    assert_eq!((toy.active().len(), toy.conditions()), (1, vec!["Suspended=False JobResumed".to_owned()]));
    toy.change(&JOB, "pi", |job| job["spec"]["suspend"] = json!(true));
    toy.rest_job();
    assert!(toy.active().is_empty());
    assert_eq!(toy.job().status.failed, 0, "what is taken back has not failed");
}

#[test]
fn indexes_are_done_once_each() {
    let mut toy = toy(json!({"completionMode": "Indexed", "completions": 4, "parallelism": 3}));
    toy.rest_job();
    let index = |toy: &Toy, name: &str| {
        toy.objects[&("pods", name.to_owned())]["spec"]["hostname"].as_str().unwrap().to_owned()
    };
    let hosts: BTreeSet<String> = toy.active().iter().map(|name| index(&toy, name)).collect();
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["pi-0", "pi-1", "pi-2"]);
    let pod = &toy.objects[&("pods", toy.active()[0].clone())];
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    let second = toy.active().into_iter().find(|name| index(&toy, name) == "pi-1").unwrap();
    toy.finish(&second, "Failed");
    toy.rest_job();
    toy.seconds += 10;
    toy.rest_job();
    let hosts: BTreeSet<String> = toy.active().iter().map(|name| index(&toy, name)).collect();
    assert!(hosts.contains("pi-1"), "the lowest free index is tried again: {hosts:?}");
    while let Some(name) = toy.active().first().cloned() {
        toy.finish(&name, "Succeeded");
        toy.rest_job();
    }
    let status = toy.job().status;
    assert_eq!((status.completed_indexes.as_str(), status.succeeded, status.failed), ("0-3", 4, 1));
    assert!(toy.conditions()[1].starts_with("Complete"));
}

#[test]
fn a_success_policy_ends_a_job_early() {
    let rules = json!([{"succeededIndexes": "3"}, {"succeededIndexes": "0-1", "succeededCount": 1}]);
    let mut toy = toy(
        json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2, "successPolicy": {"rules": rules}}),
    );
    toy.rest_job();
    let name = toy.active()[0].clone();
    toy.finish(&name, "Succeeded");
    toy.rest_job();
    assert!(toy.active().is_empty(), "what still ran is ended");
    assert_eq!(toy.conditions(), ["SuccessCriteriaMet=True SuccessPolicy", "Complete=True SuccessPolicy"]);
    let status = toy.job().status;
    assert_eq!((status.succeeded, status.conditions[0].message.as_str()), (1, "Matched rules at index 1"));
}

#[test]
fn a_finished_job_goes_after_its_time_and_a_foreign_one_is_left_alone() {
    let mut toy = toy(json!({"ttlSecondsAfterFinished": 60, "completions": 0}));
    toy.rest_job();
    toy.seconds += 59;
    assert_eq!(toy.step_job(), 0);
    toy.seconds += 1;
    assert_eq!(toy.step_job(), 1);
    assert!(toy.all(&JOB, Job::decode).is_empty());
    let mut foreign = self::toy(json!({"managedBy": "acme.io/runner"}));
    assert_eq!(foreign.step_job(), 0);
    let orphan = json!({"metadata": {"name": "p", "finalizers": ["batch.kubernetes.io/job-tracking"]}});
    let orphan = Pod::decode(orphan.to_string().as_bytes()).unwrap();
    assert!(job::release_orphan(&orphan).is_some() && job::release_orphan(&Pod::default()).is_none());
}

#[test]
fn restarts_in_place_count_against_the_limit() {
    let template =
        json!({"metadata": {"labels": {"job": "pi"}}, "spec": {"restartPolicy": "OnFailure", "containers": []}});
    let mut toy = toy(json!({"backoffLimit": 2, "template": template}));
    toy.rest_job();
    let name = toy.active()[0].clone();
    for (restarts, over) in [(1, false), (2, true)] {
        toy.objects.get_mut(&("pods", name.clone())).unwrap()["status"] =
            json!({"phase": "Running", "containerStatuses": [{"restartCount": restarts}]});
        toy.rest_job();
        assert_eq!(toy.conditions().contains(&"Failed=True BackoffLimitExceeded".to_owned()), over);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_pod_counts_once_whatever_happens_to_it_when(
        completions in 1_i64..6, parallelism in 1_i64..4, limit in 0_i64..5, indexed in any::<bool>(),
        ops in proptest::collection::vec((0_u8..6, 0_usize..8), 0..120),
    ) {
        let mode = if indexed { "Indexed" } else { "NonIndexed" };
        let mut toy = toy(json!({"completions": completions, "parallelism": parallelism, "backoffLimit": limit, "completionMode": mode}));
        let (mut succeeded, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for (what, which) in ops {
            let active = toy.active();
            prop_assert!(i64::try_from(active.len()).unwrap() <= parallelism);
            let name = active.get(which % active.len().max(1)).cloned();
            match (what, name) {
                (0, Some(name)) => { toy.finish(&name, "Succeeded"); succeeded.insert(name); }
                (1, Some(name)) => { toy.finish(&name, "Failed"); failed.insert(name); }
                // Somebody deletes it: it never succeeded, so it failed.
                (2, Some(name)) => { toy.delete(&POD, &name); failed.insert(name); }
                (3, _) => toy.seconds += 600,
                _ => { toy.step_job(); }
            }
        }
        toy.rest_job();
        let status = toy.job().status;
        let finished = status.conditions.iter().any(|it| matches!(it.r#type.as_str(), "Complete" | "Failed"));
        if !finished {
            prop_assert!(i64::try_from(failed.len()).unwrap() <= limit);
            prop_assert!(i64::try_from(succeeded.len()).unwrap() < completions || !toy.active().is_empty());
        }
        prop_assert_eq!(status.succeeded, i64::try_from(succeeded.len()).unwrap());
        // Those that the end of the Job took away count as well.
        prop_assert!(status.failed >= i64::try_from(failed.len()).unwrap());
        let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
        prop_assert!(uncounted.succeeded.is_empty() && uncounted.failed.is_empty());
    }
}
