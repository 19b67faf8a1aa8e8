//! Who may do what: the caller of a request ([`Principal`], [`Call`]), the row of each method ([`Rule`]), and the objects
//! that callers have rights to ([`Object`]).
//!
//! Every room brings the rows of its own methods. The call layer looks a method up among them, so a method without a row
//! is refused. Handlers ask for the object they work on through [`Access`]: someone else's object is NOT_FOUND, one's
//! own without the right is PERMISSION_DENIED.

mod call;
mod object;
mod role;
mod rule;

pub use call::{Authenticator, Call, Principal, unauthenticated};
pub use object::{Access, Found, Object};
pub use role::Role;
pub use rule::{Lasts, Permission, Rule, Rules, Scope};
