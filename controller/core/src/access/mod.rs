//! Authorization: the caller of a request ([`Principal`], [`Call`]), the rule of each method ([`Rule`]), and the
//! objects on which callers have permissions ([`Object`]).
//!
//! Every room has the rules of its own methods. The call layer refuses a method without a rule. Handlers get the
//! object of a request through [`Access`]: for a caller who may not see it the object is NOT_FOUND, for a caller who
//! may see it but lacks the permission it is PERMISSION_DENIED.

mod call;
mod object;
mod role;
mod rule;
mod token_scope;

pub use call::{Authenticator, Call, Credential, Principal, unauthenticated};
pub use object::{Access, Found, Object, decide};
pub use role::Role;
pub use rule::{Lasts, Permission, Rule, Rules, Scope};
pub use token_scope::{TokenScope, TokenScopes};
