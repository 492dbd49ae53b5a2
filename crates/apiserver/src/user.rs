//! A client certificate and impersonation headers in, the name and groups that a request is made in out.

use std::sync::Arc;

use api::status::Status;
use http::{Extensions, HeaderMap};
use serde_json::{Map, Value, json};

use crate::auth::Identity;
use crate::pipeline::Api;
use crate::token;

const ANONYMOUS: &str = "system:anonymous";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const IMPERSONATE: &str = "impersonate-";
const EXTRA: &str = "impersonate-extra-";

/// Who a request is made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Name: the common name of a certificate.
    pub name: String,
    /// Unique id, empty when there is none.
    pub uid: String,
    /// Groups: the organizations of a certificate, and what everybody of a sort is in.
    pub groups: Vec<String>,
    /// Further facts.
    pub extra: Map<String, Value>,
}

/// The user whose certificate a connection showed, among what a request carries.
#[derive(Clone)]
pub(crate) struct Shown(pub(crate) Arc<User>);

impl User {
    /// Somebody who showed nothing.
    pub(crate) fn anonymous() -> Self {
        Self::named(ANONYMOUS, vec![UNAUTHENTICATED.to_owned()])
    }

    /// A user as others describe one: in the groups that everybody of their sort is in.
    pub(crate) fn named(name: &str, mut groups: Vec<String>) -> Self {
        let mut account = name.strip_prefix(SERVICE_ACCOUNT).into_iter().flat_map(|rest| rest.split_once(':'));
        if let Some((namespace, _)) = account.next().filter(|_| groups.is_empty()) {
            groups.extend(["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]);
        }
        let sorted = groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
        if !sorted {
            let sort = if name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
            groups.push(sort.to_owned());
        }
        Self { name: name.to_owned(), uid: String::new(), groups, extra: Map::new() }
    }

    /// The user of a certificate that was verified already.
    pub(crate) fn of_certificate(der: &[u8]) -> Self {
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else {
            // Nobody gets a name from a certificate that cannot be read.
            return Self::named("", Vec::new());
        };
        let subject = certificate.subject();
        let name = subject.iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or("");
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
        Self::named(name, groups)
    }

    /// What a user may do follows from this.
    pub(crate) fn identity(&self) -> Identity {
        let anonymous = self.name == ANONYMOUS || self.groups.iter().any(|group| group == UNAUTHENTICATED);
        if anonymous { Identity::Anonymous } else { Identity::Admin }
    }

    /// `userInfo` as `authentication.k8s.io` writes it.
    pub(crate) fn to_json(&self) -> Value {
        let mut info = json!({ "username": self.name, "groups": self.groups });
        if !self.uid.is_empty() {
            info["uid"] = self.uid.as_str().into();
        }
        if !self.extra.is_empty() {
            info["extra"] = Value::Object(self.extra.clone());
        }
        info
    }
}

/// Who a request is made as: whose certificate was shown, or whom that user says to be.
pub(crate) fn of_request(
    api: &Api,
    identity: Identity,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Result<Arc<User>, Status> {
    let shown = match extensions.get::<Shown>() {
        Some(Shown(user)) if identity == Identity::Admin => user.clone(),
        _ => match token::of_headers(headers).map(|text| token::judge(api, text, &[token::ISSUER.to_owned()])) {
            Some(Ok((user, _))) => Arc::new(user),
            Some(Err(why)) => {
                tracing::debug!(why, "a bearer token is refused");
                return Err(Status::new(401, "Unauthorized", "Unauthorized"));
            }
            None => Arc::new(User::anonymous()),
        },
    };
    impersonated(shown, headers)
}

/// The user that `shown` says to be.
fn impersonated(shown: Arc<User>, headers: &HeaderMap) -> Result<Arc<User>, Status> {
    if !headers.keys().any(|name| name.as_str().starts_with(IMPERSONATE)) {
        return Ok(shown);
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let name = text("impersonate-user");
    if name.is_empty() {
        return Err(Status::bad_request(
            "requested impersonation of groups, a uid or extra fields without a user; send Impersonate-User (kubectl: --as)",
        ));
    }
    if shown.identity() == Identity::Anonymous {
        let message = format!(
            "users {name:?} is forbidden: User {ANONYMOUS:?} cannot impersonate resource \"users\" in API group \"\" at \
             the cluster scope"
        );
        let details = json!({ "name": name, "kind": "users" });
        return Err(Status { details, ..Status::new(403, "Forbidden", message) });
    }
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let mut user = User::named(&name, values("impersonate-group"));
    user.uid = text("impersonate-uid");
    for header in headers.keys() {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            let key = crate::route::percent_decode(key).unwrap_or_else(|| key.to_owned());
            user.extra.insert(key, values(header.as_str()).into());
        }
    }
    Ok(Arc::new(user))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn ask(identity: Identity, headers: &[(&'static str, &'static str)]) -> Result<Arc<User>, Status> {
        let shown = match identity {
            Identity::Admin => User::named("me", vec!["system:masters".into()]),
            Identity::Anonymous => User::anonymous(),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        impersonated(Arc::new(shown), &map)
    }

    #[test]
    fn users_are_who_they_show_to_be_or_say_to_be() {
        let me = ask(Identity::Admin, &[]).unwrap();
        assert_eq!((me.name.as_str(), me.groups.join(" ").as_str()), ("me", "system:masters system:authenticated"));
        let bob = [("impersonate-user", "bob"), ("impersonate-group", "cooks"), ("impersonate-extra-a%2fb", "c")];
        let bob = ask(Identity::Admin, &bob).unwrap();
        assert_eq!((bob.name.as_str(), bob.groups.join(" ").as_str()), ("bob", "cooks system:authenticated"));
        assert_eq!(bob.to_json()["extra"], json!({ "a/b": ["c"] }));
        let account = ask(Identity::Admin, &[("impersonate-user", "system:serviceaccount:perf:ham")]).unwrap();
        assert_eq!(account.groups, ["system:serviceaccounts", "system:serviceaccounts:perf", AUTHENTICATED]);
        let nobody = ask(Identity::Admin, &[("impersonate-user", ANONYMOUS)]).unwrap();
        assert_eq!(nobody.identity(), Identity::Anonymous);
    }

    #[test]
    fn strangers_are_nobody_and_cannot_say_to_be_somebody() {
        assert_eq!(*ask(Identity::Anonymous, &[]).unwrap(), User::anonymous());
        assert_eq!(ask(Identity::Anonymous, &[("impersonate-user", "me")]).unwrap_err().code, 403);
        assert_eq!(ask(Identity::Admin, &[("impersonate-group", "system:masters")]).unwrap_err().code, 400);
        assert_eq!(User::of_certificate(b"nonsense").name, "");
    }
}
