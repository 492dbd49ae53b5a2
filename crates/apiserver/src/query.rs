//! A query string in, typed options out; a wrong option is one clear Status.

use api::status::Status;

use crate::route::percent_decode;

/// The parameters of a request, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part of a URL after `?`.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let decode = |part: &str| percent_decode(&part.replace('+', " "));
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            decode(name)
                .zip(decode(value))
                .ok_or_else(|| Status::bad_request(format!("invalid URL escape in query parameter {part:?}")))
        };
        text.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }

    /// The first value of a parameter; empty counts as absent, as in Kubernetes.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// A truth value: as Kubernetes reads them, everything but absent, `false` and `0` is true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.0.iter().find(|(key, _)| key == name) {
            None => false,
            Some((_, value)) => !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"),
        }
    }

    /// A whole number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Status::bad_request(format!("query parameter {name} is not a whole number in range: {text:?}"))
            })
        };
        self.get(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Query::parse("a=1&b=x%20y+z&watch&c=false&command=ls&command=-l&empty=").unwrap();
        assert_eq!(query.get("b"), Some("x y z"));
        assert_eq!(query.get("empty"), None);
        assert!(query.flag("watch") && !query.flag("c") && !query.flag("d"));
        assert_eq!(query.all("command"), ["ls", "-l"]);
        assert_eq!(query.number::<u32>("a").unwrap(), Some(1));
        assert_eq!(query.number::<u32>("b").unwrap_err().code, 400);
        assert_eq!(Query::parse("a=%f").unwrap_err().code, 400);
    }
}
