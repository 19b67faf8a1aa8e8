//! What the way to the controller shows: whether one answers, whether it is the right one, and what its clock says.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::header;
use rustls::AlertDescription;
use supalove_certs::tls::{
    ClientTls, ConnectError, TlsConfigError, download_client_config, trusted_download_client_config,
};
use supalove_certs::{JoinToken, TrustBundle};

use super::{Check, Known};
use crate::args::Doctor;
use crate::config::Times;
use crate::dial::{DialError, dial};

/// Any answer of the controller has its time; this path is the shortest one.
const PATH: &str = "/join/sha256";
/// Difference of clocks that certificates and tokens bear.
const TOLERATED: TimeDelta = TimeDelta::seconds(30);
/// Difference from which on tokens of projects and certificates are refused.
const TOO_MUCH: TimeDelta = TimeDelta::minutes(5);

const REACH: &str = "open the host's way to this TCP port, outbound: it is the only one that the agent needs; check the address and name \
     resolution";
const SET_CLOCK: &str = "set the clock and keep it right: timedatectl set-ntp true, or install chrony";

pub(super) async fn examine(options: &Doctor, identity: &Known, times: &Times) -> Vec<Check> {
    if let (Ok(identity), Some(token)) = (identity, &options.token)
        && let Some(foreign) = foreign_token(&identity.ca_pem, token)
    {
        return vec![foreign];
    }
    let (addresses, tls) = match (identity, &options.controller) {
        (Ok(identity), _) => (identity.controller.clone(), trusted_download_client_config(&identity.ca_pem)),
        (Err(_), Some(addresses)) => match token_config(options) {
            Ok(tls) => (addresses.clone(), tls),
            Err(check) => return vec![check],
        },
        (Err(_), None) => return Vec::new(),
    };
    let tls = match tls {
        Ok(tls) => tls,
        Err(error) => return vec![Check::failure("CONTROLLER", error.to_string(), "join this host again")],
    };
    let mut looks = Vec::new();
    for address in addresses.split(',') {
        looks.push((address.to_owned(), look(address, tls.clone(), times.protocol.dial).await));
    }
    judge(&looks, Utc::now())
}

/// A failure if the join token is of another fleet than the one that this host has joined: its controller's agent would run here as
/// root.
fn foreign_token(ca_pem: &str, token: &str) -> Option<Check> {
    // A node needs no token, so one that is none says nothing.
    let token: JoinToken = token.parse().ok()?;
    let known = TrustBundle::from_pem(ca_pem).is_ok_and(|bundle| bundle.fingerprints().contains(&token.ca()));
    (!known).then(|| {
        Check::failure(
            "TOKEN",
            "this host is a node of another fleet than that of the join token, or the token's root is retired",
            "for another fleet: delete the projects here, remove the agent with the command of its own fleet and --uninstall, then run \
             this again. For an upgrade: create a new command with `supalove join-token create`",
        )
    })
}

fn token_config(options: &Doctor) -> Result<Result<ClientTls, TlsConfigError>, Check> {
    let remedy = "give the host a new token: supalove join-token create";
    let Some(token) = &options.token else {
        return Err(Check::failure("TOKEN", "SUPALOVE_JOIN_TOKEN is not set", remedy));
    };
    let token: JoinToken = token
        .parse()
        .map_err(|error: supalove_certs::TokenError| Check::failure("TOKEN", error.to_string(), remedy))?;
    Ok(download_client_config(&token.ca()))
}

/// What one address answers.
#[derive(Debug)]
enum Look {
    /// The time of the controller and of this host.
    Time {
        theirs: DateTime<Utc>,
        ours: DateTime<Utc>,
    },
    /// A controller that serves no downloads.
    Older,
    Failed(DialError),
}

async fn look(address: &str, tls: ClientTls, limit: Duration) -> Look {
    let asking = async {
        let answer = dial(address, tls, limit).await?.get(PATH).await?;
        let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let theirs = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        theirs.ok_or_else(|| DialError::Http("it did not say its time".to_owned()))
    };
    match tokio::time::timeout(limit * 3, asking).await {
        Ok(Ok(theirs)) => Look::Time { theirs: theirs.to_utc(), ours: Utc::now() },
        Ok(Err(DialError::Tls(ConnectError::Refused(AlertDescription::NoApplicationProtocol)))) => {
            Look::Older
        }
        Ok(Err(error)) => Look::Failed(error),
        Err(_) => Look::Failed(DialError::Timeout { address: address.to_owned(), limit: limit * 3 }),
    }
}

