//! Turns the name in a request into an object on which the caller has the permission. Handlers get objects only here.

use super::{Call, Permission, Role, Rule, Scope};
use crate::{
    database::Db,
    error::{Error, Result},
    ids::{OrganizationId, UserId},
};

/// An object of an organization or of the platform that requests can name. Its room implements the trait.
pub trait Object: Sized + Send {
    /// Kind of the object, for errors and for [`Scope::On`].
    const KIND: &'static str;

    /// Looks an object up by its name in a request, with the role that `user` has in its organization. `None` if there
    /// is no such object; an error if the text cannot be its name.
    fn find(db: &Db, name: &str, user: UserId) -> impl Future<Output = Result<Option<Found<Self>>>> + Send;

    /// The organization that it is, or is in: the audit rows of acts on it belong to the organization. `None` for objects of
    /// the platform.
    fn organization(&self) -> Option<OrganizationId>;
}

/// An object, and the caller's role in its organization.
#[derive(Debug)]
pub struct Found<T> {
    /// The object.
    pub object: T,
    /// The caller's role; `None` for strangers, and for objects of the platform.
    pub role: Option<Role>,
}

/// Checks permissions on objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access {
    db: Db,
}

impl Access {
    /// Creates the checker for the control database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Returns the object that a request names, if the caller has the permission of the call's rule on it.
    pub async fn allow<T: Object>(&self, call: &Call, name: &str) -> Result<T> {
        self.allow_item(call, name, call.rule.permission).await
    }

    /// The same for a call that names objects of several kinds, each of which takes its own permission.
    pub async fn allow_item<T: Object>(&self, call: &Call, name: &str, needs: Permission) -> Result<T> {
        expect_scope(call.rule, T::KIND)?;
        self.allow_also(call, name, needs).await
    }

    /// The same for a second object, to which a call does something with that of its rule. Ask for that one first: the audit
    /// rows are about it.
    pub async fn allow_also<T: Object>(&self, call: &Call, name: &str, needs: Permission) -> Result<T> {
        let principal = call.principal()?;
        call.names(name);
        let scope = principal.check_scope(needs, call.short_method());
        // PostgreSQL takes no NUL in a text.
        if name.contains('\0') {
            return Err(scope.err().unwrap_or_else(|| not_found(T::KIND, "?")));
        }
        // Also for a token that may not do this: the refusal is in the log of the member's organization.
        let found = T::find(&self.db, name, principal.user).await;
        if let Ok(Some(Found { object, role })) = &found
            && (role.is_some() || principal.operator)
        {
            object.organization().into_iter().for_each(|organization| call.acts_in(organization));
        }
        scope?;
        let found = found?.ok_or_else(|| not_found(T::KIND, name))?;
        decide(call, needs, found.role, || not_found(T::KIND, name))?;
        Ok(found.object)
    }
}

fn not_found(kind: &'static str, name: &str) -> Error {
    Error::NotFound { kind, name: name.to_owned() }
}

/// A handler that asks for another kind of object than its rule names is a bug, not the caller's mistake. A list of the
/// caller's own objects may be narrowed to one object.
fn expect_scope(rule: &Rule, kind: &'static str) -> Result<()> {
    if matches!(rule.scope, Scope::On(expected) if expected == kind) || rule.scope == Scope::AnySignedIn {
        return Ok(());
    }
    Err(Error::internal(format!("{} asked for a {kind}, its row says {:?}", rule.method, rule.scope)))
}

/// Decides whether a caller with this role has the permission; `stranger` makes the error for one who may not see the object.
/// Handlers whose right may be lost between [`Access::allow`] and their lock decide again under the lock.
pub fn decide(
    call: &Call,
    needs: Permission,
    role: Option<Role>,
    stranger: impl Fn() -> Error,
) -> Result<()> {
    let operator = call.principal()?.operator;
    let by_role = role.is_some_and(|role| needs.roles().contains(&role));
    if by_role || (operator && needs.operator()) {
        return Ok(());
    }
    if role.is_none() && !operator {
        return Err(stranger());
    }
    Err(Error::PermissionDenied { action: call.short_method().to_owned(), needs: wanted(needs) })
}

fn wanted(needs: Permission) -> String {
    if needs.roles().is_empty() {
        return "the operator of the platform".to_owned();
    }
    let roles: Vec<_> = needs.roles().iter().map(|role| role.as_sql().to_lowercase()).collect();
    format!("one of the roles {} in the organization", roles.join(", "))
}
