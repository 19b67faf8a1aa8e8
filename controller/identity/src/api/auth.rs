//! `supalove.v1.AuthService`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use supalove_proto::v1::{
    self as pb, ChangePasswordRequest, ChangePasswordResponse, EndOtherSessionsRequest,
    EndOtherSessionsResponse, EndSessionRequest, EndSessionResponse, ErrorReason, GetMeRequest,
    GetMeResponse, ListSessionsRequest, ListSessionsResponse, RefreshRequest, RefreshResponse,
    RefreshTokenDelivery, SessionTokens, SetUpRequest, SetUpResponse, SignInRequest, SignInResponse,
    SignOutRequest, SignOutResponse, UpdateMeRequest, UpdateMeResponse, auth_service_server::AuthService,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    Families, NewPassword, Opaque, Passwords, Session, TokenSigner, User,
    cookie::{self, Cookie, is_secure},
    family::Answer,
    normalize_email,
    store::{self, Refreshed},
};
use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    ids::{InvalidId, SessionId, UserId},
    wire::{Changes, display_text, timestamp},
};
use supalove_spec::text::single_line;

/// Outcome in the audit log when an old refresh token ends its session.
const REUSED: &str = "REFRESH_TOKEN_REUSED";
/// Characters of a user-agent that are stored.
const USER_AGENT_CHARS: usize = 200;

#[derive(Debug, Clone)]
pub struct AuthApi {
    core: Core,
    signer: Arc<TokenSigner>,
    families: Arc<Families>,
    passwords: Passwords,
}

impl AuthApi {
    /// Creates the service with the platform's keys of access and refresh tokens.
    pub fn new(core: Core, signer: Arc<TokenSigner>, families: Arc<Families>) -> Self {
        Self { core, signer, families, passwords: Passwords::default() }
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
            access_token: self.signer.sign(user, session, now, end)?,
            access_token_expire_time: Some(timestamp(end)),
            refresh_token: refresh.map(Opaque::reveal).unwrap_or_default(),
        })
    }

    /// Exchanges a refresh token for the next one. A token that was used before ends its session, except that the last one
    /// gets the same answer again for a moment.
    async fn exchange(&self, call: &Call, old: &Opaque) -> Result<(Refreshed, Opaque)> {
        let mut mutation = self.core.mutation(call);
        let presented = self.families.read(old);
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
        Err(Error::Unauthenticated {
            reason: ErrorReason::RefreshTokenInvalid,
            message: "the refresh token is wrong, has expired or was used before; sign in again".to_owned(),
        })
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
        let user =
            User { id: UserId::generate(), email, display_name, operator: true, created_at: Utc::now() };
        let token = Opaque::received(body.setup_token);
        store::check_setup_token(&self.core.db, &token).await?;
        let hash = self.passwords.hash(call.client, password).await?;
        let mut mutation = self.core.mutation(&call);
        store::insert_first_user(&mut mutation, &token, &user, &hash).await?;
        store::insert_session(&mut mutation, user.id, &session).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        let tokens = self.tokens(user.id, session.id, Some(&self.families.token(session.id, 0)))?;
        Ok(Response::new(SetUpResponse { user: Some(user.into()), tokens: Some(tokens) }))
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let call = Call::from_request(&request)?;
        let secure = is_secure(&call);
        let in_cookie = request.get_ref().refresh_token_delivery() == RefreshTokenDelivery::Cookie;
        let session = self.new_session(&call, request.metadata(), in_cookie);
        let body = request.into_inner();
        let email = normalize_email(&body.email)?;
        let found = store::credentials(&self.core.db, &email).await?;
        let hash = found.as_ref().map(|c| c.password_hash.clone());
        let fits = self.passwords.verify(call.client, body.password, hash).await?;
        let found = found.filter(|_| fits).ok_or_else(bad_credentials)?;
        let user = found.user;
        let refresh = self.families.token(session.id, 0);
        let mut mutation = self.core.mutation(&call);
        mutation.act_as(user.id);
        if !store::lock_password(&mut mutation, user.id, &found.password_hash).await? {
            return Err(bad_credentials().into());
        }
        store::insert_session(&mut mutation, user.id, &session).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        let tokens = self.tokens(user.id, session.id, (!in_cookie).then_some(&refresh))?;
        let answer = SignInResponse { user: Some(user.into()), tokens: Some(tokens) };
        let cookie = Cookie { token: &refresh, expires_at: session.expires_at, secure };
        Ok(Self::deliver(answer, in_cookie.then_some(cookie))?)
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let call = Call::from_request(&request)?;
        let secure = is_secure(&call);
        let from_cookie = cookie::refresh_token(request.metadata());
        let sent = request.into_inner().refresh_token;
        let old = if sent.is_empty() { from_cookie.unwrap_or_default() } else { sent };
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
        if !self.passwords.verify(call.client, body.current_password, Some(old.clone())).await? {
            return Err(Error::field("current_password", "is wrong").into());
        }
        let hash = self.passwords.hash(call.client, new).await?;
        let mut mutation = self.core.mutation(&call);
        let session = store::lock_account(&mut mutation, principal).await?;
        store::replace_password(&mut mutation, user.id, &old, &hash).await?;
        let ended = store::end_other_sessions(&mut mutation, user.id, session).await?;
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
        let ended = store::end_other_sessions(&mut mutation, principal.user, current).await?;
        mutation.commit(&principal.user.to_string(), []).await?;
        Ok(Response::new(EndOtherSessionsResponse { sessions_ended: ended }))
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
