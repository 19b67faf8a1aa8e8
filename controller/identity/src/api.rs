//! `supalove.v1.AuthService`.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use supalove_proto::v1::{
    self as pb, ErrorReason, GetMeRequest, GetMeResponse, RefreshRequest, RefreshResponse,
    RefreshTokenDelivery, SessionTokens, SetUpRequest, SetUpResponse, SignInRequest, SignInResponse,
    SignOutRequest, SignOutResponse, auth_service_server::AuthService,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{Opaque, Passwords, TokenSigner, User, normalize_email, store};
use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    ids::{SessionId, UserId},
    wire::timestamp,
};

const COOKIE: &str = "supalove_refresh";
const COOKIE_SCOPE: &str = "Path=/supalove.v1.AuthService/; HttpOnly; SameSite=Strict";

#[derive(Debug, Clone)]
pub struct AuthApi {
    core: Core,
    signer: Arc<TokenSigner>,
    passwords: Passwords,
}

impl AuthApi {
    /// Creates the service with the platform's signing key.
    pub fn new(core: Core, signer: Arc<TokenSigner>) -> Self {
        Self { core, signer, passwords: Passwords::default() }
    }

    fn new_session(&self, in_cookie: bool) -> Result<store::NewSession> {
        Ok(store::NewSession {
            id: SessionId::generate(),
            refresh: Opaque::generate()?,
            in_cookie,
            expires_at: Utc::now() + self.core.times.refresh_token,
        })
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

    /// Exchanges a refresh token for a new pair. A token that was used before ends its session.
    async fn rotate(
        &self,
        call: &Call,
        old: &Opaque,
        new: &Opaque,
        expires_at: DateTime<Utc>,
    ) -> Result<store::Refreshed> {
        let mut mutation = self.core.mutation(call);
        if let Some(refreshed) = store::rotate(&mut mutation, old, new, expires_at).await? {
            mutation.act_as(refreshed.user);
            mutation.commit(&refreshed.session.to_string(), []).await?;
            return Ok(refreshed);
        }
        if let Some(session) = store::end_reused(&mut mutation, old).await? {
            tracing::warn!(%session, "refresh token was used twice; its session has ended");
            mutation.commit(&session.to_string(), []).await?;
        }
        Err(Error::Unauthenticated {
            reason: ErrorReason::RefreshTokenInvalid,
            message: "the refresh token is wrong, has expired or was used before; sign in again".to_owned(),
        })
    }

    /// Builds the response, with the refresh token in its body or in a cookie.
    fn deliver<T>(&self, answer: T, cookie: Option<(&Opaque, bool)>) -> Result<Response<T>> {
        let mut response = Response::new(answer);
        if let Some((token, secure)) = cookie {
            let value = set_cookie(token, self.core.times.refresh_token, secure);
            response.metadata_mut().insert("set-cookie", value.parse().map_err(Error::internal)?);
        }
        Ok(response)
    }
}

#[tonic::async_trait]
impl AuthService for AuthApi {
    async fn set_up(&self, request: Request<SetUpRequest>) -> Result<Response<SetUpResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let email = normalize_email(&body.email)?;
        Passwords::check_rules(&body.password)?;
        let display_name = display_name(&body.display_name, &email)?;
        let user =
            User { id: UserId::generate(), email, display_name, operator: true, created_at: Utc::now() };
        let token = Opaque::received(body.setup_token);
        store::check_setup_token(&self.core.db, &token).await?;
        let hash = self.passwords.hash(body.password).await?;
        let session = self.new_session(false)?;
        let mut mutation = self.core.mutation(&call);
        store::insert_first_user(&mut mutation, &token, &user, &hash).await?;
        store::insert_session(&mut mutation, user.id, &session).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        let tokens = self.tokens(user.id, session.id, Some(&session.refresh))?;
        Ok(Response::new(SetUpResponse { user: Some(user.into()), tokens: Some(tokens) }))
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let call = Call::from_request(&request)?;
        let secure = is_secure(&call);
        let body = request.into_inner();
        let in_cookie = body.refresh_token_delivery() == RefreshTokenDelivery::Cookie;
        let email = normalize_email(&body.email)?;
        let found = store::credentials(&self.core.db, &email).await?;
        let hash = found.as_ref().map(|c| c.password_hash.clone());
        let fits = self.passwords.verify(body.password, hash).await?;
        let user = found.filter(|_| fits).map(|c| c.user).ok_or_else(|| Error::Unauthenticated {
            reason: ErrorReason::BadCredentials,
            message: "e-mail address or password is wrong".to_owned(),
        })?;
        let session = self.new_session(in_cookie)?;
        let mut mutation = self.core.mutation(&call);
        mutation.act_as(user.id);
        store::insert_session(&mut mutation, user.id, &session).await?;
        mutation.commit(&user.id.to_string(), []).await?;
        let tokens = self.tokens(user.id, session.id, (!in_cookie).then_some(&session.refresh))?;
        let answer = SignInResponse { user: Some(user.into()), tokens: Some(tokens) };
        Ok(self.deliver(answer, in_cookie.then_some((&session.refresh, secure)))?)
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let call = Call::from_request(&request)?;
        let secure = is_secure(&call);
        let from_cookie = cookie(request.metadata());
        let sent = request.into_inner().refresh_token;
        let old = if sent.is_empty() { from_cookie.unwrap_or_default() } else { sent };
        let new = Opaque::generate()?;
        let expires_at = Utc::now() + self.core.times.refresh_token;
        let refreshed = self.rotate(&call, &Opaque::received(old), &new, expires_at).await?;
        let tokens =
            self.tokens(refreshed.user, refreshed.session, (!refreshed.in_cookie).then_some(&new))?;
        let answer = RefreshResponse { tokens: Some(tokens) };
        Ok(self.deliver(answer, refreshed.in_cookie.then_some((&new, secure)))?)
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        let call = Call::from_request(&request)?;
        let principal = call.principal()?;
        let mut mutation = self.core.mutation(&call);
        store::end_session(&mut mutation, principal.session).await?;
        mutation.commit(&principal.user.to_string(), []).await?;
        let mut response = Response::new(SignOutResponse {});
        let gone = format!("{COOKIE}=; {COOKIE_SCOPE}; Max-Age=0");
        response.metadata_mut().insert("set-cookie", gone.parse().map_err(Error::internal)?);
        Ok(response)
    }

