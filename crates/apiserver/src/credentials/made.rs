//! Certificates at a time: those that are missing or due in, pairs made and kept out.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::{CredentialsError, Pair, certificates, files};

/// How long certificates live, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// The authority.
    pub authority: i64,
    /// What it signs.
    pub other: i64,
}

impl Default for Lives {
    /// Ten years and one, as kubeadm has it.
    fn default() -> Self {
        Self { authority: 3650 * 86_400, other: 365 * 86_400 }
    }
}

/// How long before they are made certificates begin: clocks of clients are not quite ours.
const EARLY: i64 = 3600;

/// Makes certificates in a directory at a time.
pub(super) struct Issuing<'a> {
    pub(super) dir: &'a Path,
    pub(super) now: Timestamp,
    pub(super) lives: Lives,
}

type Made = Result<(Pair, bool), CredentialsError>;

impl Issuing<'_> {
    /// The authority, made anew with its own key if it is due; whether it was.
    pub(super) fn authority(&self, old: Option<Pair>) -> Made {
        if let Some(old) = old.as_ref().filter(|old| !self.due(&old.certificate)) {
            self.issuer(old)?;
            return Ok((old.clone(), false));
        }
        let make = || -> Result<Pair, rcgen::Error> {
            let key = match &old {
                Some(old) => KeyPair::from_pem(&old.key)?,
                None => KeyPair::generate()?,
            };
            let mut params = self.parameters("mainstay-ca", self.lives.authority, self.end(self.lives.authority));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages =
                vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
            Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
        };
        let what = if old.is_some() { "read the authority's key" } else { "make the certificate authority" };
        Ok((self.keep("ca", make().map_err(|error| self.failed(what, error))?)?, true))
    }

    /// The administrator's pair; whether it was made anew.
    pub(super) fn admin(&self, authority: &Pair, old: Option<Pair>) -> Made {
        if let Some(old) = old.filter(|old| !self.due(&old.certificate)) {
            return Ok((old, false));
        }
        let mut params = self.parameters("mainstay-admin", self.lives.other, self.end_under(authority));
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        let made = self.signed(params, ExtendedKeyUsagePurpose::ClientAuth, authority);
        let made = made.map_err(|error| self.failed("make the administrator's certificate", error))?;
        Ok((self.keep("admin", made)?, true))
    }

    /// The server's pair; whether it was made anew.
    pub(super) fn server(&self, authority: &Pair, old: Option<Pair>, names: &[String], addresses: &[IpAddr]) -> Made {
        if let Some(old) = old.filter(|old| !self.due(&old.certificate)) {
            return Ok((old, false));
        }
        let make = || -> Result<Pair, rcgen::Error> {
            let mut params = self.parameters("mainstay-apiserver", self.lives.other, self.end_under(authority));
            for name in names {
                params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
            }
            params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
            self.signed(params, ExtendedKeyUsagePurpose::ServerAuth, authority)
        };
        let made = make().map_err(|error| self.failed("make the server's certificate", error))?;
        Ok((self.keep("server", made)?, true))
    }

    /// The key for tokens of service accounts. It has no end.
    pub(super) fn accounts(&self) -> Result<Pair, CredentialsError> {
        let make = || -> Result<Pair, rcgen::Error> {
            let key = KeyPair::generate()?;
            Ok(Pair { certificate: key.public_key_pem(), key: key.serialize_pem() })
        };
        let made = make().map_err(|error| self.failed("make the key for tokens", error))?;
        self.keep("accounts", made)
    }

    fn keep(&self, name: &str, pair: Pair) -> Result<Pair, CredentialsError> {
        files::keep(self.dir, name, pair)
    }

    fn failed(&self, what: &'static str, error: rcgen::Error) -> CredentialsError {
        CredentialsError::Certificate { what, dir: self.dir.into(), error: error.to_string() }
    }

    /// Whether a certificate must be made anew: it is past two thirds of its life, or has not begun, or is none.
    fn due(&self, pem: &str) -> bool {
        validity(pem).is_none_or(|(from, to)| {
            let third = (to.as_second() - from.as_second()) / 3;
            self.now < from || self.now.as_second() >= to.as_second() - third
        })
    }

    fn end(&self, life: i64) -> Timestamp {
        self.now.checked_add(SignedDuration::from_secs(life)).unwrap_or(Timestamp::MAX)
    }

    fn end_under(&self, authority: &Pair) -> Timestamp {
        let end = self.end(self.lives.other);
        validity(&authority.certificate).map_or(end, |(_, to)| end.min(to))
    }

    fn parameters(&self, common_name: &str, life: i64, end: Timestamp) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let epoch = date_time_ymd(1970, 1, 1);
        let at = |second: i64| epoch + Duration::from_secs(u64::try_from(second).unwrap_or(0));
        params.not_before = at(self.now.as_second() - EARLY.min(life / 10));
        params.not_after = at(end.as_second());
        params
    }

    fn issuer(&self, authority: &Pair) -> Result<Issuer<'static, KeyPair>, CredentialsError> {
        let key = KeyPair::from_pem(&authority.key).map_err(|error| self.failed("read the authority's key", error))?;
        Issuer::from_ca_cert_pem(&authority.certificate, key).map_err(|error| self.failed("read the authority", error))
    }

    fn signed(
        &self,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
        authority: &Pair,
    ) -> Result<Pair, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
        let key = KeyPair::generate()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
    }
}

/// When a certificate begins and ends; none if it cannot be read.
pub(super) fn validity(pem: &str) -> Option<(Timestamp, Timestamp)> {
    let der = certificates(pem).ok()?.into_iter().next()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let validity = certificate.validity();
    let at = |second| Timestamp::from_second(second).ok();
    Some((at(validity.not_before.timestamp())?, at(validity.not_after.timestamp())?))
}
