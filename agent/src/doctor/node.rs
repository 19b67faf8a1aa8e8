//! What a joined node knows of itself: its identity, and what its running agent says.

use std::path::Path;

use chrono::Utc;
use supalove_certs::CertificateLife;

use super::{Check, Known};
use crate::identity::{Identity, IdentityError};
use crate::status;

pub(super) fn identity(identity: &Known, before_join: bool) -> Check {
    match identity {
        Ok(identity) => certificate(identity),
        Err(IdentityError::Missing(_)) if before_join => {
            Check::ok("IDENTITY", "this host has not joined yet")
        }
        Err(error) => Check::failure(
            "IDENTITY",
            error.to_string(),
            "join the host: supalove join-token create prints the command",
        ),
    }
}

fn certificate(identity: &Identity) -> Check {
    let name = format!("node {} ({}) of cluster {}", identity.hostname, identity.node_id, identity.cluster());
    match CertificateLife::from_pem(&identity.certificate_pem) {
        Ok(life) if life.is_over(Utc::now()) => Check::warning(
            "IDENTITY",
            format!("{name}: its certificate ended on {}", life.ends.format("%F")),
            "start the agent, which gets a new one; if the fleet's CA was replaced meanwhile: supalove-agent recover --ca",
        ),
        Ok(life) => {
            Check::ok("IDENTITY", format!("{name}, with a certificate until {}", life.ends.format("%F")))
        }
        Err(error) => Check::failure("IDENTITY", format!("{name}: {error}"), "supalove-agent recover"),
    }
}

pub(super) async fn agent(identity: &Identity, state_dir: &Path) -> Vec<Check> {
    let found = match status::ask(state_dir).await {
        Ok(found) => found,
        Err(error) => {
            let message = format!("the agent of node {} does not run ({error})", identity.hostname);
            let remedy = "start it (systemctl start supalove-agent), and look at its log (journalctl -u supalove-agent)";
            return vec![Check::failure("AGENT", message, remedy)];
        }
    };
    let mut checks = vec![match found.session_obstacle() {
        None => Check::ok(
            "AGENT",
            format!("the agent {} runs and has a session with the controller", found.version),
        ),
        Some(obstacle) => Check::failure(
            "AGENT",
            obstacle,
            "see the check CONTROLLER; a refused node was revoked, or another host has a copy of its identity",
        ),
    }];
    if found.version != env!("CARGO_PKG_VERSION") {
        checks.push(Check::warning(
            "VERSION",
            format!("the running agent is {}, this program {}", found.version, env!("CARGO_PKG_VERSION")),
            "restart the agent (systemctl restart supalove-agent): no container stops",
        ));
    }
    checks.extend(found.conditions.into_iter().map(|condition| {
        // The message of a condition has its remedy.
        let message = format!("{}: {}", condition.reason, condition.message);
        let remedy = "see docs/guides/operating.md, When the engine is sick";
        if condition.blocking {
            Check::failure("CONDITION", message, remedy)
        } else {
            Check::warning("CONDITION", message, remedy)
        }
    }));
    checks
}
