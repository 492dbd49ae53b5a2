//! A Service without selector and its Endpoints through a life: mirrored, edited by hand, selected, deselected, gone.

use super::*;

fn slices(toy: &Toy, manager: &str) -> Vec<Value> {
    let all = toy.values(&kinds::ENDPOINT_SLICE, "default");
    let mine = |slice: &Value| {
        let labels = &slice["metadata"]["labels"];
        labels["kubernetes.io/service-name"] == "db" && labels["endpointslice.kubernetes.io/managed-by"] == manager
    };
    all.into_iter().filter(mine).collect()
}

const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";

fn edit(toy: &Toy, kind: &'static Kind, name: &str, change: impl Fn(&mut Value)) {
    let mut value = toy.value(kind, "default", name).unwrap();
    change(&mut value);
    toy.replace(kind, value).unwrap();
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_a_service_without_selector_are_mirrored_while_that_lasts() {
    let toy = Toy::new();
    toy.create(&NAMESPACE, json!({"metadata": {"name": "default"}})).await.unwrap();
    let controllers = start(config(), toy.clone(), Applied::default());
    let service = json!({
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"],
                 "ports": [{"name": "sql", "port": 5432, "protocol": "TCP", "targetPort": 5432}]},
    });
    toy.create(&SERVICE, service).await.unwrap();
    let endpoints = json!({
        "metadata": {"name": "db", "namespace": "default", "labels": {"team": "a"}},
        "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}],
    });
    toy.create(&kinds::ENDPOINTS, endpoints).await.unwrap();
    let addresses = |expected: &'static str| {
        let toy = toy.clone();
        move || {
            let slices = slices(&toy, MIRROR);
            let [slice] = slices.as_slice() else { return None };
            (slice["endpoints"][0]["addresses"][0] == expected).then(|| slice.clone())
        }
    };
    let first = toy.until("the mirrored slice", addresses("10.0.0.1")).await;
    assert_eq!(first["metadata"]["labels"]["team"], "a");
    // A slice of one's own beside it is nobody else's business.
    let own = json!({
        "metadata": {"name": "own", "namespace": "default", "labels": {
            "kubernetes.io/service-name": "db", "endpointslice.kubernetes.io/managed-by": "me"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.9"]}], "ports": [{"name": "sql", "port": 5432}],
    });
    toy.create(&kinds::ENDPOINT_SLICE, own).await.unwrap();
    edit(&toy, &kinds::ENDPOINTS, "db", |value| value["subsets"][0]["addresses"][0]["ip"] = json!("10.0.0.2"));
    let second = toy.until("the new address", addresses("10.0.0.2")).await;
    assert_eq!(second["metadata"]["name"], first["metadata"]["name"], "updated in place");
    let name = second["metadata"]["name"].as_str().unwrap().to_owned();
    edit(&toy, &kinds::ENDPOINT_SLICE, &name, |value| value["endpoints"] = json!([]));
    toy.until("the hand's edit to be put right", addresses("10.0.0.2")).await;
    let key = ObjectKey::new("default", name.as_str());
    toy.delete(&kinds::ENDPOINT_SLICE, &key, &DeleteOptions::default()).await.unwrap();
    toy.until("the deleted slice to be back", addresses("10.0.0.2")).await;

    // 7 number 4: a selector ends it, and what pods say counts.
    edit(&toy, &SERVICE, "db", |value| value["spec"]["selector"] = json!({"app": "db"}));
    toy.until("mirrored slices to go", || slices(&toy, MIRROR).is_empty().then_some(())).await;
    toy.until("a slice made from pods", || (slices(&toy, CONTROLLER).len() == 1).then_some(())).await;
    toy.until("Endpoints made from pods", || {
        toy.value(&kinds::ENDPOINTS, "default", "db").filter(|value| value["subsets"].is_null())
    })
    .await;
    // 7 number 3: without selector again, slices made from pods stay as they are; Endpoints are the user's again.
    edit(&toy, &SERVICE, "db", |value| {
        value["spec"].as_object_mut().unwrap().remove("selector");
    });
    edit(&toy, &kinds::ENDPOINTS, "db", |value| {
        value["subsets"] = json!([{"addresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "sql", "port": 5432}]}]);
    });
    toy.until("mirrored again", addresses("10.0.0.3")).await;
    assert_eq!(slices(&toy, CONTROLLER).len(), 1);
    edit(&toy, &kinds::ENDPOINTS, "db", |value| {
        value["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = json!("true");
    });
    toy.until("skipped", || slices(&toy, MIRROR).is_empty().then_some(())).await;
    assert_eq!(slices(&toy, "me").len(), 1, "never touched");
    drop(controllers);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_mirrored_is_told_once() {
    let toy = Toy::new();
    toy.create(&NAMESPACE, json!({"metadata": {"name": "default"}})).await.unwrap();
    let controllers = start(config(), toy.clone(), Applied::default());
    let service = json!({
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": [{"port": 5432}]},
    });
    toy.create(&SERVICE, service).await.unwrap();
    let addresses: Vec<Value> =
        (0..1_002).map(|number| json!({"ip": format!("10.1.{}.{}", number / 250, number % 250 + 1)})).collect();
    let endpoints = json!({
        "metadata": {"name": "db", "namespace": "default"},
        "subsets": [{"addresses": addresses, "ports": [{"port": 5432, "protocol": "TCP"}]}],
    });
    toy.create(&kinds::ENDPOINTS, endpoints).await.unwrap();
    let event = toy
        .until("the Event", || {
            let events = toy.values(&kinds::EVENT, "default");
            events.into_iter().find(|event| event["reason"] == "TooManyAddressesToMirror")
        })
        .await;
    assert_eq!(event["involvedObject"]["kind"], "Endpoints");
    assert_eq!(event["type"], "Warning");
    assert!(event["message"].as_str().unwrap().ends_with("2 addresses were skipped"), "{event}");
    let mirrored = slices(&toy, MIRROR);
    assert_eq!(mirrored.len(), 1);
    assert_eq!(mirrored[0]["endpoints"].as_array().map(Vec::len), Some(1_000));
    drop(controllers);
}