    async fn get_me(&self, request: Request<GetMeRequest>) -> Result<Response<GetMeResponse>, Status> {
        let call = Call::from_request(&request)?;
        let user = store::user(&self.core.db, call.principal()?.user).await?;
        Ok(Response::new(GetMeResponse { user: Some(user.into()) }))
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

pub(super) fn display_name(given: &str, email: &str) -> Result<String> {
    let name = match given.trim() {
        "" => email.split('@').next().unwrap_or(email),
        name => name,
    };
    if name.chars().count() > 80 || name.chars().any(char::is_control) {
        return Err(Error::field(
            "display_name",
            "must have at most 80 characters and no control characters",
        ));
    }
    Ok(name.to_owned())
}

/// Returns whether the cookie must be `Secure`. Browsers send other cookies over plain HTTP too, so only loopback may.
fn is_secure(call: &Call) -> bool {
    !call.client.is_some_and(|address| address.is_loopback())
}

fn set_cookie(token: &Opaque, life: Duration, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={}; {COOKIE_SCOPE}; Max-Age={}{secure}", token.reveal(), life.as_secs())
}

pub(super) fn cookie(metadata: &MetadataMap) -> Option<String> {
    let header = metadata.get("cookie")?.to_str().ok()?;
    header.split("; ").find_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('=')).map(str::to_owned)
}
