//! Rows of the room's methods.

use supalove_core::access::{
    Permission::{ManageAccount, OperatePlatform, Public, ReadAccount},
    Rule,
    Scope::{AnySignedIn, Anyone, OperatorOnly},
};

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::write("/supalove.v1.AuthService/SetUp", Anyone, Public),
    Rule::write("/supalove.v1.AuthService/SignIn", Anyone, Public).with_cookies(),
    Rule::read("/supalove.v1.AuthService/GetSignUpPolicy", Anyone, Public),
    Rule::write("/supalove.v1.AuthService/StartSignUp", Anyone, Public),
    Rule::write("/supalove.v1.AuthService/SignUp", Anyone, Public).with_cookies(),
    Rule::write("/supalove.v1.AuthService/RequestPasswordReset", Anyone, Public),
    Rule::write("/supalove.v1.AuthService/ResetPassword", Anyone, Public).with_cookies(),
    Rule::write("/supalove.v1.AuthService/Refresh", Anyone, Public).with_cookies(),
    Rule::write("/supalove.v1.AuthService/SignOut", AnySignedIn, ManageAccount).with_cookies(),
    Rule::read("/supalove.v1.AuthService/GetMe", AnySignedIn, ReadAccount),
    Rule::write("/supalove.v1.AuthService/UpdateMe", AnySignedIn, ManageAccount),
    Rule::write("/supalove.v1.AuthService/ChangePassword", AnySignedIn, ManageAccount),
    Rule::write("/supalove.v1.AuthService/RequestEmailChange", AnySignedIn, ManageAccount),
    Rule::write("/supalove.v1.AuthService/ConfirmEmailChange", AnySignedIn, ManageAccount),
    Rule::write("/supalove.v1.AuthService/DeleteAccount", AnySignedIn, ManageAccount).with_cookies(),
    Rule::write("/supalove.v1.AuthService/RotateSigningKey", OperatorOnly, OperatePlatform),
    Rule::read("/supalove.v1.AuthService/ListSessions", AnySignedIn, ManageAccount),
    Rule::write("/supalove.v1.AuthService/EndSession", AnySignedIn, ManageAccount),
    Rule::write("/supalove.v1.AuthService/EndOtherSessions", AnySignedIn, ManageAccount),
    Rule::write(
        "/supalove.v1.PersonalAccessTokenService/CreatePersonalAccessToken",
        AnySignedIn,
        ManageAccount,
    ),
    Rule::read(
        "/supalove.v1.PersonalAccessTokenService/ListPersonalAccessTokens",
        AnySignedIn,
        ManageAccount,
    ),
    Rule::write(
        "/supalove.v1.PersonalAccessTokenService/RevokePersonalAccessToken",
        AnySignedIn,
        ManageAccount,
    ),
];
