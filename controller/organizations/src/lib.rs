//! Organizations: the owners of projects, their members, and who is invited.

#![allow(missing_docs, reason = "a room's crate: a comment is written where it says something")]

pub mod api;
mod consistency;
mod invitations;
mod members;
mod newcomers;
mod object;
mod rules;
pub mod store;
mod watch;

use chrono::{DateTime, Utc};

pub use api::{InvitationApi, OrganizationApi};
pub use consistency::ROW_CHECKS;
pub use newcomers::Newcomers;
pub use object::OrganizationKey;
pub use rules::RULES;

use supalove_core::{
    Core, Room,
    access::Role,
    error::{Error, Result},
    ids::OrganizationId,
    jobs::{Job, Rhythm::Every},
    retention,
};
use supalove_proto::v1::{
    invitation_service_server::InvitationServiceServer,
    organization_service_server::OrganizationServiceServer,
};

/// What the server mounts.
pub fn room(core: &Core) -> Room {
    let pruned = core.clone();
    Room::new("organizations", RULES)
        .service(OrganizationServiceServer::new(OrganizationApi::new(core.clone())))
        .service(InvitationServiceServer::new(InvitationApi::new(core.clone())))
        .stream(watch::OrganizationStreams::new(core))
        .job(Job::leased("organizations.prune", Every(core.times.prune), move |_| prune(pruned.clone())))
}

async fn prune(core: Core) -> Result<()> {
    retention::in_batches(|| {
        let mut write = core.system_write("organizations.prune");
        let kept = core.times.ended_kept;
        async move {
            let organizations = store::prune(&mut write).await?;
            let invitations = store::invitations::prune(&mut write).await?;
            let numbered = store::events::number_waiting(&mut write).await?;
            let events = store::events::prune(&mut write, kept).await?;
            write.commit([]).await?;
            Ok(organizations && invitations && numbered && events)
        }
    })
    .await
}

/// An organization, with the caller's role in it.
#[derive(Debug, Clone)]
pub struct Organization {
    pub id: OrganizationId,
    /// Readable id, unique.
    pub slug: String,
    pub name: String,
    pub role: Option<Role>,
    pub projects_used: i32,
    /// Maximum number of projects.
    pub projects_limit: i32,
    /// Name of its plan.
    pub plan: String,
    pub revision: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// Returns the slug that the caller chose, or derives one from the name.
pub fn slug(given: &str, name: &str) -> Result<String> {
    let slug = if given.is_empty() { slug_of(name) } else { given.to_owned() };
    let mut chars = slug.chars();
    let valid = (2..=40).contains(&slug.len())
        && chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if valid {
        Ok(slug)
    } else {
        Err(Error::field("slug", "must be 2 to 40 of a-z, 0-9 and \"-\", starting with a letter"))
    }
}

fn slug_of(name: &str) -> String {
    let mapped: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = mapped.split('-').filter(|word| !word.is_empty()).collect();
    let mut slug = words.join("-");
    slug.truncate(40);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_made_from_names_or_checked() {
        assert_eq!(slug("", "Acme & Sons, Ltd.").unwrap(), "acme-sons-ltd");
        assert_eq!(slug("acme-2", "x").unwrap(), "acme-2");
        for wrong in ["a", "Acme", "2acme", "a_b", "-ab"] {
            assert!(slug(wrong, "x").is_err(), "{wrong}");
        }
        assert!(slug("", "ü").is_err());
    }
}
