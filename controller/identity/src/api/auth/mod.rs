//! `supalove.v1.AuthService`.

mod recovery;
mod sign_up;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use supalove_proto::v1::{
    self as pb, ChangePasswordRequest, ChangePasswordResponse, ConfirmEmailChangeRequest,
    ConfirmEmailChangeResponse, DeleteAccountRequest, DeleteAccountResponse, EndOtherSessionsRequest,
    EndOtherSessionsResponse, EndSessionRequest, EndSessionResponse, ErrorReason, GetMeRequest,
    GetMeResponse, GetSignUpPolicyRequest, GetSignUpPolicyResponse, ListSessionsRequest,
    ListSessionsResponse, RefreshRequest, RefreshResponse, RefreshTokenDelivery, RequestEmailChangeRequest,
    RequestEmailChangeResponse, RequestPasswordResetRequest, RequestPasswordResetResponse,
    ResetPasswordRequest, ResetPasswordResponse, RotateSigningKeyRequest, RotateSigningKeyResponse,
    SessionTokens, SetUpRequest, SetUpResponse, SignInRequest, SignInResponse, SignOutRequest,
    SignOutResponse, SignUpRequest, SignUpResponse, StartSignUpRequest, StartSignUpResponse, UpdateMeRequest,
    UpdateMeResponse, auth_service_server::AuthService,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    Families, NewPassword, Opaque, Passwords, Session, SignUpPolicy, User,
    cookie::{self, Cookie, is_secure},
    family::{Answer, Presented},
    limits,
    links::{self, Remedy},
    normalize_email,
    signing_keys::{self, SigningKeys},
    store::{self, Refreshed},
};
use supalove_core::{
    Core,
    access::Call,
    accounts::Accounts,
    error::{Error, Result},
    hints::Hint,
    ids::{InvalidId, SessionId, UserId},
    wire::{Changes, display_text, timestamp},
};
use supalove_spec::text::single_line;

pub use sign_up::has_account;

/// Outcome in the audit log when an old refresh token ends its session.
const REUSED: &str = "REFRESH_TOKEN_REUSED";
/// Characters of a user-agent that are stored.
const USER_AGENT_CHARS: usize = 200;

/// How long answers take that must not tell whether an address has an account: longer than any of their ways.
const EVEN: Duration = Duration::from_millis(300);

#[derive(Clone)]
pub struct AuthApi {
    core: Core,
    keys: Arc<SigningKeys>,
    families: Arc<Families>,
    passwords: Passwords,
    policy: SignUpPolicy,
    accounts: Arc<dyn Accounts>,
}

/// An answer with the tokens of a session that has begun, and the cookie that carries one of them.
type Signed<T> = Response<T>;

impl AuthApi {
    /// Creates the service with the platform's keys of access and refresh tokens.
    pub fn new(
        core: Core,
        keys: Arc<SigningKeys>,
        families: Arc<Families>,
        policy: SignUpPolicy,
        accounts: Arc<dyn Accounts>,
    ) -> Self {
        let passwords = Passwords::new(core.password_hashings.clone());
        Self { core, keys, families, passwords, policy, accounts }
    }

    /// The answer to who has signed in, with the refresh token where the session says.
    fn signed<T>(
        &self,
        call: &Call,
        user: User,
        session: &store::NewSession,
        answer: impl FnOnce(pb::User, SessionTokens) -> T,
    ) -> Result<Signed<T>> {
        let refresh = self.families.token(session.id, 0);
        let tokens = self.tokens(user.id, session.id, (!session.in_cookie).then_some(&refresh))?;
        let cookie = Cookie { token: &refresh, expires_at: session.expires_at, secure: is_secure(call) };
        Self::deliver(answer(user.into(), tokens), session.in_cookie.then_some(cookie))
    }

    fn new_session(&self, call: &Call, metadata: &MetadataMap, in_cookie: bool) -> store::NewSession {
        let user_agent = metadata.get("user-agent").and_then(|value| value.to_str().ok());
        store::NewSession {
            id: SessionId::generate(),
            in_cookie,
            expires_at: Utc::now() + self.core.times.refresh_token,
            client: call.client.map(|address| address.to_string()).unwrap_or_default(),
            user_agent: single_line(user_agent.unwrap_or_default(), USER_AGENT_CHARS),
        }
    }

    fn tokens(&self, user: UserId, session: SessionId, refresh: Option<&Opaque>) -> Result<SessionTokens> {
        let now = Utc::now();
        let end: DateTime<Utc> = now + self.core.times.access_token;
        Ok(SessionTokens {
            access_token: self.keys.sign(user, session, now, end)?,
            access_token_expire_time: Some(timestamp(end)),
            refresh_token: refresh.map(Opaque::reveal).unwrap_or_default(),
        })
    }

