//! What other rooms do when an account is made or deleted. The organizations room implements it; the identity room, which
//! knows no organizations, calls it in the transaction of its act.

use futures::future::BoxFuture;

use crate::{Mutation, database::Db, error::Result, ids::UserId};

/// An invitation that a token names.
#[derive(Debug, Clone)]
pub struct Invited {
    /// Address of the account that may accept it, lower case.
    pub email: String,
    /// The token came to that address by mail.
    pub mailed: bool,
}

/// A new account.
#[derive(Debug)]
pub struct NewAccount<'a> {
    /// Its user.
    pub user: UserId,
    /// Name to show.
    pub display_name: &'a str,
    /// Hash of the token of the invitation with which it was made.
    pub invitation: Option<&'a [u8]>,
}

/// Answers to what happens to accounts.
pub trait Accounts: Send + Sync + 'static {
    /// The invitation that may be accepted with this token's hash.
    fn invited<'a>(&'a self, db: &'a Db, token_hash: &'a [u8]) -> BoxFuture<'a, Result<Option<Invited>>>;

    /// An account is made: accepts its invitation, or gives it an organization of its own.
    fn created<'a>(&'a self, write: &'a mut Mutation, account: NewAccount<'a>) -> BoxFuture<'a, Result<()>>;

    /// An account is to be deleted: ends its memberships, or returns an error that says what still needs it.
    fn deleted<'a>(&'a self, write: &'a mut Mutation, user: UserId) -> BoxFuture<'a, Result<()>>;

    /// The account is locked, so that nothing more begins: returns an error if something has begun since [`Accounts::deleted`].
    fn check_left<'a>(&'a self, write: &'a mut Mutation, user: UserId) -> BoxFuture<'a, Result<()>>;
}
