//! `supalove.v1.PersonalAccessTokenService`.

use std::{sync::Arc, time::Duration};

use chrono::{SecondsFormat, Utc};
use supalove_core::{
    Core,
    access::{Call, TokenScope, TokenScopes},
    error::{Error, Result},
    ids::{InvalidId, PersonalAccessTokenId},
    wire::{display_text, duration, timestamp},
};
use supalove_proto::v1::{
    self as pb, CreatePersonalAccessTokenRequest, CreatePersonalAccessTokenResponse,
    ListPersonalAccessTokensRequest, ListPersonalAccessTokensResponse, PersonalAccessTokenScope as WireScope,
    RevokePersonalAccessTokenRequest, RevokePersonalAccessTokenResponse,
    personal_access_token_service_server::PersonalAccessTokenService,
};
use tonic::{Request, Response, Status};

use crate::{
    personal_access_tokens::Tokens,
    store::{
        lock_account,
        personal_access_tokens::{self as store, PersonalAccessToken},
    },
};

const DAY: Duration = Duration::from_hours(24);
const MIN_TTL: Duration = Duration::from_mins(1);
const DEFAULT_TTL: Duration = DAY.saturating_mul(90);
/// A year, also a leap year.
const MAX_TTL: Duration = DAY.saturating_mul(366);

/// The service.
#[derive(Debug, Clone)]
pub struct PersonalAccessTokenApi {
    core: Core,
    tokens: Arc<Tokens>,
}

impl PersonalAccessTokenApi {
    /// On the control database, with the key of tokens.
    pub fn new(core: Core, tokens: Arc<Tokens>) -> Self {
        Self { core, tokens }
    }
}

#[tonic::async_trait]
impl PersonalAccessTokenService for PersonalAccessTokenApi {
    async fn create_personal_access_token(
        &self,
        request: Request<CreatePersonalAccessTokenRequest>,
    ) -> Result<Response<CreatePersonalAccessTokenResponse>, Status> {
        let call = Call::from_request(&request)?;
        let principal = call.principal()?;
        let body = request.into_inner();
        let scopes = scopes(&body.scopes)?;
        let ttl = duration("ttl", body.ttl, DEFAULT_TTL, MAX_TTL)?;
        if ttl < MIN_TTL {
            return Err(Error::field("ttl", "must be at least a minute").into());
        }
        let now = Utc::now();
        let token = PersonalAccessToken {
            id: PersonalAccessTokenId::generate(),
            name: display_text("name", &body.name)?,
            scopes,
            created_at: now,
            expires_at: now + ttl,
            last_used_at: None,
        };
        let secret = self.tokens.generate()?;
        let mut mutation = self.core.mutation(&call);
        lock_account(&mut mutation, principal).await?;
        store::insert(&mut mutation, principal.user, &token, &secret.hash()).await?;
        mutation.commit(&target(&token), []).await?;
        Ok(Response::new(CreatePersonalAccessTokenResponse {
            token: secret.reveal(),
            personal_access_token: Some(token.into()),
        }))
    }

    async fn list_personal_access_tokens(
        &self,
        request: Request<ListPersonalAccessTokensRequest>,
    ) -> Result<Response<ListPersonalAccessTokensResponse>, Status> {
        let call = Call::from_request(&request)?;
        let found = store::list(&self.core.db, call.principal()?.user).await?;
        let personal_access_tokens = found.into_iter().map(Into::into).collect();
        Ok(Response::new(ListPersonalAccessTokensResponse { personal_access_tokens }))
    }

    async fn revoke_personal_access_token(
        &self,
        request: Request<RevokePersonalAccessTokenRequest>,
    ) -> Result<Response<RevokePersonalAccessTokenResponse>, Status> {
        let call = Call::from_request(&request)?;
        let name = request.into_inner().personal_access_token_id;
        let wrong = |error: InvalidId| Error::field("personal_access_token_id", error.to_string());
        let token = name.parse().map_err(wrong)?;
        call.names(&name);
        let mut mutation = self.core.mutation(&call);
        if !store::delete(&mut mutation, call.principal()?.user, token).await? {
            return Err(Error::NotFound { kind: "personal access token", name }.into());
        }
        mutation.commit(&name, []).await?;
        Ok(Response::new(RevokePersonalAccessTokenResponse {}))
    }
}

/// The new token in the audit log, with what it may do: its row goes when it is revoked.
fn target(token: &PersonalAccessToken) -> String {
    let scopes: Vec<&str> = token.scopes.iter().map(TokenScope::as_sql).collect();
    let until = token.expires_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{} {} until {until}", token.id, scopes.join(","))
}

fn scopes(wire: &[i32]) -> Result<TokenScopes> {
    if wire.is_empty() {
        return Err(Error::field("scopes", "must name at least one scope"));
    }
    wire.iter().map(|number| scope(WireScope::try_from(*number).unwrap_or_default())).collect()
}

fn scope(wire: WireScope) -> Result<TokenScope> {
    match wire {
        WireScope::Unspecified => {
            Err(Error::field("scopes", "must be READ, PROJECTS, SECRETS, ORGANIZATIONS or PLATFORM"))
        }
        WireScope::Read => Ok(TokenScope::Read),
        WireScope::Projects => Ok(TokenScope::Projects),
        WireScope::Secrets => Ok(TokenScope::Secrets),
        WireScope::Organizations => Ok(TokenScope::Organizations),
        WireScope::Platform => Ok(TokenScope::Platform),
    }
}

fn wire_scope(scope: TokenScope) -> WireScope {
    match scope {
        TokenScope::Read => WireScope::Read,
        TokenScope::Projects => WireScope::Projects,
        TokenScope::Secrets => WireScope::Secrets,
        TokenScope::Organizations => WireScope::Organizations,
        TokenScope::Platform => WireScope::Platform,
    }
}

impl From<PersonalAccessToken> for pb::PersonalAccessToken {
    fn from(token: PersonalAccessToken) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name,
            scopes: token.scopes.iter().map(|scope| wire_scope(scope).into()).collect(),
            create_time: Some(timestamp(token.created_at)),
            expire_time: Some(timestamp(token.expires_at)),
            last_use_time: token.last_used_at.map(timestamp),
        }
    }
}
