//! How often strangers may try: to sign in, to use a link, to have mails sent.
//!
//! Nobody can be locked out by others. Failed sign-ins count for the client's network, for the network and the account
//! together, and for the account alone, but the last not where the account has signed in before. A mail that somebody
//! requested too often still arrives the first times, and each of its links works.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use supalove_core::{
    database::Db,
    error::{Error, Result},
    rate_limits::{Key, RateLimit},
};
use supalove_net::allowance::network;

use crate::store;

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
/// Tokens of links and invitations, the set-up token, old refresh tokens.
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
/// Nobody is told of it: the answer is the same whether or not a mail goes out.
const MAILS_TO_ADDRESS: RateLimit = RateLimit {
    kind: "mail.address",
    what: "mails to this address",
    burst: 5,
    every: Duration::from_mins(12),
};

/// The name of a client's network in keys.
fn name(client: Option<IpAddr>) -> String {
    network(client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))).to_string()
}

/// Acts that are counted; [`Counted::give_back`] if they were right.
#[derive(Debug)]
pub struct Counted(Vec<(RateLimit, Key)>);

impl Counted {
    async fn take(db: &Db, limits: Vec<(RateLimit, Key)>) -> Result<Self> {
        let mut counted = Self(Vec::new());
        for (limit, key) in limits {
            if let Err(error) = limit.take(db, &key).await {
                // An act that was not tried counts nowhere.
                counted.give_back(db).await;
                return Err(error);
            }
            counted.0.push((limit, key));
        }
        Ok(counted)
    }

    /// The acts were right.
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

/// Counts a token as wrong until it is right.
pub async fn token(db: &Db, client: Option<IpAddr>) -> Result<Counted> {
    Counted::take(db, vec![(WRONG_TOKENS, Key::of(&[&name(client)]))]).await
}

/// Whether a stranger's request for a mail to this address is followed.
pub async fn mail(db: &Db, client: Option<IpAddr>, address: &str) -> Result<bool> {
    MAILS_FROM_NETWORK.take(db, &Key::of(&[&name(client)])).await?;
    match MAILS_TO_ADDRESS.take(db, &Key::of(&[address])).await {
        Ok(()) => Ok(true),
        Err(Error::TooOften { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
