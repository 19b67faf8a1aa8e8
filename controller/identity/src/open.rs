//! Opens the room: loads the signing key, ensures the setup token, and returns what the server mounts.

use std::{path::Path, sync::Arc};

use futures::future::BoxFuture;
use supalove_core::{
    Core, Room,
    access::{Authenticator, Credential, Principal},
    error::{Error, Result},
    ids::PersonalAccessTokenId,
    jobs::{Job, Rhythm::Every},
    platform, retention,
};
use supalove_proto::v1::{
    ErrorReason, auth_service_server::AuthServiceServer,
    personal_access_token_service_server::PersonalAccessTokenServiceServer,
};

use crate::{
    AuthApi, Families, PersonalAccessTokenApi, TokenSigner, ensure_setup_token,
    personal_access_tokens::Secret, rules::RULES, session_ended, store,
};

/// The room. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity {
    core: Core,
    signer: Arc<TokenSigner>,
    families: Arc<Families>,
}

/// Opens the room. While there is no user, it writes a one-time setup token to `setup_token_file`, or to standard
/// error.
pub async fn open(core: &Core, setup_token_file: Option<&Path>) -> Result<Identity> {
    ensure_setup_token(&core.db, setup_token_file).await?;
    let key = platform::secret(&core.db, &core.vault, "token-signing-key", TokenSigner::generate_key).await?;
    let refresh =
        platform::secret(&core.db, &core.vault, "refresh-token-key", Families::generate_key).await?;
    Ok(Identity {
        core: core.clone(),
        signer: Arc::new(TokenSigner::from_pkcs8(&key)?),
        families: Arc::new(Families::new(&refresh)),
    })
}

impl Identity {
    /// What the server mounts.
    pub fn room(&self) -> Room {
        let core = self.core.clone();
        Room::new("identity", RULES)
            .service(AuthServiceServer::new(AuthApi::new(
                self.core.clone(),
                self.signer.clone(),
                self.families.clone(),
            )))
            .service(PersonalAccessTokenServiceServer::new(PersonalAccessTokenApi::new(self.core.clone())))
            .job(Job::leased("identity.prune", Every(self.core.times.prune), move |_| prune(core.clone())))
    }
}

impl Identity {
    /// The principal of a personal access token. Notes once a minute that the token is used.
    async fn of_token(&self, secret: &Secret) -> Result<Principal> {
        let found = store::personal_access_tokens::find(&self.core.db, &secret.hash()).await?;
        let found = found.ok_or_else(token_refused)?;
        if found.expired {
            return Err(Error::Unauthenticated {
                reason: ErrorReason::AccessTokenExpired,
                message: "the personal access token has expired; create another one".to_owned(),
            });
        }
        if let (true, Credential::Token(token, _)) = (found.unnoted, found.principal.credential)
            && let Err(error) = self.note_use(token).await
        {
            // A database that cannot write still serves calls that read.
            tracing::warn!(%token, %error, "cannot note the use of a personal access token");
        }
        Ok(found.principal)
    }

    async fn note_use(&self, token: PersonalAccessTokenId) -> Result<()> {
        let mut write = self.core.system_write("identity.note_use");
        store::personal_access_tokens::note_use(&mut write, token).await?;
        write.commit([]).await
    }
}

/// The error for a personal access token that does not exist, or was revoked.
fn token_refused() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::AccessTokenInvalid,
        message: "the personal access token is wrong or was revoked; create another one".to_owned(),
    }
}

impl Authenticator for Identity {
    fn authenticate<'a>(&'a self, bearer: &'a str) -> BoxFuture<'a, Result<Principal>> {
        Box::pin(async move {
            if let Some(secret) = Secret::from_bearer(bearer) {
                return self.of_token(&secret).await;
            }
            let session = self.signer.verify(bearer)?;
            store::principal(&self.core.db, session).await?.ok_or_else(session_ended)
        })
    }

    fn confirm<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, Result<Principal>> {
        Box::pin(async move {
            match principal.credential {
                Credential::Session(session) => {
                    store::principal(&self.core.db, session).await?.ok_or_else(session_ended)
                }
                Credential::Token(token, scopes) => {
                    let found =
                        store::personal_access_tokens::principal(&self.core.db, token, scopes).await?;
                    found.ok_or_else(token_refused)
                }
            }
        })
    }
}

async fn prune(core: Core) -> Result<()> {
    retention::in_batches(|| {
        let mut write = core.system_write("identity.prune");
        async move {
            let sessions = store::prune(&mut write).await?;
            let tokens = store::personal_access_tokens::prune(&mut write).await?;
            write.commit([]).await?;
            Ok(sessions && tokens)
        }
    })
    .await
}
