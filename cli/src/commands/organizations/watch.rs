//! `organizations watch`: who joins and leaves, and in which state the projects are, as it happens.

use clap::Args;
use supalove_proto::v1::{
    Entitlement, Organization, OrganizationEvent, Role, WatchEvent, WatchResponse, WatchSnapshot,
    watch_event::Event, watch_response::Message, watch_snapshot::Object,
};

use crate::{
    commands::{Context, resolve},
    error::Error,
    output::clean,
    table,
    watch::WatchMany,
};

/// Arguments of `organizations watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Its slug or name. Default: that of `supalove use`, or the only one.
    organization: Option<String>,
    /// Also show the events after the one with this number; 0 = all that are kept.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
}

pub async fn run(context: &Context, arguments: &Watch) -> Result<(), Error> {
    let slug = resolve::organization(context, arguments.organization.as_deref()).await?;
    tokio::select! {
        ended = follow(context, &slug, arguments.after) => ended,
        signal = tokio::signal::ctrl_c() => Ok(signal?),
    }
}

async fn follow(context: &Context, slug: &str, after: Option<u64>) -> Result<(), Error> {
    let mut watch = WatchMany::of_organization(&context.client, slug, after);
    while let Some(answer) = watch.next().await? {
        context.output.item("WatchResponse", &answer, text)?;
    }
    Ok(())
}

fn text(answer: &WatchResponse) -> Option<String> {
    let text = match answer.message.as_ref()? {
        Message::Snapshot(WatchSnapshot { object: Some(Object::Organization(organization)) }) => {
            state(organization)
        }
        Message::Event(WatchEvent { event: Some(Event::Organization(event)) }) => self::event(event),
        Message::Gap(gap) => format!("({} events are not kept any more)", gap.events),
        Message::End(end) => end.message.clone(),
        _ => return None,
    };
    Some(clean(&text))
}

fn state(organization: &Organization) -> String {
    let Organization { slug, name, projects_used, projects_limit, .. } = organization;
    format!("{slug} ({name}) has {projects_used} of {projects_limit} projects")
}

fn event(event: &OrganizationEvent) -> String {
    let kind = table::short(event.r#type().as_str_name(), "ORGANIZATION_EVENT_TYPE_");
    let role = match event.role() {
        Role::Unspecified => "",
        role => table::short(role.as_str_name(), "ROLE_"),
    };
    let person = if event.email.is_empty() { event.user_id.as_str() } else { event.email.as_str() };
    let project = match (event.project_ref.as_str(), event.project_name.as_str()) {
        ("", _) => String::new(),
        (project_ref, "") => project_ref.to_owned(),
        (project_ref, name) => format!("{name} ({project_ref})"),
    };
    let of_project = if project.is_empty() { "" } else { table::project_state(event.project_state()) };
    let operation = match event.operation_id.as_str() {
        "" => String::new(),
        id => {
            let kind = table::short(event.operation_kind().as_str_name(), "OPERATION_KIND_");
            format!("{kind} {id}")
        }
    };
    let entitlement = match event.entitlement() {
        Entitlement::Unspecified => String::new(),
        other => table::short(other.as_str_name(), "ENTITLEMENT_").to_ascii_lowercase().replace('_', "-"),
    };
    let about = [
        event.organization_name.as_str(),
        person,
        event.invitation_id.as_str(),
        role,
        project.as_str(),
        of_project,
        operation.as_str(),
        entitlement.as_str(),
    ];
    let about: Vec<&str> = about.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{} #{} {kind} {}", table::time(event.time.as_ref()), event.seq, about.join(" "))
}