    /// Exchanges a refresh token for the next one. A token that was used before ends its session, except that the last one
    /// gets the same answer again for a moment.
    async fn exchange(&self, call: &Call, old: &Opaque) -> Result<(Refreshed, Opaque)> {
        let presented = self.families.read(old);
        let mut mutation = self.core.mutation(call);
        if let Some(found) = store::refresh(&mut mutation, &presented, &self.core.times).await? {
            mutation.act_as(found.user);
            let session = found.session.to_string();
            match found.answer {
                Answer::Next(number) | Answer::Same(number) => {
                    mutation.commit(&session, []).await?;
                    let new = self.families.token(found.session, number);
                    return Ok((found, new));
                }
                Answer::Reused => {
                    tracing::warn!(%session, user = %found.user, "an old refresh token was used; its session has ended");
                    mutation.ends_as(REUSED);
                    mutation.commit(&session, []).await?;
                }
            }
        }
        match presented {
            Presented::Numbered(..) => Err(bad_refresh_token()),
            // We have not issued it.
            Presented::Unnumbered(_) => {
                Err(limits::wrong_token(&self.core.db, call.client, bad_refresh_token()).await)
            }
        }
    }

    /// Builds the response, with the refresh token in its body or in a cookie.
    fn deliver<T>(answer: T, cookie: Option<Cookie<'_>>) -> Result<Response<T>> {
        let mut response = Response::new(answer);
        if let Some(cookie) = cookie {
            let value = cookie.set();
            response.metadata_mut().insert("set-cookie", value.parse().map_err(Error::internal)?);
        }
        Ok(response)
    }
}

#[tonic::async_trait]
impl AuthService for AuthApi {
    async fn set_up(&self, request: Request<SetUpRequest>) -> Result<Response<SetUpResponse>, Status> {
        let call = Call::from_request(&request)?;
        let session = self.new_session(&call, request.metadata(), false);
        let body = request.into_inner();
        let email = normalize_email(&body.email)?;
        let display_name = display_name(&body.display_name, &email)?;
        let password = NewPassword::new("password", body.password, &[&email, &display_name])?;
        let user = User {
            id: UserId::generate(),
            email,
            display_name,
            operator: true,
            email_verified: false,
            created_at: Utc::now(),
        };
        let token = Opaque::received(body.setup_token);
        if let Err(wrong) = store::check_setup_token(&self.core.db, &token).await {
            return Err(limits::wrong_token(&self.core.db, call.client, wrong).await.into());
        }
        let hash = self.passwords.hash(call.client, password).await?;
        let mut mutation = self.core.mutation(&call);
        store::insert_first_user(&mut mutation, &token, &user, &hash).await?;
        store::insert_session(&mut mutation, user.id, &session).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        Ok(self.signed(&call, user, &session, |user, tokens| SetUpResponse {
            user: Some(user),
            tokens: Some(tokens),
        })?)
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let call = Call::from_request(&request)?;
        let in_cookie = request.get_ref().refresh_token_delivery() == RefreshTokenDelivery::Cookie;
        let session = self.new_session(&call, request.metadata(), in_cookie);
        let body = request.into_inner();
        let email = normalize_email(&body.email)?;
        let counted = limits::sign_in(&self.core.db, call.client, &email).await?;
        let found = store::credentials(&self.core.db, &email).await?;
        let hash = found.as_ref().map(|c| c.password_hash.clone());
        let verified = self.passwords.verify(call.client, body.password, hash).await;
        let fits = match verified {
            Ok(fits) => fits,
            Err(error) => {
                // It was not tried.
                counted.give_back(&self.core.db).await;
                return Err(error.into());
            }
        };
        let found = found.filter(|_| fits).ok_or_else(bad_credentials)?;
        let user = found.user;
        let mut mutation = self.core.mutation(&call);
        mutation.act_as(user.id);
        if !store::lock_password(&mut mutation, user.id, &found.password_hash).await? {
            return Err(bad_credentials().into());
        }
        store::insert_session(&mut mutation, user.id, &session).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        counted.give_back(&self.core.db).await;
        Ok(self.signed(&call, user, &session, |user, tokens| SignInResponse {
            user: Some(user),
            tokens: Some(tokens),
        })?)
    }

    async fn get_sign_up_policy(
        &self,
        _: Request<GetSignUpPolicyRequest>,
    ) -> Result<Response<GetSignUpPolicyResponse>, Status> {
        let policy = pb::SignUpPolicy::from(self.policy).into();
        Ok(Response::new(GetSignUpPolicyResponse { policy, mail: self.core.mail().enabled() }))
    }

