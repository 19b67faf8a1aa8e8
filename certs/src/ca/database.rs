//! The CA of one project's database, and the certificate that the database's server presents. It has nothing to do with
//! the fleet's CA: whoever trusts it trusts one database.

use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::{BACK_DATED, CaError, CertificateAuthority, leaf_params, root_params};
use crate::key::PrivateKey;
use crate::pem;

/// Life of a database's certificate: a year.
pub const DATABASE_LIFETIME: TimeDelta = TimeDelta::days(365);

/// The root of one project's database.
#[derive(Debug)]
pub struct DatabaseAuthority(CertificateAuthority);

/// A certificate of a database's server with its private key.
#[derive(Clone)]
pub struct ServerCertificate {
    /// The certificate alone, without the CA.
    pub cert_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: Zeroizing<String>,
}

/// What a server's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Serial number: 32 lowercase hexadecimal digits.
    pub serial_hex: String,
    /// Host names and addresses.
    pub names: Vec<String>,
    /// The moment of issuing: the certificate itself is back-dated.
    pub issued: DateTime<Utc>,
    /// The last second of its life.
    pub ends: DateTime<Utc>,
}

impl DatabaseAuthority {
    /// Creates a root that lives for [`CA_LIFETIME`](super::CA_LIFETIME).
    pub fn create(project_ref: &str, now: DateTime<Utc>) -> Result<Self, CaError> {
        CertificateAuthority::with_root(root_params("Supalove database CA", project_ref), now).map(Self)
    }

    /// Loads a root that [`DatabaseAuthority::create`] made, after checking that certificate and key belong together.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        CertificateAuthority::load(cert_pem, key_pem).map(Self)
    }

    /// The root certificate, for the database's clients.
    pub fn cert_pem(&self) -> &str {
        self.0.cert_pem()
    }

    /// The private key as PKCS#8 PEM: seal it before you store it.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.0.key_pem()
    }

    /// Issues a server certificate with a new key for these host names and addresses. It lives for [`DATABASE_LIFETIME`],
    /// not longer than the root.
    pub fn issue(&self, names: &[impl AsRef<str>], now: DateTime<Utc>) -> Result<ServerCertificate, CaError> {
        let key = PrivateKey::generate()?;
        let mut params = leaf_params("Supalove database");
        params.subject_alt_names =
            names.iter().map(|name| san(name.as_ref())).collect::<Result<_, CaError>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = self.0.sign(params, &key, DATABASE_LIFETIME, now)?;
        Ok(ServerCertificate { cert_pem: leaf.certificate.pem(), key_pem: key.to_pem() })
    }
}

impl ServerFacts {
    /// Reads a certificate that [`DatabaseAuthority::issue`] made.
    pub fn from_pem(cert_pem: &str) -> Result<Self, CaError> {
        let der = pem::certificate(cert_pem)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| CaError::ServerCertificate)?;
        let at = |time: x509_parser::time::ASN1Time| {
            DateTime::from_timestamp(time.timestamp(), 0).ok_or(CaError::ServerCertificate)
        };
        let names = parsed.subject_alternative_name().map_err(|_| CaError::ServerCertificate)?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        Ok(Self {
            serial_hex: hex::encode(parsed.raw_serial()),
            names: names.iter().map(name).collect::<Option<_>>().ok_or(CaError::ServerCertificate)?,
            issued: at(parsed.validity().not_before)? + BACK_DATED,
            ends: at(parsed.validity().not_after)?,
        })
    }
}

fn san(name: &str) -> Result<SanType, CaError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let wrong = || CaError::ServerName(name.to_owned());
    if !(1..=253).contains(&name.len()) || !name.bytes().all(letter) {
        return Err(wrong());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| wrong())?))
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(host) => Some((*host).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").finish_non_exhaustive()
    }
}
