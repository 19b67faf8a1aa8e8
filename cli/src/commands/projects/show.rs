//! Projects and their events as text.

use supalove_proto::v1::{
    Endpoint, EndpointScheme, KnownHole, Project, ProjectEvent, ProjectRestriction, ProjectServiceStatus,
};

use crate::{output::clean, table};

/// Formats a list of projects.
pub fn projects(projects: &[Project], wide: bool) -> String {
    let header = ["REF", "NAME", "ORGANIZATION", "STATE", "RELEASE", "CREATED"];
    if !wide {
        let rows = table::rows(header, projects.iter().map(row).collect(), "no projects");
        return format!("{rows}{}{}", restricted(projects), hint(projects));
    }
    let more = ["NODE", "API", "DATA GOES", "RESTRICTED", "REASON"];
    let rows = projects.iter().map(|project| table::joined(row(project), wide_row(project))).collect();
    table::rows::<11>(table::joined(header, more), rows, "no projects")
}

/// Names the projects that a rule bounds.
fn restricted(projects: &[Project]) -> String {
    let bound = projects.iter().filter_map(|project| {
        let restriction = project.restriction.as_ref()?;
        Some(format!("{} ({})", clean(&project.name), rule(restriction)))
    });
    let names: Vec<String> = bound.collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("\nrestricted: {}; see: supalove projects get", names.join(", ")),
    }
}

/// The rule by its word, as in reasons of errors.
fn rule(restriction: &ProjectRestriction) -> &'static str {
    table::short(restriction.reason().as_str_name(), "PROJECT_RESTRICTION_REASON_")
}

/// Names the projects whose release has known holes.
fn hint(projects: &[Project]) -> String {
    let holey = projects.iter().filter(|project| !project.known_holes.is_empty());
    let names: Vec<String> = holey.map(|project| clean(&project.name)).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("\nreleases with known holes: {}; see: supalove projects upgrade", names.join(", ")),
    }
}

/// Returns the gateway's address, if the project has one.
pub fn api_address(project: &Project) -> Option<String> {
    let http =
        |endpoint: &&Endpoint| matches!(endpoint.scheme(), EndpointScheme::Http | EndpointScheme::Https);
    project.endpoints.iter().find(http).map(url)
}

/// Formats one project with its services.
pub fn project(project: Option<&Project>) -> String {
    let project = project.cloned().unwrap_or_default();
    let endpoints: Vec<String> = project.endpoints.iter().map(address).collect();
    let restriction = project.restriction.clone();
    let since = |bound: &ProjectRestriction| table::time(bound.since.as_ref());
    let bound = restriction
        .as_ref()
        .map(|bound| format!("{} since {}: {}", rule(bound), since(bound), bound.message));
    let head = table::pairs([
        ("ref", project.r#ref.clone()),
        ("name", project.name.clone()),
        ("organization", project.organization.clone()),
        ("state", table::project_state(project.state()).into()),
        ("because", project.state_reason.clone()),
        ("restricted", bound.unwrap_or_default()),
        ("remedy", restriction.map(|bound| bound.remedy).unwrap_or_default()),
        ("release", release(&project)),
        ("size", size(&project)),
        ("cluster", project.cluster_id.clone()),
        ("node", node(&project)),
        ("generation", project.generation.to_string()),
        ("endpoints", endpoints.join(", ")),
        ("created", table::time(project.create_time.as_ref())),
        ("deleted", table::time(project.delete_time.as_ref())),
        ("data goes", table::time(project.purge_time.as_ref())),
    ]);
    let services = project.services.iter().map(service).collect();
    let services = table::rows(["SERVICE", "STATE", "MESSAGE"], services, "");
    let holes: String = project.known_holes.iter().map(hole).collect();
    format!("{head}\n\n{services}{holes}")
}

/// The release, and the one to which the project can move.
fn release(project: &Project) -> String {
    match project.upgrade_to.as_str() {
        "" => project.release.clone(),
        newer => format!("{} (supalove projects upgrade moves it to {newer})", project.release),
    }
}

/// The size, with what it gave the database.
fn size(project: &Project) -> String {
    let Some(has) = &project.resources else { return project.size.clone() };
    format!(
        "{} ({} millis, {} MiB memory, {} MiB disk, {} connections)",
        project.size, has.cpu_millis, has.memory_mib, has.disk_mib, has.connections
    )
}

fn hole(hole: &KnownHole) -> String {
    let line = format!("known hole {}, closed in release {}: {}", hole.id, hole.fixed_in, hole.text);
    format!("\n{}", clean(&line))
}

/// Formats a list of events.
pub fn events(events: &[ProjectEvent]) -> String {
    let rows = events
        .iter()
        .map(|event| {
            [
                event.seq.to_string(),
                table::time(event.time.as_ref()),
                table::event_type(event),
                event.service.clone(),
                message(event),
            ]
        })
        .collect();
    table::rows(["SEQ", "TIME", "TYPE", "SERVICE", "MESSAGE"], rows, "no events")
}

/// Formats one event as a line.
pub fn event(event: &ProjectEvent) -> String {
    let service = match event.service.as_str() {
        "" => String::new(),
        service => format!("{service}: "),
    };
    let time = table::time(event.time.as_ref());
    clean(&format!("{time} #{} {} {service}{}", event.seq, table::event_type(event), message(event)))
}

/// Formats a project's state as a line.
pub fn state(project: &Project) -> String {
    let services: Vec<String> =
        project.services.iter().map(|s| format!("{} {}", s.name, table::service_state(s))).collect();
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

fn wide_row(project: &Project) -> [String; 5] {
    [
        project.node_name.clone(),
        api_address(project).unwrap_or_default(),
        table::time(project.purge_time.as_ref()),
        project.restriction.as_ref().map(rule).unwrap_or_default().to_owned(),
        project.state_reason.clone(),
    ]
}

fn service(service: &ProjectServiceStatus) -> [String; 3] {
    [service.name.clone(), table::service_state(service).to_owned(), service.message.clone()]
}

fn node(project: &Project) -> String {
    match project.node_name.as_str() {
        "" => project.node_id.clone(),
        name => format!("{name} ({})", project.node_id),
    }
}

fn url(endpoint: &Endpoint) -> String {
    let scheme = table::short(endpoint.scheme().as_str_name(), "ENDPOINT_SCHEME_").to_ascii_lowercase();
    format!("{scheme}://{}:{}", endpoint.host, endpoint.port)
}

fn address(endpoint: &Endpoint) -> String {
    let address = format!("{} {}", endpoint.service, url(endpoint));
    if endpoint.host_only { format!("{address} (on {} only)", endpoint.node) } else { address }
}

fn message(event: &ProjectEvent) -> String {
    match event.percent {
        0 => event.message.clone(),
        percent => format!("{} {percent} %", event.message),
    }
}