fn judge(looks: &[(String, Look)], now: DateTime<Utc>) -> Vec<Check> {
    let any = looks.iter().any(|(_, look)| !matches!(look, Look::Failed(_)));
    let mut checks = Vec::new();
    for (address, look) in looks {
        checks.push(match look {
            Look::Failed(error) => failed(address, error, any, now),
            Look::Time { .. } | Look::Older => {
                Check::ok("CONTROLLER", format!("the controller answers at {address}"))
            }
        });
    }
    let clock = looks.iter().find_map(|(_, look)| match look {
        Look::Time { theirs, ours } => Some(clock(*theirs, *ours)),
        _ => None,
    });
    checks.extend(clock);
    checks
}

fn failed(address: &str, error: &DialError, another_answers: bool, now: DateTime<Utc>) -> Check {
    match error {
        DialError::Tls(ConnectError::ControllerCertificateTime(_)) => Check::failure(
            "CLOCK",
            format!(
                "this host's clock ({now:.0?}) is outside the life of the certificate of the controller at {address}"
            ),
            SET_CLOCK,
        ),
        DialError::Tls(ConnectError::WrongCa(_) | ConnectError::ForeignController) => Check::failure(
            "CONTROLLER",
            format!("at {address} answers a controller of another fleet, or something in between: {error}"),
            "check the address; create a new token on the controller that this host shall join: supalove join-token create",
        ),
        error => {
            let message = match error {
                DialError::Tls(_) | DialError::Http(_) => format!("{address}: {error}"),
                DialError::Unreachable { .. } | DialError::Timeout { .. } => error.to_string(),
            };
            if another_answers {
                Check::warning("CONTROLLER", format!("{message}; another address answers"), REACH)
            } else {
                Check::failure("CONTROLLER", message, REACH)
            }
        }
    }
}

fn clock(theirs: DateTime<Utc>, ours: DateTime<Utc>) -> Check {
    let off = ours - theirs;
    let side = if off < TimeDelta::zero() { "behind" } else { "ahead of" };
    let message = format!("this host's clock is {} s {side} the controller's", off.abs().num_seconds());
    if off.abs() > TOO_MUCH {
        Check::failure("CLOCK", message, SET_CLOCK)
    } else if off.abs() > TOLERATED {
        Check::warning("CLOCK", message, SET_CLOCK)
    } else {
        Check::ok("CLOCK", "this host's clock agrees with the controller's")
    }
}

#[cfg(test)]
mod tests {
    use supalove_certs::CertificateAuthority;

    use super::super::Level;
    use super::*;

    fn unreachable(address: &str) -> Look {
        let source = std::io::ErrorKind::ConnectionRefused.into();
        Look::Failed(DialError::Unreachable { address: address.into(), source })
    }

    #[test]
    fn a_token_of_another_fleet_is_found_out_on_a_node() {
        let [own, other] = [(); 2].map(|()| CertificateAuthority::create("test", Utc::now()).unwrap());
        let token = |ca: &CertificateAuthority| {
            JoinToken::generate(ca.fingerprint(), uuid::Uuid::new_v4()).unwrap().to_string()
        };
        assert_eq!(foreign_token(own.cert_pem(), &token(&own)), None);
        assert_eq!(foreign_token(own.cert_pem(), "no token"), None);
        assert_eq!(foreign_token(own.cert_pem(), &token(&other)).unwrap().level, Level::Failure);
    }

    #[test]
    fn clocks_are_compared_in_both_directions() {
        let now = Utc::now();
        for (off, level) in [(0, Level::Ok), (31, Level::Warning), (3600, Level::Failure)] {
            for off in [TimeDelta::seconds(off), TimeDelta::seconds(-off)] {
                assert_eq!(clock(now, now + off).level, level, "{off}");
            }
        }
        assert!(clock(now, now - TimeDelta::hours(1)).message.contains("3600 s behind"));
    }

    #[test]
    fn one_address_that_answers_is_enough() {
        let now = Utc::now();
        let time = || Look::Time { theirs: now, ours: now };
        let levels = |looks: Vec<(String, Look)>| {
            judge(&looks, now).iter().map(|check| check.level).collect::<Vec<_>>()
        };
        assert_eq!(
            levels(vec![("a:1".into(), unreachable("a:1")), ("b:1".into(), time())]),
            [Level::Warning, Level::Ok, Level::Ok]
        );
        assert_eq!(levels(vec![("a:1".into(), unreachable("a:1"))]), [Level::Failure]);
        assert_eq!(levels(vec![("a:1".into(), Look::Older)]), [Level::Ok]);
        let foreign = Look::Failed(DialError::Tls(ConnectError::ForeignController));
        let found = judge(&[("a:1".into(), foreign), ("b:1".into(), time())], now);
        assert_eq!(found[0].level, Level::Failure, "that is no matter of availability");
        let early = ConnectError::ControllerCertificateTime(rustls::CertificateError::NotValidYet);
        let found = judge(&[("a:1".into(), Look::Failed(DialError::Tls(early)))], now);
        assert_eq!(found[0].check, "CLOCK");
    }
}
