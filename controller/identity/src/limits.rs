//! How often strangers may try: to sign in, to use a link, to have mails sent.
//!
//! Nobody can be locked out by others who come from elsewhere. Failed sign-ins count for the client's network, for the network and the account
//! together, and for the account alone, but the last not where the account has signed in before. A link
//! that somebody requested too often still arrives the first times, and each of them works; whoever uses it is signed in.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use supalove_core::{
    database::Db,
    error::{Error, Result},
    rate_limits::{Key, RateLimit},
    refused_calls::site,
};
use supalove_net::allowance::network;

use crate::{links::LinkKind, store};

const FROM_NETWORK: RateLimit = RateLimit {
    kind: "sign-in.network",
    what: "failed sign-ins from your address",
    burst: 50,
    every: Duration::from_secs(10),
};
const TO_ACCOUNT_FROM_NETWORK: RateLimit = RateLimit {
    kind: "sign-in.account-network",
    what: "failed sign-ins to this account from your address",
    burst: 20,
    every: Duration::from_mins(1),
};
const TO_ACCOUNT: RateLimit = RateLimit {
    kind: "sign-in.account",
    what: "failed sign-ins to this account; reset its password, or sign in from where you have signed in before",
    burst: 100,
    every: Duration::from_secs(30),
};
/// Wrong tokens of links and invitations, the set-up token, refresh tokens that we have not issued. A right one is never refused.
const WRONG_TOKENS: RateLimit = RateLimit {
    kind: "token.network",
    what: "wrong tokens from your address",
    burst: 30,
    every: Duration::from_secs(20),
};
const MAILS_FROM_NETWORK: RateLimit = RateLimit {
    kind: "mail.network",
    what: "mails requested from your address",
    burst: 30,
    every: Duration::from_mins(2),
};
/// The same from a site (IPv4 /24, IPv6 /48), which may have many networks: a fraction of what all may have.
const MAILS_FROM_SITE: RateLimit = RateLimit {
    kind: "mail.site",
    what: "mails requested from your network",
    burst: 150,
    every: Duration::from_secs(24),
};
/// Links of one kind to one address. Nobody is told of it: the answer is the same whether or not a mail goes out.
const LINKS_TO_ADDRESS: RateLimit = RateLimit {
    kind: "mail.address",
    what: "mails to this address",
    burst: 5,
    every: Duration::from_mins(12),
};
/// Mails that only say that there is an account: they use up no links.
const NOTICES_TO_ADDRESS: RateLimit = RateLimit {
    kind: "mail.notice",
    what: "mails to this address",
    burst: 1,
    every: Duration::from_hours(12),
};
/// Mails to addresses without an account, of the whole platform: whoever has many addresses does not fill the outbox.
const MAILS_TO_STRANGERS: RateLimit = RateLimit {
    kind: "mail.strangers",
    what: "mails to new addresses on this platform",
    burst: 500,
    every: Duration::from_secs(4),
};
/// The same from a site, so that nobody takes the share of all: a tenth of it.
const MAILS_TO_STRANGERS_FROM_SITE: RateLimit = RateLimit {
    kind: "mail.strangers-site",
    what: "mails to new addresses from your network",
    burst: 50,
    every: Duration::from_secs(40),
};
const INVITATIONS_OF_ORGANIZATION: RateLimit = RateLimit {
    kind: "invitation.organization",
    what: "invitations of this organization",
    burst: 50,
    every: Duration::from_mins(2),
};
const INVITATIONS_BY_USER: RateLimit = RateLimit {
    kind: "invitation.user",
    what: "invitations by you",
    burst: 50,
    every: Duration::from_mins(2),
};
const INVITATIONS_TO_ADDRESS: RateLimit = RateLimit {
    kind: "invitation.address",
    what: "invitations to this address",
    burst: 5,
    every: Duration::from_mins(12),
};

/// The name of a client's network in keys.
fn name(client: Option<IpAddr>) -> String {
    network(client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))).to_string()
}

