//! Projects and their events as text.

use supalove_proto::v1::{Endpoint, Project, ProjectEvent};

use crate::{output::clean, table};

/// A list of projects.
pub fn projects(projects: &[Project]) -> String {
    let rows = projects.iter().map(row).collect();
    let header = ["REF", "NAME", "ORGANIZATION", "STATE", "RELEASE", "CREATED"];
    table::rows(header, rows, "no projects")
}

/// One project with its services.
pub fn project(project: Option<&Project>) -> String {
    let project = project.cloned().unwrap_or_default();
    let endpoints: Vec<String> = project.endpoints.iter().map(address).collect();
    let head = table::pairs([
        ("ref", project.r#ref.clone()),
        ("name", project.name.clone()),
        ("organization", project.organization.clone()),
        ("state", table::project_state(project.state()).into()),
        ("because", project.state_reason.clone()),
        ("release", project.release.clone()),
        ("cluster", project.cluster_id.clone()),
        ("node", project.node_id.clone()),
        ("generation", project.generation.to_string()),
        ("endpoints", endpoints.join(", ")),
        ("created", table::time(project.create_time.as_ref())),
        ("deleted", table::time(project.delete_time.as_ref())),
        ("data goes", table::time(project.purge_time.as_ref())),
    ]);
    let services =
        project.services.iter().map(|s| [s.name.clone(), s.state.clone(), s.message.clone()]).collect();
    format!("{head}\n\n{}", table::rows(["SERVICE", "STATE", "MESSAGE"], services, ""))
}

/// A list of events.
pub fn events(events: &[ProjectEvent]) -> String {
    let rows = events
        .iter()
        .map(|event| {
            [
                event.seq.to_string(),
                table::time(event.time.as_ref()),
                event.r#type.clone(),
                event.service.clone(),
                message(event),
            ]
        })
        .collect();
    table::rows(["SEQ", "TIME", "TYPE", "SERVICE", "MESSAGE"], rows, "no events")
}

/// One event as a line.
pub fn event(event: &ProjectEvent) -> String {
    let service = match event.service.as_str() {
        "" => String::new(),
        service => format!("{service}: "),
    };
    let time = table::time(event.time.as_ref());
    clean(&format!("{time} #{} {} {service}{}", event.seq, event.r#type, message(event)))
}

/// A project's state as a line.
pub fn state(project: &Project) -> String {
    let services: Vec<String> =
        project.services.iter().map(|service| format!("{} {}", service.name, service.state)).collect();
    let reason = match project.state_reason.as_str() {
        "" => String::new(),
        reason => format!(" - {reason}"),
    };
    let state = table::project_state(project.state());
    clean(&format!("{} is {state}{reason} ({})", project.r#ref, services.join(", ")))
}

fn row(project: &Project) -> [String; 6] {
    [
        project.r#ref.clone(),
        project.name.clone(),
        project.organization.clone(),
        table::project_state(project.state()).into(),
        project.release.clone(),
        table::time(project.create_time.as_ref()),
    ]
}

fn address(endpoint: &Endpoint) -> String {
    format!("{} {}://{}:{}", endpoint.service, endpoint.scheme, endpoint.host, endpoint.port)
}

fn message(event: &ProjectEvent) -> String {
    match event.percent {
        0 => event.message.clone(),
        percent => format!("{} {percent} %", event.message),
    }
}
