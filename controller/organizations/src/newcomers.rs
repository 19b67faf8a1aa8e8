//! The room's answer to new and deleted accounts: an accepted invitation or an organization of one's own; the end of memberships.

use futures::future::{BoxFuture, FutureExt as _};
use rand::RngExt as _;
use supalove_core::{
    Mutation,
    access::Role,
    accounts::{Accounts, Invited, NewAccount},
    database::Db,
    error::{Error, Result},
    ids::UserId,
};
use supalove_proto::v1::ErrorReason;

use crate::{
    invitations, slug_of,
    store::{
        self,
        events::{self, EventType, NewEvent},
        members,
    },
};

/// Longest name of an organization, in characters.
const NAME_CHARS: usize = 80;
/// Characters of the part of a slug that makes it unique.
const RANDOM_CHARS: usize = 6;

/// The organizations room, as the identity room sees it.
#[derive(Debug, Clone, Copy)]
pub struct Newcomers;

impl Accounts for Newcomers {
    fn invited<'a>(&'a self, db: &'a Db, token_hash: &'a [u8]) -> BoxFuture<'a, Result<Option<Invited>>> {
        store::invitations::invited(db, token_hash).boxed()
    }

    fn created<'a>(&'a self, write: &'a mut Mutation, account: NewAccount<'a>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(token) = account.invitation else {
                let (name, slug) = own(account.display_name);
                return store::insert(write, &slug, &name, account.user).await.map(|_| ());
            };
            let (organization, _) = invitations::accept(write, token, account.user).await?;
            // Its log says who has joined.
            write.in_organization(organization);
            Ok(())
        }
        .boxed()
    }

    fn deleted<'a>(&'a self, write: &'a mut Mutation, user: UserId) -> BoxFuture<'a, Result<()>> {
        async move {
            let memberships = members::lock_all_of(write, user).await?;
            let needed: Vec<_> = memberships
                .iter()
                .filter(|membership| membership.role == Role::Owner && membership.owners == 1)
                .map(|membership| membership.slug.as_str())
                .collect();
            if !needed.is_empty() {
                return Err(only_owner(&needed));
            }
            for membership in &memberships {
                members::remove(write, membership.organization, user).await?;
                let left = NewEvent::gone(EventType::MemberLeft, user);
                events::append(write, membership.organization, left).await?;
                // Its log says who has left.
                write.also_in(membership.organization, format!("{}/{user}", membership.organization));
            }
            Ok(())
        }
        .boxed()
    }

    fn check_left<'a>(&'a self, write: &'a mut Mutation, user: UserId) -> BoxFuture<'a, Result<()>> {
        async move {
            if members::lock_all_of(write, user).await?.is_empty() {
                return Ok(());
            }
            Err(Error::Aborted("you became a member of an organization just now"))
        }
        .boxed()
    }
}

fn only_owner(slugs: &[&str]) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::OnlyOwner,
        message: format!(
            "you are the only owner of {}; make another member an owner of each, or delete them",
            slugs.join(", ")
        ),
    }
}

/// Name and slug of a newcomer's own organization. Nobody has the slug yet.
fn own(display_name: &str) -> (String, String) {
    let ending = "'s organization";
    let kept: String = display_name.chars().take(NAME_CHARS - ending.len()).collect();
    let mut stem: String = slug_of(&kept).trim_start_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
    stem.truncate(40 - 1 - RANDOM_CHARS);
    let stem = stem.trim_end_matches('-');
    let mut rng = rand::rng();
    let random: String = (0..RANDOM_CHARS)
        .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[rng.random_range(0..36)]))
        .collect();
    let slug = if stem.is_empty() { format!("org-{random}") } else { format!("{stem}-{random}") };
    (format!("{kept}{ending}"), slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_newcomer_gets_an_organization_with_a_valid_name_and_slug() {
        let long = "x".repeat(80);
        for name in ["Ada Lovelace", "李", "42", "-", &long, "Ünï çødé", "a"] {
            let (name, slug) = own(name);
            assert!(name.chars().count() <= NAME_CHARS, "{name}");
            assert_eq!(crate::slug(&slug, "").unwrap(), slug);
            supalove_core::wire::display_text("name", &name).unwrap();
        }
        let (name, slug) = own("Ada Lovelace");
        assert_eq!(name, "Ada Lovelace's organization");
        assert!(slug.starts_with("ada-lovelace-"), "{slug}");
        assert_ne!(own("Ada").1, own("Ada").1);
    }
}
