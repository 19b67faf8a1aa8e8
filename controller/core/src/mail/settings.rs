//! Settings of mail: the address of links, the mail server and how to log in to it. Wrong settings are found at the start of
//! the controller, with the option that has to change.

use std::{fmt, fs, path::Path, path::PathBuf, sync::Arc};

use crate::error::Error;
use lettre::{message::Mailbox, transport::smtp::authentication::Credentials};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use url::{Host, Url};
use zeroize::Zeroizing;

/// Port of mail with TLS from its first byte (RFC 8314).
const TLS_PORT: u16 = 465;
/// Port of submission (RFC 6409); TLS begins with STARTTLS.
const SUBMISSION_PORT: u16 = 587;

/// What the operator sets; all of it is optional.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Base of the links in mails.
    pub public_url: Option<String>,
    /// `smtps://user@host:465` or `smtp://user@host:587`.
    pub smtp_url: Option<String>,
    /// File with the password.
    pub smtp_password_file: Option<PathBuf>,
    /// File with certificates of the CA that signed the mail server's, in PEM.
    pub smtp_ca_file: Option<PathBuf>,
    /// Sender, `Name <address>` or an address.
    pub mail_from: Option<String>,
}

/// A setting of mail is wrong.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No web address.
    #[error(
        "--public-url must be an http or https URL without user, query and fragment, e.g. https://dashboard.example.com"
    )]
    PublicUrl,
    /// No address of a mail server.
    #[error(
        "--smtp-url must look like smtps://user@mail.example.com:465, or smtp://user@mail.example.com:587 for STARTTLS"
    )]
    SmtpUrl,
    /// The URL contains a password, which the process list shows.
    #[error(
        "--smtp-url must not contain the password; put it into a file and name that with --smtp-password-file"
    )]
    PasswordInUrl,
    /// Something else is missing.
    #[error("{given} needs {missing}")]
    Missing {
        /// What was set.
        given: &'static str,
        /// What has to be set, too.
        missing: &'static str,
    },
    /// No sender.
    #[error("--mail-from must be an address, or a name and an address: 'Supalove <no-reply@example.com>'")]
    From,
    /// A file cannot be read.
    #[error("cannot read {path} ({option})")]
    Unreadable {
        /// Path.
        path: String,
        /// Option that names it.
        option: &'static str,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// An empty password, or one with a line break.
    #[error("the file of --smtp-password-file must contain the password, on one line")]
    Password,
    /// No certificates.
    #[error("the file of --smtp-ca-file must contain certificates in PEM")]
    Certificates,
    /// The system has no certificate authorities.
    #[error("the system has no certificate authorities: install ca-certificates, or set --smtp-ca-file")]
    NoAuthorities,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// How mail is sent; nothing of it is set by default. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    public_url: Option<Arc<Url>>,
    smtp: Option<Arc<Smtp>>,
}

/// When a connection to the mail server becomes TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// From its first byte.
    Tls,
    /// By STARTTLS, or not at all: then nothing is sent.
    StartTls,
    /// Never. On loopback only, for a server that offers no STARTTLS.
    StartTlsOnLoopback,
}

/// The mail server.
pub(super) struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub tls: Arc<ClientConfig>,
    pub tls_name: ServerName<'static>,
    pub credentials: Option<Credentials>,
    pub from: Mailbox,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Mail {
    /// Reads the settings and the files that they name.
    pub fn new(options: &Options) -> Result<Self, SettingsError> {
        let public_url = options.public_url.as_deref().map(public_url).transpose()?;
        let Some(smtp_url) = &options.smtp_url else {
            for (given, is_set) in [
                ("--mail-from", options.mail_from.is_some()),
                ("--smtp-password-file", options.smtp_password_file.is_some()),
                ("--smtp-ca-file", options.smtp_ca_file.is_some()),
            ] {
                if is_set {
                    return Err(SettingsError::Missing { given, missing: "--smtp-url" });
                }
            }
            return Ok(Self { public_url: public_url.map(Arc::new), smtp: None });
        };
        if public_url.is_none() {
            return Err(SettingsError::Missing {
                given: "--smtp-url",
                missing: "--public-url, the address to which links in mails lead",
            });
        }
        let smtp = Smtp::new(smtp_url, options)?;
        Ok(Self { public_url: public_url.map(Arc::new), smtp: Some(Arc::new(smtp)) })
    }

    /// True if mail can be sent. Links then have a base.
    pub fn enabled(&self) -> bool {
        self.smtp.is_some()
    }

    /// An error unless mail can be sent.
    pub fn check_enabled(&self) -> Result<(), Error> {
        if self.enabled() { Ok(()) } else { Err(super::not_set_up()) }
    }

    /// Base of the links in mails, with a slash at its end, so that [`Url::join`] appends to it.
    pub fn public_url(&self) -> Option<&Url> {
        self.public_url.as_deref()
    }

    pub(super) fn smtp(&self) -> Option<&Smtp> {
        self.smtp.as_deref()
    }
}

