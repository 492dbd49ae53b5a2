//! A request for a pod's log in, the log's bytes out, as they come.

use api::status::Status;
use contract::streams::LogOptions;
use http::Response;
use serde_json::Value;

use crate::ask::Ask;
use crate::object::parsed;
use crate::pipeline::Api;
use crate::reply::{self, Body};

/// Serves `pods/<name>/log`.
pub(crate) async fn serve(api: &Api, ask: &Ask) -> Result<Response<Body>, Status> {
    let key = ask.key();
    let pod = parsed(&api.read(ask.kind, &key)?.json)?;
    let query = &ask.query;
    let options = LogOptions {
        container: container(&pod, query.get("container"))?,
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: query.number("tailLines")?,
        since_seconds: query.number("sinceSeconds")?,
        limit_bytes: query.number("limitBytes")?,
    };
    let bytes = api.streams()?.logs(&key, &options).await?;
    Ok(reply::with_type(200, "text/plain", reply::stream(bytes)))
}

/// The container meant: the one asked for, which must exist, or the only one.
pub(crate) fn container(pod: &Value, asked: Option<&str>) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        let items = pod["spec"][list].as_array().into_iter().flatten();
        items.filter_map(|item| item["name"].as_str()).map(str::to_owned).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let name = pod["metadata"]["name"].as_str().unwrap_or("");
    match asked {
        Some(asked) if main.iter().chain(&init).any(|name| name == asked) => Ok(asked.to_owned()),
        Some(asked) => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
        None if main.len() == 1 => Ok(main[0].clone()),
        None => {
            let mut message =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", main.join(" "));
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers() {
        let one = json!({ "metadata": { "name": "ham" }, "spec": { "containers": [{ "name": "main" }] } });
        assert_eq!(container(&one, None).unwrap(), "main");
        assert_eq!(container(&one, Some("x")).unwrap_err().message, "container x is not valid for pod ham");
        let two = json!({ "metadata": { "name": "ham" }, "spec": {
            "containers": [{ "name": "a" }, { "name": "b" }], "initContainers": [{ "name": "i" }] } });
        assert_eq!(container(&two, Some("i")).unwrap(), "i");
        assert_eq!(
            container(&two, None).unwrap_err().message,
            "a container name must be specified for pod ham, choose one of: [a b] or one of the init containers: [i]"
        );
    }
}