    async fn start_sign_up(
        &self,
        request: Request<StartSignUpRequest>,
    ) -> Result<Response<StartSignUpResponse>, Status> {
        let call = Call::from_request(&request)?;
        evenly(Self::start_sign_up(self, &call, &request.get_ref().email)).await?;
        Ok(Response::new(StartSignUpResponse {}))
    }

    async fn sign_up(&self, request: Request<SignUpRequest>) -> Result<Response<SignUpResponse>, Status> {
        let call = Call::from_request(&request)?;
        let in_cookie = request.get_ref().refresh_token_delivery() == RefreshTokenDelivery::Cookie;
        let session = self.new_session(&call, request.metadata(), in_cookie);
        Ok(Self::sign_up(self, &call, session, request.into_inner()).await?)
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        let call = Call::from_request(&request)?;
        evenly(Self::request_password_reset(self, &call, &request.get_ref().email)).await?;
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        let call = Call::from_request(&request)?;
        let in_cookie = request.get_ref().refresh_token_delivery() == RefreshTokenDelivery::Cookie;
        let session = self.new_session(&call, request.metadata(), in_cookie);
        Ok(Self::reset_password(self, &call, session, request.into_inner()).await?)
    }

    async fn request_email_change(
        &self,
        request: Request<RequestEmailChangeRequest>,
    ) -> Result<Response<RequestEmailChangeResponse>, Status> {
        let call = Call::from_request(&request)?;
        evenly(Self::request_email_change(self, &call, request.into_inner())).await?;
        Ok(Response::new(RequestEmailChangeResponse {}))
    }

    async fn confirm_email_change(
        &self,
        request: Request<ConfirmEmailChangeRequest>,
    ) -> Result<Response<ConfirmEmailChangeResponse>, Status> {
        let call = Call::from_request(&request)?;
        Ok(Response::new(Self::confirm_email_change(self, &call, request.into_inner().token).await?))
    }

