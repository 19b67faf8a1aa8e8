//! Rows of the room's methods.

use supalove_core::access::{
    Permission::{Public, ReadSelf},
    Rule,
    Scope::{AnySignedIn, Anyone},
};

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::write("/supalove.v1.AuthService/SetUp", Anyone, Public),
    Rule::write("/supalove.v1.AuthService/SignIn", Anyone, Public).with_cookies(),
    Rule::write("/supalove.v1.AuthService/Refresh", Anyone, Public).with_cookies(),
    Rule::write("/supalove.v1.AuthService/SignOut", AnySignedIn, ReadSelf).with_cookies(),
    Rule::read("/supalove.v1.AuthService/GetMe", AnySignedIn, ReadSelf),
];
