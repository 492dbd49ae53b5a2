//! The body of a request in, a JSON value out; too large, malformed or foreign bodies are one Status each.

use api::status::Status;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::limits;
use crate::negotiate::Written;
use crate::{protobuf, yaml};

/// Reads a body of bounded size.
pub(crate) async fn read<B>(body: B) -> Result<Bytes, Status>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    match Limited::new(body, limits::BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {}", limits::BODY_BYTES),
        )),
        Err(error) => Err(Status::bad_request(format!("cannot read the body of the request: {error}"))),
    }
}

/// A parsed body and the keys that it names twice.
pub(crate) struct Parsed {
    /// The value.
    pub value: Value,
    /// Keys that occur twice, as texts for `fieldValidation`.
    pub faults: Vec<String>,
}

/// Parses a body.
pub(crate) fn parse(bytes: &[u8], format: Written) -> Result<Parsed, Status> {
    match format {
        Written::Json => {
            let (value, duplicates) = api::decode::parse_json(bytes)?;
            let faults = duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
            Ok(Parsed { value, faults })
        }
        Written::Yaml => {
            let malformed = |why: String| Status::bad_request(format!("error converting YAML to JSON: {why}"));
            let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
            let (value, faults) = yaml::parse(text).map_err(malformed)?;
            Ok(Parsed { value, faults })
        }
        Written::Protobuf => {
            let value = protobuf::decode(bytes)
                .map_err(|why| Status::bad_request(format!("cannot read the body as Kubernetes protobuf: {why}")))?;
            Ok(Parsed { value, faults: Vec::new() })
        }
    }
}

/// Parses the body of an apply: YAML, which JSON is a part of.
pub(crate) fn parse_apply(bytes: &[u8]) -> Result<Parsed, Status> {
    let malformed =
        |why: &str| Status::bad_request(format!("error decoding YAML: error converting YAML to JSON: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error.to_string()))?;
    let json = text.trim_start().starts_with('{').then(|| api::decode::parse_json(bytes).ok()).flatten();
    let (value, faults) = match json {
        Some((value, duplicates)) if duplicates.is_empty() => (value, duplicates),
        Some((value, _)) => (value, yaml::duplicates(text)),
        None => yaml::parse(text).map_err(|why| malformed(&why))?,
    };
    Ok(Parsed { value, faults })
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn bodies_are_bounded() {
        let at = |size: usize| read(Full::new(Bytes::from(vec![b' '; size])));
        assert_eq!(at(limits::BODY_BYTES).await.unwrap().len(), limits::BODY_BYTES);
        let refused = at(limits::BODY_BYTES + 1).await.unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (413, "Request entity too large: limit is 3145728"));
    }

    #[test]
    fn yaml_is_json_in_other_words() {
        let parsed = parse(b"kind: Service\nspec:\n  ports:\n  - port: 80\n", Written::Yaml).unwrap();
        assert_eq!(parsed.value, serde_json::json!({"kind": "Service", "spec": {"ports": [{"port": 80}]}}));
        assert_eq!(parse(b"a: [", Written::Yaml).err().unwrap().code, 400);
    }
}
