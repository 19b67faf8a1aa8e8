//! Converts projects, events and operations to messages.

use aws_lc_rs::digest::{SHA256, digest};
use supalove_proto::v1 as pb;

use crate::{
    restriction,
    store::events::Event,
    store::function_secrets::Listed,
    store::operations::{Failure, Operation},
    store::projects::{Endpoint, Outdated, Project, ServiceStatus},
    types::OperationState,
};
use supalove_core::wire::timestamp;
use supalove_stack::{KnownHole, Releases};

/// Converts a project, with what the controller knows of its release.
pub fn project(releases: &Releases, p: Project) -> pb::Project {
    pb::Project {
        known_holes: known_holes(releases, &p.release),
        upgrade_to: upgrade_to(releases, &p.release),
        r#ref: p.project.to_string(),
        name: p.name,
        organization: p.organization,
        state: pb::ProjectState::from(p.state).into(),
        state_reason: p.state_reason,
        release: p.release,
        cluster_id: p.cluster.to_string(),
        node_id: p.node.map(|n| n.to_string()).unwrap_or_default(),
        node_name: p.node_name.clone().unwrap_or_default(),
        generation: p.generation.unsigned_abs(),
        services: p.services.into_iter().map(Into::into).collect(),
        endpoints: endpoints(p.endpoints, p.node_name.as_deref().unwrap_or_default()),
        create_time: Some(timestamp(p.created_at)),
        delete_time: p.deleted_at.map(timestamp),
        purge_time: p.purge_at.map(timestamp),
        etag: p.revision.to_string(),
        resources: Some(pb::ProjectResources {
            cpu_millis: p.size.cpu_millis.unsigned_abs(),
            memory_mib: p.size.memory_mib.unsigned_abs(),
            disk_mib: p.size.disk_mib.unsigned_abs(),
            connections: p.size.connections.unsigned_abs(),
        }),
        size: p.size.name,
        restriction: p.restriction.map(|(restriction, since)| restriction::wire(restriction, since)),
    }
}

/// Converts a secret, without its value.
pub fn secret(secret: Listed) -> pb::Secret {
    pb::Secret {
        sha256: hex::encode(digest(&SHA256, secret.value.as_bytes())),
        name: secret.name,
        update_time: Some(timestamp(secret.changed_at)),
    }
}

/// Converts a variable.
pub fn variable(variable: Listed) -> pb::Variable {
    pb::Variable {
        name: variable.name,
        value: variable.value.as_str().to_owned(),
        update_time: Some(timestamp(variable.changed_at)),
    }
}

/// Known holes of a release.
fn known_holes(releases: &Releases, release: &str) -> Vec<pb::KnownHole> {
    let hole = |hole: &KnownHole| pb::KnownHole {
        id: hole.id.clone(),
        text: hole.text.clone(),
        fixed_in: hole.fixed_in.clone(),
    };
    releases.known_holes(release).iter().map(hole).collect()
}

fn upgrade_to(releases: &Releases, release: &str) -> String {
    releases.newest_successor(release).map(|one| one.name().to_owned()).unwrap_or_default()
}

/// Converts a project whose release has known holes.
pub fn outdated(releases: &Releases, p: Outdated) -> pb::OutdatedProject {
    pb::OutdatedProject {
        project_ref: p.project.to_string(),
        name: p.name,
        organization: p.organization,
        state: pb::ProjectState::from(p.state).into(),
        upgrade_to: upgrade_to(releases, &p.release),
        known_holes: known_holes(releases, &p.release),
        release: p.release,
    }
}

impl From<ServiceStatus> for pb::ProjectServiceStatus {
    fn from(s: ServiceStatus) -> Self {
        let state = pb::ServiceState::from_str_name(&format!("SERVICE_STATE_{}", s.state));
        Self { name: s.name, state: state.unwrap_or_default().into(), message: s.message }
    }
}

/// Converts the addresses of a project, and adds the node to loopback addresses.
fn endpoints(endpoints: Vec<Endpoint>, node: &str) -> Vec<pb::Endpoint> {
    let encoded = |e: Endpoint| {
        let host_only = e.host_only();
        let scheme = pb::EndpointScheme::from_str_name(&with_prefix("ENDPOINT_SCHEME_", &e.scheme));
        let kind = pb::EndpointKind::from_str_name(&with_prefix("ENDPOINT_KIND_", &e.kind));
        pb::Endpoint {
            service: e.service,
            scheme: scheme.unwrap_or_default().into(),
            host: e.host,
            port: e.port.unsigned_abs(),
            kind: kind.unwrap_or_default().into(),
            host_only,
            node: if host_only { node.to_owned() } else { String::new() },
        }
    };
    endpoints.into_iter().map(encoded).collect()
}

fn with_prefix(prefix: &str, word: &str) -> String {
    format!("{prefix}{}", word.to_ascii_uppercase())
}

impl From<Event> for pb::ProjectEvent {
    fn from(e: Event) -> Self {
        Self {
            seq: e.seq.unsigned_abs(),
            time: Some(timestamp(e.at)),
            r#type: pb::ProjectEventType::from(e.kind).into(),
            message: e.message,
            service: e.service,
            percent: e.percent.unsigned_abs(),
            state: pb::ProjectState::from(e.state).into(),
            operation_id: e.operation.map(|o| o.to_string()).unwrap_or_default(),
        }
    }
}

impl From<Operation> for pb::Operation {
    fn from(o: Operation) -> Self {
        // While it runs, the row stores the last trouble, which is not a result yet.
        let shown = matches!(o.state, OperationState::Failed | OperationState::Cancelled);
        Self {
            id: o.id.to_string(),
            kind: pb::OperationKind::from(o.kind).into(),
            project_ref: o.project.to_string(),
            state: pb::OperationState::from(o.state).into(),
            status_message: o.status_message,
            error: o.error.filter(|_| shown).map(Into::into),
            create_time: Some(timestamp(o.created_at)),
            deadline: o.deadline.map(timestamp),
            end_time: o.ended_at.map(timestamp),
        }
    }
}

impl From<Failure> for pb::OperationError {
    fn from(f: Failure) -> Self {
        Self { reason: f.reason, message: f.message, service: f.service, log_tail: f.log_tail }
    }
}
