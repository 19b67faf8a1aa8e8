//! How many lists and exports of the audit log run at once, of one user and in all: they may read much, and must leave the
//! connections of the pool to others.

use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    ids::UserId,
};
use supalove_net::allowance::{Allowance, Refusals, Taken};

/// Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Reads {
    lists: Allowance<UserId>,
    exports: Allowance<UserId>,
    refusals: Refusals,
}

impl Reads {
    /// With the limits of the core.
    pub fn new(core: &Core) -> Self {
        let limits = &core.limits;
        Self {
            lists: Allowance::new(limits.audit_lists, limits.audit_lists_per_user),
            exports: Allowance::new(limits.audit_exports, limits.audit_exports_per_user),
            refusals: core.refusals.clone(),
        }
    }

    /// A part of the lists.
    pub fn list(&self, call: &Call) -> Result<Taken<UserId>> {
        self.take(&self.lists, call, "lists of audit events")
    }

    /// A part of the exports.
    pub fn export(&self, call: &Call) -> Result<Taken<UserId>> {
        self.take(&self.exports, call, "exports of audit events")
    }

    fn take(&self, of: &Allowance<UserId>, call: &Call, what: &'static str) -> Result<Taken<UserId>> {
        let user = call.principal()?.user;
        of.take(user, 1).map_err(|full| {
            self.refusals.note("read of the audit log: too many at once", user);
            Error::full(full, what)
        })
    }
}
