//! Names and addresses in, certificates out: the CA, the server's and the administrator's, kept as PEM files.
//!
//! They are renewed at two thirds of their lives, while the server runs. The authority keeps its key when it is renewed, so
//! what it signed before stays good, and so do kubeconfig files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::token::Tokens;

mod files;
mod made;
mod resolver;

use self::made::Issuing;
pub use self::made::Lives;
pub(crate) use self::resolver::Resolver;

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
#[derive(Clone)]
pub struct Credentials {
    ca: Pair,
    server: Pair,
    admin: Pair,
    /// Public and private key for tokens of service accounts.
    accounts: Pair,
    dir: PathBuf,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    lives: Lives,
}

#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

impl Credentials {
    /// Loads the authority and the administrator's certificate from `dir`, making what is missing or due, and makes a
    /// server certificate for `names` and `addresses`. The authority survives restarts, so kubeconfig files stay valid.
    pub fn load_or_create(dir: &Path, names: &[String], addresses: &[IpAddr]) -> Result<Self, CredentialsError> {
        Self::load_or_create_at(Timestamp::now(), Lives::default(), dir, names, addresses)
    }

    /// The same at a given time, with certificates that live as long as told.
    pub fn load_or_create_at(
        now: Timestamp,
        lives: Lives,
        dir: &Path,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Self, CredentialsError> {
        std::fs::create_dir_all(dir).map_err(|error| files::failed("create", dir, error))?;
        let issuing = Issuing { dir, now, lives };
        let (authority, _) = issuing.authority(files::load(dir, "ca")?)?;
        let (admin, _) = issuing.admin(&authority, files::load(dir, "admin")?)?;
        let accounts = match files::load(dir, "accounts")? {
            Some(pair) => pair,
            None => issuing.accounts()?,
        };
        let (server, _) = issuing.server(&authority, None, names, addresses)?;
        let (names, addresses) = (names.to_vec(), addresses.to_vec());
        Ok(Self { ca: authority, server, admin, accounts, dir: dir.into(), names, addresses, lives })
    }

    /// The same authority's certificates with those made anew that are due at `now`, or not valid yet because the clock
    /// went back; none when all is well. A server goes on with them by [`crate::Server::renew`].
    pub fn renewed(&self, now: Timestamp) -> Result<Option<Self>, CredentialsError> {
        let issuing = Issuing { dir: &self.dir, now, lives: self.lives };
        let (ca, of_ca) = issuing.authority(Some(self.ca.clone()))?;
        let (admin, of_admin) = issuing.admin(&ca, Some(self.admin.clone()))?;
        let (server, of_server) = issuing.server(&ca, Some(self.server.clone()), &self.names, &self.addresses)?;
        if !(of_ca || of_admin || of_server) {
            return Ok(None);
        }
        tracing::info!(authority = of_ca, administrator = of_admin, server = of_server, "certificates are renewed");
        let (dir, names, addresses) = (self.dir.clone(), self.names.clone(), self.addresses.clone());
        Ok(Some(Self { ca, server, admin, accounts: self.accounts.clone(), dir, names, addresses, lives: self.lives }))
    }

    /// The authority's certificate, for clients to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca.certificate
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
            [&self.ca.certificate, &self.admin.certificate, &self.admin.key].map(|pem| STANDARD.encode(pem));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: mainstay\nclusters:\n- name: mainstay\n  cluster:\n    \
             server: {server_url}\n    certificate-authority-data: {ca}\ncontexts:\n- name: mainstay\n  context:\n    \
             cluster: mainstay\n    user: mainstay-admin\nusers:\n- name: mainstay-admin\n  user:\n    \
             client-certificate-data: {certificate}\n    client-key-data: {key}\n"
        )
    }

    /// TLS as the server speaks it: a client certificate is optional, but must be signed by our authority if given.
    /// `resolver` says which certificate is shown.
    pub(crate) fn tls(&self, resolver: Arc<Resolver>) -> Result<rustls::ServerConfig, CredentialsError> {
        let ca = certificates(&self.ca.certificate).map_err(|error| self.fail("read the authority", error))?;
        let mut roots = RootCertStore::empty();
        for certificate in ca {
            roots.add(certificate).map_err(|error| self.fail("trust the authority", error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| self.fail("trust the authority", error))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| self.fail("set up TLS", error))?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The same with the certificate as it is now.
    pub fn server_config(&self) -> Result<rustls::ServerConfig, CredentialsError> {
        self.tls(Arc::new(Resolver::new(self.shown()?)))
    }

    /// What the server shows.
    pub(crate) fn shown(&self) -> Result<CertifiedKey, CredentialsError> {
        let chain = certificates(&self.server.certificate)
            .map_err(|error| self.fail("read the server's certificate", error))?;
        let key = PrivateKeyDer::from_pem_slice(self.server.key.as_bytes())
            .map_err(|error| self.fail("read the server's key", error))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| self.fail("use the server's certificate", error))
    }

    fn fail(&self, what: &'static str, error: impl ToString) -> CredentialsError {
        CredentialsError::Certificate { what, dir: self.dir.clone(), error: error.to_string() }
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect()
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

    const DAY: i64 = 86_400;

    fn at(day: i64) -> Timestamp {
        "2026-11-21T08:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(day * DAY)
    }

    fn made(dir: &Path, day: i64) -> Credentials {
        let lives = Lives { authority: 3650 * DAY, other: 360 * DAY };
        Credentials::load_or_create_at(at(day), lives, dir, &["localhost".to_owned()], &[]).unwrap()
    }

    #[test]
    fn what_is_signed_is_renewed_at_two_thirds_of_its_life_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let first = made(dir.path(), 0);
        assert!(first.renewed(at(239)).unwrap().is_none());
        let second = first.renewed(at(241)).unwrap().unwrap();
        assert_eq!(second.ca.certificate, first.ca.certificate);
        assert_ne!(second.admin.certificate, first.admin.certificate);
        assert_ne!(second.server.certificate, first.server.certificate);
        assert_ne!(second.kubeconfig("https://x"), first.kubeconfig("https://x"));
        assert!(second.renewed(at(242)).unwrap().is_none());
        // The file is new too: the next start finds it.
        assert_eq!(made(dir.path(), 243).admin.certificate, second.admin.certificate);
        assert_ne!(made(dir.path(), 500).admin.certificate, second.admin.certificate);
    }

    #[test]
    fn an_authority_is_renewed_with_its_key_so_that_what_it_signed_stays_good() {
        let dir = tempfile::tempdir().unwrap();
        let first = made(dir.path(), 0);
        let second = first.renewed(at(2500)).unwrap().unwrap();
        assert_ne!(second.ca.certificate, first.ca.certificate);
        assert_eq!(second.ca.key, first.ca.key);
        for (authority, signed) in [(&first.ca, &second.server), (&second.ca, &first.server)] {
            let roots = certificates(&authority.certificate).unwrap();
            let (_, root) = x509_parser::parse_x509_certificate(&roots[0]).unwrap();
            let leaves = certificates(&signed.certificate).unwrap();
            let (_, leaf) = x509_parser::parse_x509_certificate(&leaves[0]).unwrap();
            assert_eq!(leaf.issuer(), root.subject());
        }
        assert_eq!(key_of(&first.ca), key_of(&second.ca), "the same public key");
    }

    fn key_of(pair: &Pair) -> Vec<u8> {
        let der = certificates(&pair.certificate).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der[0]).unwrap();
        certificate.tbs_certificate.subject_pki.subject_public_key.data.to_vec()
    }

    #[test]
    fn a_clock_that_jumps_either_way_finds_valid_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let mut now = made(dir.path(), 0);
        // Forth beyond every life, back before every beginning, and a little back: nothing to do.
        for (day, renews) in [(5000, true), (-4000, true), (0, true), (1, false), (-1, true)] {
            let renewed = now.renewed(at(day)).unwrap();
            assert_eq!(renewed.is_some(), renews, "day {day}");
            now = renewed.unwrap_or(now);
            for pair in [&now.ca, &now.admin, &now.server] {
                let (from, to) = made::validity(&pair.certificate).unwrap();
                assert!(from <= at(day) && at(day) < to, "day {day}: {from} to {to}");
            }
        }
    }

    #[test]
    fn nothing_outlives_its_authority() {
        let dir = tempfile::tempdir().unwrap();
        let lives = Lives { authority: 100 * DAY, other: 360 * DAY };
        let made = Credentials::load_or_create_at(at(0), lives, dir.path(), &[], &[]).unwrap();
        let (_, of_ca) = made::validity(&made.ca.certificate).unwrap();
        let (_, of_admin) = made::validity(&made.admin.certificate).unwrap();
        assert_eq!(of_ca, of_admin);
    }
}
