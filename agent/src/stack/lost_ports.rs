//! Published ports that do not answer though their service does, of all projects, as one condition of the node. The engine's
//! proxy serves ports on loopback, and ends with the engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::conditions::{Conditions, PORTS_GONE};

/// Ports that the message names; more are counted.
const NAMED: usize = 5;

/// All lost ports of the node; cheap to clone.
#[derive(Debug, Clone)]
pub struct LostPorts {
    conditions: Conditions,
    /// By project and service: what its probe said.
    lost: Arc<Mutex<BTreeMap<(String, String), String>>>,
}

/// One service's share; its loss ends when this is dropped.
#[derive(Debug)]
pub struct PortsOfService {
    all: LostPorts,
    key: (String, String),
}

impl LostPorts {
    pub fn new(conditions: Conditions) -> Self {
        Self { conditions, lost: Arc::default() }
    }

    /// Nothing is lost of it yet.
    pub fn of_service(&self, project: &str, service: &str) -> PortsOfService {
        PortsOfService { all: self.clone(), key: (project.to_owned(), service.to_owned()) }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<(String, String), String>)) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let before = lost.len();
        change(&mut lost);
        if lost.is_empty() && before > 0 {
            self.conditions.clear(PORTS_GONE);
        } else if !lost.is_empty() {
            self.conditions.raise_note(PORTS_GONE, message(&lost));
        }
    }
}

impl PortsOfService {
    /// Its published port does not answer, although the service itself does.
    pub fn lose(&self, said: &str) {
        self.all.change(|lost| drop(lost.insert(self.key.clone(), said.to_owned())));
    }

    /// All its ports answer, or nobody knows whether they do.
    pub fn have(&self) {
        self.all.change(|lost| drop(lost.remove(&self.key)));
    }
}

impl Drop for PortsOfService {
    fn drop(&mut self) {
        self.have();
    }
}

fn message(lost: &BTreeMap<(String, String), String>) -> String {
    let named: Vec<String> = lost
        .iter()
        .take(NAMED)
        .map(|((project, service), said)| format!("{project} {service}: {said}"))
        .collect();
    let more = match lost.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!(
        "published ports do not answer ({}{more}); the Docker Engine's proxy serves ports on loopback and returns with the \
         engine: if the engine is away, start it (systemctl start docker)",
        named.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::Reports;

    #[test]
    fn the_condition_names_what_is_lost_and_ends_with_the_last_of_it() {
        let conditions = Conditions::new(Reports::default());
        let ports = LostPorts::new(conditions.clone());
        let services: Vec<_> =
            (0..7).map(|number| ports.of_service(&format!("p{number}"), "gateway")).collect();
        services[0].lose("published port 127.0.0.1:5500 does not answer");
        let said = conditions.all().remove(0);
        assert_eq!((said.reason.as_str(), said.blocking), (PORTS_GONE, false));
        assert!(said.message.contains("(p0 gateway: published port 127.0.0.1:5500 does not answer)"));
        for service in &services {
            service.lose("lost");
        }
        assert!(conditions.all()[0].message.contains("and 2 more"));
        services[0].have();
        assert!(conditions.stands(PORTS_GONE));
        drop(services);
        assert!(!conditions.stands(PORTS_GONE), "a service that is stopped has lost nothing");
    }
}