/// The name of the site of a client's network in keys.
fn site_name(client: Option<IpAddr>) -> String {
    site(client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// Acts that are counted; [`Counted::give_back`] unless they were wrong.
#[derive(Debug)]
pub struct Counted(Vec<(RateLimit, Key)>);

impl Counted {
    /// What is counted before the limit that refuses stays counted: who goes on all the same is slowed there, too.
    async fn take(db: &Db, limits: Vec<(RateLimit, Key)>) -> Result<Self> {
        for (limit, key) in &limits {
            limit.take(db, key).await?;
        }
        Ok(Self(limits))
    }

    /// The acts were right, or could not be tried.
    pub async fn give_back(self, db: &Db) {
        for (limit, key) in self.0 {
            if let Err(error) = limit.give_back(db, &key).await {
                // The act has succeeded; one of many counts too much.
                tracing::warn!(limit = limit.kind, %error, "cannot take a counted act back");
            }
        }
    }
}

/// Counts a sign-in as failed until it succeeds. `account` is what the caller calls it: an address without an account counts
/// alike.
pub async fn sign_in(db: &Db, client: Option<IpAddr>, account: &str) -> Result<Counted> {
    let from = name(client);
    let mut limits =
        vec![(FROM_NETWORK, Key::of(&[&from])), (TO_ACCOUNT_FROM_NETWORK, Key::of(&[account, &from]))];
    // For unknown accounts the same statement runs.
    let before = store::clients(db, account).await?;
    let known =
        before.iter().filter_map(|client| client.parse().ok()).any(|before| name(Some(before)) == from);
    if !known {
        limits.push((TO_ACCOUNT, Key::of(&[account])));
    }
    Counted::take(db, limits).await
}

/// Counts a wrong token; the error for it, or that there were too many.
pub async fn wrong_token(db: &Db, client: Option<IpAddr>, error: Error) -> Error {
    WRONG_TOKENS.take(db, &Key::of(&[&name(client)])).await.err().unwrap_or(error)
}

/// A mail that a stranger requests.
#[derive(Debug, Clone, Copy)]
pub enum Requested {
    /// A link of this kind.
    Link(LinkKind),
    /// The same, to an address without an account.
    FirstLink(LinkKind),
    /// The mail that says that there is an account.
    Notice,
}

/// Counts a request for a mail; an error if there were too many from one network, or from one site.
pub async fn request(db: &Db, client: Option<IpAddr>) -> Result<()> {
    MAILS_FROM_NETWORK.take(db, &Key::of(&[&name(client)])).await?;
    MAILS_FROM_SITE.take(db, &Key::of(&[&site_name(client)])).await
}

/// Whether a requested mail is sent to this address. Nobody is told.
pub async fn mail(db: &Db, client: Option<IpAddr>, requested: Requested, address: &str) -> Result<bool> {
    match requested {
        Requested::Link(kind) => allows(&LINKS_TO_ADDRESS, db, &Key::of(&[kind.as_sql(), address])).await,
        Requested::FirstLink(kind) => Ok(allows(&LINKS_TO_ADDRESS, db, &Key::of(&[kind.as_sql(), address]))
            .await?
            && allows(&MAILS_TO_STRANGERS_FROM_SITE, db, &Key::of(&[&site_name(client)])).await?
            && allows(&MAILS_TO_STRANGERS, db, &Key::of(&[])).await?),
        Requested::Notice => allows(&NOTICES_TO_ADDRESS, db, &Key::of(&[address])).await,
    }
}

async fn allows(limit: &RateLimit, db: &Db, key: &Key) -> Result<bool> {
    match limit.take(db, key).await {
        Ok(()) => Ok(true),
        Err(Error::TooOften { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Counts an invitation.
pub async fn invitation(db: &Db, organization: &str, inviter: &str, address: &str) -> Result<()> {
    INVITATIONS_OF_ORGANIZATION.take(db, &Key::of(&[organization])).await?;
    INVITATIONS_BY_USER.take(db, &Key::of(&[inviter])).await?;
    INVITATIONS_TO_ADDRESS.take(db, &Key::of(&[organization, address])).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acts within a day.
    fn in_a_day(limit: &RateLimit) -> f64 {
        f64::from(limit.burst) + Duration::from_hours(24).as_secs_f64() / limit.every.as_secs_f64()
    }

    #[test]
    fn a_site_with_many_networks_takes_no_more_than_a_part_of_the_mails_of_all() {
        let share = in_a_day(&MAILS_TO_STRANGERS_FROM_SITE) / in_a_day(&MAILS_TO_STRANGERS);
        assert!(share <= 0.101 && MAILS_TO_STRANGERS_FROM_SITE.burst * 10 <= MAILS_TO_STRANGERS.burst);
        assert!(in_a_day(&MAILS_FROM_NETWORK) < in_a_day(&MAILS_FROM_SITE));
        let [first, last, other] = ["2001:db8:1::1", "2001:db8:1:ffff::1", "2001:db8:2::1"]
            .map(|address| Some(address.parse().unwrap()));
        assert_ne!(name(first), name(last));
        assert_eq!(site_name(first), site_name(last));
        assert_ne!(site_name(first), site_name(other));
    }
}
