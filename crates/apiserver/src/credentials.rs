//! Names and addresses in, certificates out: the CA, the server's and the administrator's, kept as PEM files.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::token::Tokens;

/// Why certificates could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file could not be read or written.
    #[error("{verb} {}: {error}; check that the data directory is writable and not full", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
    /// A certificate or key is not what it should be.
    #[error("{what}: {error}; remove the directory {} to have new certificates made", dir.display())]
    Certificate {
        /// What was being done.
        what: &'static str,
        /// Where the certificates are.
        dir: PathBuf,
        /// Why it failed.
        error: String,
    },
}

/// The certificates of one cluster: its authority, its server's and its administrator's.
pub struct Credentials {
    ca: String,
    server: Pair,
    admin: Pair,
    /// Public and private key for tokens of service accounts.
    accounts: Pair,
    dir: PathBuf,
}

struct Pair {
    certificate: String,
    key: String,
}

impl Credentials {
    /// Loads the authority and the administrator's certificate from `dir`, making what is missing, and makes a server
    /// certificate for `names` and `addresses`. The authority survives restarts, so kubeconfig files stay valid.
    pub fn load_or_create(dir: &Path, names: &[String], addresses: &[IpAddr]) -> Result<Self, CredentialsError> {
        std::fs::create_dir_all(dir).map_err(|error| file("create", dir, error))?;
        let failed = |what| {
            move |error: rcgen::Error| CredentialsError::Certificate { what, dir: dir.into(), error: error.to_string() }
        };
        let authority = match load(dir, "ca")? {
            Some(pair) => pair,
            None => keep(dir, "ca", make_authority().map_err(failed("make the certificate authority"))?)?,
        };
        let key = KeyPair::from_pem(&authority.key).map_err(failed("read the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, key).map_err(failed("read the authority"))?;
        let admin = match load(dir, "admin")? {
            Some(pair) => pair,
            None => keep(dir, "admin", make_admin(&issuer).map_err(failed("make the administrator's certificate"))?)?,
        };
        let accounts = match load(dir, "accounts")? {
            Some(pair) => pair,
            None => keep(dir, "accounts", make_accounts().map_err(failed("make the key for tokens"))?)?,
        };
        let server = make_server(&issuer, names, addresses).map_err(failed("make the server's certificate"))?;
        let server = keep(dir, "server", server)?;
        Ok(Self { ca: authority.certificate, server, admin, accounts, dir: dir.into() })
    }

    /// The authority's certificate, for clients to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// The administrator's certificate and key.
    pub fn admin_pem(&self) -> (&str, &str) {
        (&self.admin.certificate, &self.admin.key)
    }

    /// What signs and checks tokens of service accounts.
    pub(crate) fn tokens(&self) -> Result<Tokens, CredentialsError> {
        let what = "read the key for tokens";
        let failed = |error| CredentialsError::Certificate { what, dir: self.dir.clone(), error };
        Tokens::new(&self.accounts.key).map_err(failed)
    }

    /// The text of a kubeconfig file with the administrator's certificate, for a server at `server_url`.
    pub fn kubeconfig(&self, server_url: &str) -> String {
        let [ca, certificate, key] =
            [&self.ca, &self.admin.certificate, &self.admin.key].map(|pem| STANDARD.encode(pem));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: mainstay\nclusters:\n- name: mainstay\n  cluster:\n    \
             server: {server_url}\n    certificate-authority-data: {ca}\ncontexts:\n- name: mainstay\n  context:\n    \
             cluster: mainstay\n    user: mainstay-admin\nusers:\n- name: mainstay-admin\n  user:\n    \
             client-certificate-data: {certificate}\n    client-key-data: {key}\n"
        )
    }

    /// TLS as the server speaks it: a client certificate is optional, but must be signed by our authority if given.
    pub fn server_config(&self) -> Result<rustls::ServerConfig, CredentialsError> {
        let fail =
            |what: &'static str, error: String| CredentialsError::Certificate { what, dir: self.dir.clone(), error };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let ca = certificates(&self.ca).map_err(|error| fail("read the authority", error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in ca {
            roots.add(certificate).map_err(|error| fail("trust the authority", error.to_string()))?;
        }
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| fail("trust the authority", error.to_string()))?;
        let chain = certificates(&self.server.certificate)
            .map_err(|error| fail("read the server's certificate", error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(self.server.key.as_bytes())
            .map_err(|error| fail("read the server's key", error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_client_cert_verifier(clients).with_single_cert(chain, key))
            .map_err(|error| fail("use the server's certificate", error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect()
}

fn parameters(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Wide enough that neither a clock that is off nor a long-lived data directory ever meets the borders.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

fn make_authority() -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = parameters("mainstay-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn make_admin(issuer: &Issuer<'_, KeyPair>) -> Result<Pair, rcgen::Error> {
    let mut params = parameters("mainstay-admin");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    signed(params, ExtendedKeyUsagePurpose::ClientAuth, issuer)
}

fn make_accounts() -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: key.public_key_pem(), key: key.serialize_pem() })
}

fn make_server(issuer: &Issuer<'_, KeyPair>, names: &[String], addresses: &[IpAddr]) -> Result<Pair, rcgen::Error> {
    let mut params = parameters("mainstay-apiserver");
    for name in names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    signed(params, ExtendedKeyUsagePurpose::ServerAuth, issuer)
}

fn signed(
    mut params: CertificateParams,
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    Ok(Pair { certificate: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
}

fn load(dir: &Path, name: &str) -> Result<Option<Pair>, CredentialsError> {
    let read = |extension: &str| {
        let path = dir.join(format!("{name}.{extension}"));
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file("read", &path, error)),
        }
    };
    Ok(read("crt")?.zip(read("key")?).map(|(certificate, key)| Pair { certificate, key }))
}

/// Writes a pair so that a crash leaves either the old file or the new one; the key first, as `load` needs both.
fn keep(dir: &Path, name: &str, pair: Pair) -> Result<Pair, CredentialsError> {
    for (extension, text) in [("key", &pair.key), ("crt", &pair.certificate)] {
        let path = dir.join(format!("{name}.{extension}"));
        let fresh = dir.join(format!("{name}.{extension}.new"));
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            std::fs::rename(&fresh, &path)
        };
        write().map_err(|error| file("write", &path, error))?;
    }
    Ok(pair)
}

fn file(verb: &'static str, path: &Path, error: std::io::Error) -> CredentialsError {
    CredentialsError::File { verb, path: path.into(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_authority_and_the_administrator_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned()];
        let first = Credentials::load_or_create(dir.path(), &names, &["127.0.0.1".parse().unwrap()]).unwrap();
        let second = Credentials::load_or_create(dir.path(), &names, &["::1".parse().unwrap()]).unwrap();
        assert_eq!(first.kubeconfig("https://x"), second.kubeconfig("https://x"));
        assert_ne!(first.server.certificate, second.server.certificate);
        second.server_config().unwrap();
        for name in ["ca.key", "ca.crt", "admin.key", "server.key"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_damaged_authority_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
        std::fs::write(dir.path().join("ca.crt"), "nonsense").unwrap();
        let error = Credentials::load_or_create(dir.path(), &[], &[]).err().unwrap().to_string();
        assert!(error.starts_with("read the authority's key"), "{error}");
        assert!(error.contains("remove the directory"), "{error}");
    }
}
