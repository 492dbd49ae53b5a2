//! Claims about a service account in, a signed token (JWT, RFC 7519, ES256) out; a token in, the user it stands for out.

pub(crate) mod request;

use api::kinds;
use api::object::ObjectKey;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::limits;
use crate::object::{deleting, meta, parsed};
use crate::pipeline::Api;
use crate::user::User;

/// Who issues the tokens, and for whom they are unless somebody else is named.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// Signs and checks tokens.
pub(crate) struct Tokens {
    pair: EcdsaKeyPair,
    kid: String,
}

impl Tokens {
    /// With a key of the curve P-256 in PKCS #8, as PEM.
    pub(crate) fn new(pem: &str) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
            .map_err(|error| error.to_string())?;
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.public_key().as_ref()));
        Ok(Self { pair, kid })
    }

    /// Signs claims; none if the system gives no random numbers.
    pub(crate) fn sign(&self, claims: &Value) -> Option<String> {
        let head = json!({ "alg": "ES256", "kid": self.kid, "typ": "JWT" });
        let [head, body] = [&head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = format!("{head}.{body}");
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }

    /// The claims of a token that we signed.
    fn claims(&self, token: &str) -> Option<Value> {
        if token.len() > limits::TOKEN_BYTES {
            return None;
        }
        let (text, signature) = token.rsplit_once('.')?;
        let (head, body) = text.split_once('.')?;
        let json = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        // The algorithm is ours to choose, never the token's.
        json(head).filter(|head| head["alg"] == "ES256")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        key.verify(text.as_bytes(), &signature).ok()?;
        json(body)
    }
}

/// The token of a request.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The user whom a token stands for, and for which of `audiences` it is; else why it is not good.
pub(crate) fn judge(api: &Api, token: &str, audiences: &[String]) -> Result<(User, Vec<String>), String> {
    let tokens = api.inner.tokens.get().ok_or("invalid bearer token")?;
    let claims = tokens.claims(token).ok_or("invalid bearer token")?;
    let matched = audience(&claims, api.now_seconds(), audiences)?;
    let private = &claims["kubernetes.io"];
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let namespace = text(&private["namespace"]);
    let is_there = |kind: &'static api::kind::Kind, reference: &Value| {
        let key = ObjectKey::new(namespace.as_str(), text(&reference["name"]).as_str());
        let object = api.read(kind, &key).ok().and_then(|object| parsed(&object.json).ok());
        object.is_some_and(|object| meta(&object, "uid") == text(&reference["uid"]) && !deleting(&object))
    };
    let account = &private["serviceaccount"];
    if !is_there(&kinds::SERVICE_ACCOUNT, account) {
        return Err("the service account of the token has been deleted".to_owned());
    }
    let bound = [("pod", &kinds::POD), ("secret", &kinds::SECRET)];
    for (name, kind) in bound {
        // A pod that is on its way out may still use its token.
        let gone = |reference: &Value| match name {
            "pod" => !is_same(api, kind, &namespace, reference),
            _ => !is_there(kind, reference),
        };
        if private.get(name).is_some_and(gone) {
            return Err(format!("the {name} that the token is bound to has been deleted"));
        }
    }
    let mut user = User::named(&format!("system:serviceaccount:{namespace}:{}", text(&account["name"])), Vec::new());
    user.uid = text(&account["uid"]);
    let credential = format!("JTI={}", text(&claims["jti"]));
    user.extra.insert("authentication.kubernetes.io/credential-id".into(), json!([credential]));
    if let Some(pod) = private.get("pod") {
        user.extra.insert("authentication.kubernetes.io/pod-name".into(), json!([pod["name"]]));
        user.extra.insert("authentication.kubernetes.io/pod-uid".into(), json!([pod["uid"]]));
    }
    Ok((user, matched))
}

fn is_same(api: &Api, kind: &'static api::kind::Kind, namespace: &str, reference: &Value) -> bool {
    let key = ObjectKey::new(namespace, reference["name"].as_str().unwrap_or(""));
    let object = api.read(kind, &key).ok().and_then(|object| parsed(&object.json).ok());
    object.is_some_and(|object| reference["uid"] == meta(&object, "uid"))
}

/// For which of `audiences` the claims are good now.
fn audience(claims: &Value, now: i64, audiences: &[String]) -> Result<Vec<String>, String> {
    let at = |name: &str| claims[name].as_i64();
    if claims["iss"] != ISSUER {
        return Err("invalid bearer token".to_owned());
    }
    match (at("nbf"), at("exp")) {
        (Some(begin), Some(end)) if begin <= now && now < end => {}
        _ => return Err("service account token has expired or is not valid yet".to_owned()),
    }
    let own: Vec<&str> = claims["aud"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let matched: Vec<String> = audiences.iter().filter(|one| own.contains(&one.as_str())).cloned().collect();
    if matched.is_empty() {
        return Err(format!("token audiences {own:?} is invalid for the target audiences {audiences:?}"));
    }
    Ok(matched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(&rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap()
    }

    #[test]
    fn only_our_own_signature_counts() {
        let (ours, theirs) = (tokens(), tokens());
        let claims = json!({ "sub": "system:serviceaccount:perf:ham" });
        let token = ours.sign(&claims).unwrap();
        assert_eq!(ours.claims(&token), Some(claims.clone()));
        assert_eq!(theirs.claims(&token), None);
        let (text, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = text.split_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode(json!({ "sub": "system:serviceaccount:perf:eggs" }).to_string());
        let none = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}");
        let body = text.split_once('.').unwrap().1;
        for forged in [
            format!("{head}.{other}.{signature}"),
            format!("{none}.{body}."),
            format!("{none}.{body}.{signature}"),
            format!("{text}."),
            text.to_owned(),
            "x".to_owned(),
            String::new(),
            format!("{token}{}", "A".repeat(limits::TOKEN_BYTES)),
        ] {
            assert_eq!(ours.claims(&forged), None, "{forged}");
        }
    }

    #[test]
    fn tokens_have_their_time_and_their_audience() {
        let claims = json!({ "iss": ISSUER, "nbf": 10, "exp": 20, "aud": ["a", "b"] });
        let for_b = ["b".to_owned(), "c".to_owned()];
        assert_eq!(audience(&claims, 10, &for_b).unwrap(), ["b"]);
        for now in [9, 20, 21] {
            assert!(audience(&claims, now, &for_b).unwrap_err().contains("expired"), "{now}");
        }
        let other = audience(&claims, 10, &["c".to_owned()]).unwrap_err();
        assert_eq!(other, "token audiences [\"a\", \"b\"] is invalid for the target audiences [\"c\"]");
        assert!(audience(&json!({ "iss": "x", "nbf": 10, "exp": 20, "aud": ["b"] }), 10, &for_b).is_err());
        assert!(audience(&json!({ "iss": ISSUER, "aud": ["b"] }), 10, &for_b).is_err());
    }

    #[test]
    fn bearer_tokens_are_found() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            of_headers(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!((of("Basic abc"), of("Bearer"), of("Bearer ")), (None, None, None));
    }
}