fn public_url(text: &str) -> Result<Url, SettingsError> {
    let mut url = Url::parse(text).map_err(|_| SettingsError::PublicUrl)?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain || url.host().is_none() {
        return Err(SettingsError::PublicUrl);
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

impl Smtp {
    fn new(url: &str, options: &Options) -> Result<Self, SettingsError> {
        let url = Url::parse(url).map_err(|_| SettingsError::SmtpUrl)?;
        if url.password().is_some() {
            return Err(SettingsError::PasswordInUrl);
        }
        let tls = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err(SettingsError::SmtpUrl),
        };
        let more = !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some();
        let host = url.host_str().filter(|host| !more && !host.is_empty()).ok_or(SettingsError::SmtpUrl)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let security = match (tls, is_loopback(&host)) {
            (true, _) => Security::Tls,
            (false, true) => Security::StartTlsOnLoopback,
            (false, false) => Security::StartTls,
        };
        let from = options.mail_from.as_deref().ok_or(SettingsError::Missing {
            given: "--smtp-url",
            missing: "--mail-from, the sender of all mails",
        })?;
        Ok(Self {
            tls_name: ServerName::try_from(host.clone()).map_err(|_| SettingsError::SmtpUrl)?,
            port: url.port().unwrap_or(if tls { TLS_PORT } else { SUBMISSION_PORT }),
            tls: Arc::new(client_config(options.smtp_ca_file.as_deref())?),
            credentials: credentials(url.username(), options.smtp_password_file.as_deref())?,
            from: from.parse().map_err(|_| SettingsError::From)?,
            security,
            host,
        })
    }
}

/// A name that always is this host, or an address of it.
fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost",
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Ipv6(address)) => address.is_loopback(),
        // An IPv6 address has brackets in a URL only.
        Err(_) => host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn credentials(user: &str, file: Option<&Path>) -> Result<Option<Credentials>, SettingsError> {
    let file = match (user.is_empty(), file) {
        (true, None) => return Ok(None),
        (true, Some(_)) => {
            return Err(SettingsError::Missing {
                given: "--smtp-password-file",
                missing: "a user in --smtp-url, like smtps://user@mail.example.com",
            });
        }
        (false, None) => {
            return Err(SettingsError::Missing {
                given: "the user in --smtp-url",
                missing: "--smtp-password-file",
            });
        }
        (false, Some(file)) => file,
    };
    let text = read(file, "--smtp-password-file")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(SettingsError::Password);
    }
    // The user of a URL is percent-encoded: an address as the user has its @ as %40.
    let user = percent_decoded(user).ok_or(SettingsError::SmtpUrl)?;
    Ok(Some(Credentials::new(user, password.to_owned())))
}

fn percent_decoded(text: &str) -> Option<String> {
    // The parser of forms gives a meaning to these, which the user of a URL does not.
    let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned())
}

fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, SettingsError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = ca_file {
        let pem = read(file, "--smtp-ca-file")?;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|_| SettingsError::Certificates)?;
            roots.add(certificate).map_err(|_| SettingsError::Certificates)?;
        }
        if roots.is_empty() {
            return Err(SettingsError::Certificates);
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(SettingsError::NoAuthorities);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn read(file: &Path, option: &'static str) -> Result<Zeroizing<String>, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: file.display().to_string(), option, source };
    fs::read_to_string(file).map(Zeroizing::new).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn options(url: &str) -> Options {
        Options {
            public_url: Some("https://dashboard.example.com/app".to_owned()),
            smtp_url: Some(url.to_owned()),
            mail_from: Some("Supalove <no-reply@example.com>".to_owned()),
            ..Options::default()
        }
    }

    #[test]
    fn nothing_is_sent_by_default() {
        let mail = Mail::new(&Options::default()).unwrap();
        assert!(!mail.enabled() && mail.public_url().is_none());
    }

    #[test]
    fn links_are_below_the_public_url() {
        let mail = Mail::new(&options("smtps://mail.example.com")).unwrap();
        assert!(mail.enabled());
        let link = mail.public_url().unwrap().join("invitations#token=x").unwrap();
        assert_eq!(link.as_str(), "https://dashboard.example.com/app/invitations#token=x");
    }

    #[test]
    fn the_scheme_decides_on_tls_and_only_loopback_may_go_without() {
        for (url, port, security) in [
            ("smtps://mail.example.com", 465, Security::Tls),
            ("smtps://127.0.0.1:2465", 2465, Security::Tls),
            ("smtp://mail.example.com", 587, Security::StartTls),
            ("smtp://mail.example.com:25", 25, Security::StartTls),
            ("smtp://localhost.example.com", 587, Security::StartTls),
            ("smtp://10.0.0.1", 587, Security::StartTls),
            ("smtp://127.0.0.1:1025", 1025, Security::StartTlsOnLoopback),
            ("smtp://[::1]:1025", 1025, Security::StartTlsOnLoopback),
            ("smtp://localhost:1025", 1025, Security::StartTlsOnLoopback),
        ] {
            let mail = Mail::new(&options(url)).unwrap();
            let smtp = mail.smtp().unwrap();
            assert_eq!((smtp.port, smtp.security), (port, security), "{url}");
        }
    }

    #[test]
    fn user_and_password_come_together_and_are_never_shown() {
        let password = file("canary$ \"x\"\n");
        let with = Options {
            smtp_password_file: Some(password.path().to_owned()),
            ..options("smtps://ada+x%40example.com@mail.example.com")
        };
        let mail = Mail::new(&with).unwrap();
        let expected = Credentials::new("ada+x@example.com".to_owned(), "canary$ \"x\"".to_owned());
        assert!(mail.smtp().unwrap().credentials == Some(expected));
        assert!(!format!("{mail:?}").contains("canary"));
    }

    #[test]
    fn wrong_settings_name_the_option_that_has_to_change() {
        let empty = file("\n");
        let words = file("no certificate");
        let password = |url: &str, file: &tempfile::NamedTempFile| Options {
            smtp_password_file: Some(file.path().to_owned()),
            ..options(url)
        };
        let cases = [
            (
                Options { public_url: Some("example.com".into()), ..Options::default() },
                "--public-url must be",
            ),
            (Options { public_url: None, ..options("smtps://h") }, "--smtp-url needs --public-url"),
            (Options { mail_from: None, ..options("smtps://h") }, "--smtp-url needs --mail-from"),
            (Options { mail_from: Some("nobody".into()), ..options("smtps://h") }, "--mail-from must be"),
            (Options { mail_from: Some("a@b".into()), ..Options::default() }, "--mail-from needs --smtp-url"),
            (options("https://mail.example.com"), "--smtp-url must look"),
            (options("smtps://mail.example.com/path"), "--smtp-url must look"),
            (options("smtps://ada:canary@mail.example.com"), "--smtp-url must not contain the password"),
            (options("smtps://ada@mail.example.com"), "needs --smtp-password-file"),
            (password("smtps://mail.example.com", &empty), "needs a user in --smtp-url"),
            (password("smtps://ada@mail.example.com", &empty), "--smtp-password-file must contain"),
            (
                Options { smtp_ca_file: Some(words.path().to_owned()), ..options("smtps://h") },
                "--smtp-ca-file must contain",
            ),
            (
                Options { smtp_ca_file: Some("/nonexistent".into()), ..options("smtps://h") },
                "cannot read /nonexistent",
            ),
        ];
        for (options, expected) in cases {
            let error = Mail::new(&options).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("canary"), "{error}");
        }
    }
}
