//! A request for a pod's log in, the log's bytes out, as they come.

use api::field::FieldErrors;
use api::kind::Kind;
use api::kinds::POD;
use api::status::Status;
use contract::streams::LogOptions;
use http::Response;
use serde_json::Value;

use crate::ask::Ask;
use crate::object::parsed;
use crate::pipeline::Api;
use crate::query::Query;
use crate::reply::{self, Body};

/// The options, by the name that their errors go by.
static OPTIONS: Kind = Kind { kind: "PodLogOptions", ..POD };

/// Serves `pods/<name>/log`.
pub(crate) async fn serve(api: &Api, ask: &Ask) -> Result<Response<Body>, Status> {
    let key = ask.key();
    let options = options(&ask.query, &key.name)?;
    let pod = parsed(&api.read(ask.kind, &key)?.json)?;
    let options = LogOptions { container: container(&pod, ask.query.get("container"))?, ..options };
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        // A pod that no node runs has written nothing.
        return Ok(reply::with_type(200, "text/plain", reply::full("")));
    }
    let bytes = api.streams()?.logs(&key, &options).await?;
    Ok(reply::with_type(200, "text/plain", reply::stream(bytes)))
}

/// Which lines are asked for.
fn options(query: &Query, pod: &str) -> Result<LogOptions, Status> {
    let mut errors = FieldErrors::default();
    let mut number = |name: &str, least: i64, why: &str| -> Result<Option<u64>, Status> {
        let asked: Option<i64> = query.number(name)?;
        if let Some(asked) = asked.filter(|asked| *asked < least) {
            errors.invalid(name, asked, why);
        }
        Ok(asked.and_then(|asked| u64::try_from(asked).ok()))
    };
    let tail_lines = number("tailLines", 0, "must be greater than or equal to 0")?;
    let limit_bytes = number("limitBytes", 1, "must be greater than 0")?;
    let since_seconds = number("sinceSeconds", 1, "must be greater than 0")?;
    let since_time = query.get("sinceTime").map(time).transpose()?;
    if since_seconds.is_some() && since_time.is_some() {
        errors.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if query.get("stream").is_some() {
        errors.forbidden("stream", "may not be specified");
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&OPTIONS, pod, &errors));
    }
    Ok(LogOptions {
        container: String::new(),
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines,
        since_seconds,
        since_time,
        limit_bytes,
    })
}

/// A time as logs hold it.
fn time(text: &str) -> Result<String, Status> {
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        Status::bad_request(format!(
            "query parameter sinceTime is not a time: {text:?}: write it as RFC 3339, such as 2026-01-01T00:00:00Z"
        ))
    })?;
    Ok(format!("{time:.9}"))
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
    fn options_that_contradict_are_told_apart() {
        let read = |text: &str| options(&Query::parse(text).unwrap(), "ham").map_err(|status| status.message);
        let good = read("tailLines=0&limitBytes=7&sinceTime=2026-01-01T01:00:00%2B01:00&previous=true").unwrap();
        assert_eq!((good.tail_lines, good.limit_bytes, good.previous), (Some(0), Some(7), true));
        assert_eq!(good.since_time.as_deref(), Some("2026-01-01T00:00:00.000000000Z"));
        for (wrong, why) in [
            (
                "tailLines=-1",
                "PodLogOptions \"ham\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            ),
            ("limitBytes=0", "PodLogOptions \"ham\" is invalid: limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", "at most one of `sinceTime` or `sinceSeconds`"),
            ("stream=Stdout", "stream: Forbidden: may not be specified"),
            ("sinceTime=yesterday", "such as 2026-01-01T00:00:00Z"),
            ("tailLines=many", "tailLines is not a whole number"),
        ] {
            let message = read(wrong).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }

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