    async fn delete_account(
        &self,
        request: Request<DeleteAccountRequest>,
    ) -> Result<Response<DeleteAccountResponse>, Status> {
        let call = Call::from_request(&request)?;
        Self::delete_account(self, &call, request.into_inner().current_password).await?;
        let mut response = Response::new(DeleteAccountResponse {});
        response.metadata_mut().insert("set-cookie", cookie::removal().parse().map_err(Error::internal)?);
        Ok(response)
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        let call = Call::from_request(&request)?;
        let mut mutation = self.core.mutation(&call);
        let at_once = request.get_ref().at_once;
        let made = signing_keys::replace_by_call(&self.core, &mut mutation, at_once).await?;
        mutation.commit(&made.id, [Hint::SigningKeys]).await?;
        self.keys.load(&self.core).await?;
        Ok(Response::new(RotateSigningKeyResponse {
            key_id: made.id,
            sign_time: Some(timestamp(made.signs_at)),
        }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let call = Call::from_request(&request)?;
        let secure = is_secure(&call);
        let from_cookie = cookie::refresh_token(request.metadata());
        let sent = request.into_inner().refresh_token;
        let old = if sent.is_empty() { from_cookie.unwrap_or_default() } else { sent };
        if old.is_empty() {
            return Err(bad_refresh_token().into());
        }
        let (refreshed, new) = self.exchange(&call, &Opaque::received(old)).await?;
        let tokens =
            self.tokens(refreshed.user, refreshed.session, (!refreshed.in_cookie).then_some(&new))?;
        let answer = RefreshResponse { tokens: Some(tokens) };
        let cookie = Cookie { token: &new, expires_at: refreshed.expires_at, secure };
        Ok(Self::deliver(answer, refreshed.in_cookie.then_some(cookie))?)
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        let call = Call::from_request(&request)?;
        let principal = call.principal()?;
        let mut mutation = self.core.mutation(&call);
        store::end_session(&mut mutation, principal.session()?).await?;
        mutation.commit(&principal.user.to_string(), []).await?;
        let mut response = Response::new(SignOutResponse {});
        response.metadata_mut().insert("set-cookie", cookie::removal().parse().map_err(Error::internal)?);
        Ok(response)
    }

    async fn get_me(&self, request: Request<GetMeRequest>) -> Result<Response<GetMeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let user = store::user(&self.core.db, call.principal()?.user).await?;
        Ok(Response::new(GetMeResponse { user: Some(user.into()) }))
    }

    async fn update_me(
        &self,
        request: Request<UpdateMeRequest>,
    ) -> Result<Response<UpdateMeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let user = call.principal()?.user;
        let body = request.into_inner();
        if Changes::parse(body.update_mask.as_ref(), &["display_name"])?.field("display_name") {
            let display_name = display_text("display_name", &body.display_name)?;
            let mut mutation = self.core.mutation(&call);
            store::lock_account(&mut mutation, call.principal()?).await?;
            store::set_display_name(&mut mutation, user, &display_name).await?;
            mutation.commit(&user.to_string(), []).await?;
        }
        let user = store::user(&self.core.db, user).await?;
        Ok(Response::new(UpdateMeResponse { user: Some(user.into()) }))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let call = Call::from_request(&request)?;
        let principal = call.principal()?;
        let body = request.into_inner();
        let user = store::user(&self.core.db, principal.user).await?;
        let new = NewPassword::new("new_password", body.new_password, &[&user.email, &user.display_name])?;
        let old = store::password_hash(&self.core.db, user.id).await?;
        self.check_password(&call, body.current_password).await?;
        let hash = self.passwords.hash(call.client, new).await?;
        let mut mutation = self.core.mutation(&call);
        let session = store::lock_account(&mut mutation, principal).await?;
        store::replace_password(&mut mutation, user.id, &old, &hash).await?;
        let ended = store::end_sessions_but(&mut mutation, user.id, &[session]).await?;
        store::links::forget(&mut mutation, user.id).await?;
        let what = "The password of your account was changed, and its other sessions have ended.";
        links::tell_of_change(&self.core, &mut mutation, &user.email, what, Remedy::Reset).await?;
        let left = store::personal_access_tokens::count(&mut mutation, user.id).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        Ok(Response::new(ChangePasswordResponse { sessions_ended: ended, personal_access_tokens_left: left }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let principal = call.principal()?;
        let current = principal.session()?;
        let found = store::sessions(&self.core.db, principal.user).await?;
        let sessions = found.into_iter().map(|session| wire_session(session, current)).collect();
        Ok(Response::new(ListSessionsResponse { sessions }))
    }

    async fn end_session(
        &self,
        request: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        let call = Call::from_request(&request)?;
        let name = request.into_inner().session_id;
        let session =
            name.parse().map_err(|error: InvalidId| Error::field("session_id", error.to_string()))?;
        call.names(&name);
        let mut mutation = self.core.mutation(&call);
        store::lock_account(&mut mutation, call.principal()?).await?;
        if !store::end_session_of(&mut mutation, call.principal()?.user, session).await? {
            return Err(Error::NotFound { kind: "session", name }.into());
        }
        mutation.commit(&name, []).await?;
        Ok(Response::new(EndSessionResponse {}))
    }

    async fn end_other_sessions(
        &self,
        request: Request<EndOtherSessionsRequest>,
    ) -> Result<Response<EndOtherSessionsResponse>, Status> {
        let call = Call::from_request(&request)?;
        let principal = call.principal()?;
        let mut mutation = self.core.mutation(&call);
        let current = store::lock_account(&mut mutation, principal).await?;
        let ended = store::end_sessions_but(&mut mutation, principal.user, &[current]).await?;
        mutation.commit(&principal.user.to_string(), []).await?;
        Ok(Response::new(EndOtherSessionsResponse { sessions_ended: ended }))
    }
}

/// Answers after the same time, however short the way was.
async fn evenly<T>(act: impl Future<Output = Result<T>>) -> Result<T> {
    let until = Instant::now() + EVEN;
    let done = act.await;
    tokio::time::sleep_until(until).await;
    done
}

fn bad_refresh_token() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::RefreshTokenInvalid,
        message: "the refresh token is wrong, has expired or was used before; sign in again".to_owned(),
    }
}

fn bad_credentials() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::BadCredentials,
        message: "e-mail address or password is wrong".to_owned(),
    }
}

fn wire_session(session: Session, current: SessionId) -> pb::Session {
    pb::Session {
        id: session.id.to_string(),
        current: session.id == current,
        create_time: Some(timestamp(session.created_at)),
        refresh_time: Some(timestamp(session.refreshed_at)),
        expire_time: Some(timestamp(session.expires_at)),
        client_address: session.client,
        user_agent: session.user_agent,
    }
}

impl From<User> for pb::User {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email,
            display_name: user.display_name,
            operator: user.operator,
            email_verified: user.email_verified,
            create_time: Some(timestamp(user.created_at)),
        }
    }
}

pub fn display_name(given: &str, email: &str) -> Result<String> {
    let name = match given.trim() {
        "" => email.split('@').next().unwrap_or(email),
        name => name,
    };
    display_text("display_name", name)
}
