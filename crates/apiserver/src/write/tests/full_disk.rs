//! A disk that is full for a while: clients are told, and what their writes took is free again.

use store::Limits;
use store::log::memory::MemoryLog;

use super::*;

#[tokio::test]
async fn what_a_forgotten_write_took_is_free_again() {
    let log = MemoryLog::default();
    let limits = Limits { retry_after: std::time::Duration::ZERO, ..Limits::default() };
    let store = Store::open(Box::new(log.clone()), limits).unwrap();
    let api = Api::new(store, config(30000..=30001)).unwrap();
    api.create(&NAMESPACE, json!({ "metadata": { "name": "default" } })).await.unwrap();
    let wanting = |name: &str| {
        let mut service = service(name, "NodePort");
        service["spec"]["clusterIP"] = "10.96.0.50".into();
        service["spec"]["ports"][0]["nodePort"] = 30001.into();
        service
    };
    log.fill();
    let refused = api.create(&SERVICE, wanting("ham")).await.unwrap_err();
    assert_eq!((refused.code, refused.reason), (507, "InsufficientStorage"));
    assert!(refused.message.starts_with("the store cannot write: cannot append"), "{refused}");
    assert!(refused.message.contains("free some on the disk"), "{refused}");
    assert_eq!(api.get(&SERVICE, &key("ham")).await.unwrap_err().code, 404, "nothing is shown that is not durable");
    log.space();
    let made = json_of(&api.create(&SERVICE, wanting("eggs")).await.unwrap());
    assert_eq!(made["spec"]["clusterIP"], "10.96.0.50");
    let taken = api.create(&SERVICE, wanting("bacon")).await.unwrap_err();
    assert_eq!(taken.code, 422, "{taken}");
}

#[tokio::test]
async fn a_log_that_is_broken_says_so_with_another_code() {
    let log = MemoryLog::default();
    let api = Api::new(Store::open(Box::new(log.clone()), Limits::default()).unwrap(), config(30000..=30001)).unwrap();
    log.fail();
    let refused = api.create(&NAMESPACE, json!({ "metadata": { "name": "default" } })).await.unwrap_err();
    assert_eq!((refused.code, refused.reason), (500, "InternalError"));
    assert!(refused.message.contains("restarted"), "{refused}");
}
