//! MS1001 to MS1003.

use super::*;

fn world() -> World {
    let mut world = World::new();
    world.service("my-service", json!({ "selector": { "app": "my-app" } }));
    world
}

fn three(world: &mut World, labels: Value) {
    for number in 1..=3 {
        world.pod(&format!("p{number}"), "myapp", labels.clone());
    }
}

#[test]
fn ms1001_a_selector_that_matches_nothing_at_all() {
    let mut world = world();
    let finding = world.one("my-service", "MS1001");
    assert_eq!(finding.line(), "MS1001 selector app=my-app matches 0 pods in default, and no label set is near");
    assert_eq!(finding.evidence, ["namespace default has no pods"]);
    world.pod("db-1", "db", json!({ "tier": "database" }));
    assert_eq!(world.one("my-service", "MS1001").evidence, ["1 pod in default: tier=database"]);
    assert_eq!(word(&world.find("my-service")), Some("SelectorNoMatch"));
}

#[test]
fn ms1001_pods_that_are_being_started_or_scaled_away_are_not_a_wrong_selector() {
    let mut world = world();
    let template = json!({ "metadata": { "labels": { "app": "my-app" } } });
    world.put("deployments", "my-app", json!({ "spec": { "replicas": 3, "template": template } }));
    assert_eq!(world.wrong("my-service"), [] as [&str; 0]);
    assert_eq!(warnings(&world.find("my-service")), [] as [&str; 0], "apply of Deployment and Service in one file");
    world.put("deployments", "my-app", json!({ "spec": { "replicas": 0, "template": template } }));
    let finding = world.one("my-service", "MS1001");
    assert_eq!(finding.summary, "selector app=my-app matches 0 pods: deploy/my-app is scaled to 0");
    assert_eq!(command(&finding), "kubectl scale deploy/my-app --replicas=1");
}

#[test]
fn ms1002_the_nearest_label_set_is_named_with_its_workload() {
    let cases = [
        (json!({ "app": "myapp" }), "app=myapp (3 pods of deploy/myapp)"),
        (json!({ "app": "My-App" }), "app=My-App (3 pods of deploy/myapp)"),
        (json!({ "app": "my-ap" }), "app=my-ap (3 pods of deploy/myapp)"),
        (json!({ "app": "ym-app" }), "app=ym-app (3 pods of deploy/myapp)"),
        (json!({ "App": "my-app" }), "App=my-app (3 pods of deploy/myapp)"),
        (json!({ "app.kubernetes.io/name": "my-app" }), "app.kubernetes.io/name=my-app (3 pods of deploy/myapp)"),
    ];
    for (labels, nearest) in cases {
        let mut world = world();
        three(&mut world, labels.clone());
        let finding = world.one("my-service", "MS1002");
        assert_eq!(finding.summary, format!("selector app=my-app matches 0 pods in default; nearest: {nearest}"));
        assert_eq!(warnings(&world.find("my-service")), [finding.line()]);
        let service = json!({ "spec": { "selector": { "app": "my-app" }, "ports": [{ "port": 80 }] } });
        assert_eq!(world.fixed("my-service", "MS1002", &service), "3 endpoints, nothing left to mend", "{labels}");
    }
}

#[test]
fn ms1002_two_labels_of_which_one_is_absent_or_differs() {
    let mut world = World::new();
    world.service("shop", json!({ "selector": { "project": "ab", "zone": "stage" } }));
    world.pod("a", "a", json!({ "project": "ab" })).pod("b", "b", json!({ "project": "ab", "zone": "prod" }));
    world.pod("c", "c", json!({ "project": "hr", "zone": "prod" }));
    let finding = world.one("shop", "MS1002");
    assert_eq!(
        finding.evidence,
        ["1 pod of deploy/b: zone is prod, not stage", "1 pod of deploy/a: label zone is absent"]
    );
    assert_eq!(command(&finding), r#"kubectl patch svc shop --type=merge -p '{"spec":{"selector":{"zone":"prod"}}}'"#);
}

#[test]
fn ms1002_labels_on_the_deployment_and_not_on_its_template() {
    let mut world = world();
    let template = json!({ "metadata": { "labels": { "tier": "x" } } });
    let meta = json!({ "labels": { "app": "my-app" } });
    world.put("deployments", "front", json!({ "metadata": meta, "spec": { "template": template } }));
    world.pod("front-1", "front", json!({ "tier": "x" }));
    let finding = world.one("my-service", "MS1002");
    assert!(finding.summary.ends_with("deploy/front has these labels itself, its pod template has not"), "{finding:?}");
    let fix = r#"kubectl patch deploy/front -p '{"spec":{"template":{"metadata":{"labels":{"app":"my-app"}}}}}'"#;
    assert_eq!(command(&finding), fix);
}

#[test]
fn ms1002_the_right_pods_in_another_namespace() {
    let mut world = world();
    world.pod("shop/p1", "myapp", json!({ "app": "my-app" }));
    let finding = world.one("my-service", "MS1002");
    assert!(finding.summary.ends_with("1 pod of deploy/myapp match in namespace shop"), "{finding:?}");
    assert!(command(&finding).contains("kubectl create -n shop"), "{finding:?}");
}

#[test]
fn ms1003_two_programs_behind_one_service_but_not_two_versions_of_one() {
    let mut world = World::new();
    world.service("web", json!({ "selector": { "tier": "front" } }));
    world.pod("a", "shop", json!({ "app": "shop", "tier": "front" }));
    world.pod("b", "blog", json!({ "app": "blog", "tier": "front" }));
    let finding = world.one("web", "MS1003");
    assert_eq!(finding.summary, "selector tier=front matches 2 workloads: deploy/blog, deploy/shop");
    assert_eq!(finding.severity, Severity::Warning);
    assert!(command(&finding).contains(r#"{"spec":{"selector":{"app":"#), "{finding:?}");
    assert_eq!(warnings(&world.find("web")), [] as [&str; 0]);
    world.pod("b", "blog", json!({ "app": "shop", "tier": "front", "track": "canary" }));
    assert_eq!(world.one("web", "MS1003").severity, Severity::Note);
}

#[test]
fn an_answer_costs_label_sets_not_pods() {
    let mut world = world();
    for number in 0..500 {
        world.pod(&format!("p{number}"), "myapp", json!({ "app": "myapp" }));
    }
    assert_eq!(world.index.groups("default").count(), 1);
    assert!(world.one("my-service", "MS1002").summary.contains("500 pods of deploy/myapp"));
    world.put("pods", "p0", json!({ "metadata": { "labels": { "app": "myapp" } }, "status": { "phase": "Failed" } }));
    assert!(world.one("my-service", "MS1002").summary.contains("499 pods"), "pods that ended do not count");
}
