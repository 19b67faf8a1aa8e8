//! `supalove.v1.AuthService`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use supalove_proto::v1::{
    self as pb, ErrorReason, GetMeRequest, GetMeResponse, RefreshRequest, RefreshResponse,
    RefreshTokenDelivery, SessionTokens, SetUpRequest, SetUpResponse, SignInRequest, SignInResponse,
    SignOutRequest, SignOutResponse, auth_service_server::AuthService,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{
    Families, Opaque, Passwords, TokenSigner, User,
    family::Answer,
    normalize_email,
    store::{self, Refreshed},
};
use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    ids::{SessionId, UserId},
    wire::{display_text, timestamp},
};

const COOKIE: &str = "supalove_refresh";
/// Outcome in the audit log when an old refresh token ends its session.
const REUSED: &str = "REFRESH_TOKEN_REUSED";
const COOKIE_SCOPE: &str = "Path=/supalove.v1.AuthService/; HttpOnly; SameSite=Strict";

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

    fn new_session(&self, in_cookie: bool) -> store::NewSession {
        store::NewSession {
            id: SessionId::generate(),
            in_cookie,
            expires_at: Utc::now() + self.core.times.refresh_token,
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
        let body = request.into_inner();
        let email = normalize_email(&body.email)?;
        Passwords::check_rules(&body.password)?;
        let display_name = display_name(&body.display_name, &email)?;
        let user =
            User { id: UserId::generate(), email, display_name, operator: true, created_at: Utc::now() };
        let token = Opaque::received(body.setup_token);
        store::check_setup_token(&self.core.db, &token).await?;
        let hash = self.passwords.hash(call.client, body.password).await?;
        let session = self.new_session(false);
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
        let body = request.into_inner();
        let in_cookie = body.refresh_token_delivery() == RefreshTokenDelivery::Cookie;
        let email = normalize_email(&body.email)?;
        let found = store::credentials(&self.core.db, &email).await?;
        let hash = found.as_ref().map(|c| c.password_hash.clone());
        let fits = self.passwords.verify(call.client, body.password, hash).await?;
        let user = found.filter(|_| fits).map(|c| c.user).ok_or_else(|| Error::Unauthenticated {
            reason: ErrorReason::BadCredentials,
            message: "e-mail address or password is wrong".to_owned(),
        })?;
        let session = self.new_session(in_cookie);
        let refresh = self.families.token(session.id, 0);
        let mut mutation = self.core.mutation(&call);
        mutation.act_as(user.id);
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
        let from_cookie = cookie(request.metadata());
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
    display_text("display_name", name)
}

/// Returns whether the cookie must be `Secure`. Browsers send other cookies over plain HTTP too, so only loopback may.
fn is_secure(call: &Call) -> bool {
    !call.client.is_some_and(|address| address.is_loopback())
}

/// A refresh token for a browser.
struct Cookie<'a> {
    token: &'a Opaque,
    expires_at: DateTime<Utc>,
    secure: bool,
}

impl Cookie<'_> {
    fn set(&self) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let life = (self.expires_at - Utc::now()).num_seconds().max(0);
        format!("{COOKIE}={}; {COOKIE_SCOPE}; Max-Age={life}{secure}", self.token.reveal())
    }
}

/// Reads the refresh token from the cookies. Over HTTP/2 a browser may send each cookie in a field of its own
/// (RFC 9113, 8.2.3).
pub(super) fn cookie(metadata: &MetadataMap) -> Option<String> {
    let fields = metadata.get_all("cookie").iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('=')).map(str::to_owned)
}
