//! Opens the room: loads the signing key, ensures the setup token, and returns what the server mounts.

use std::sync::Arc;

use futures::future::BoxFuture;
use supalove_core::{
    Core, Room,
    access::{Authenticator, Credential, Principal},
    accounts::Accounts,
    error::{Error, Result},
    hints::Hint,
    jobs::{
        Job,
        Rhythm::{Every, Woken},
    },
    platform, retention,
};
use supalove_proto::v1::{
    ErrorReason, auth_service_server::AuthServiceServer,
    personal_access_token_service_server::PersonalAccessTokenServiceServer,
};

use crate::{
    AuthApi, Families, PersonalAccessTokenApi, ShowToken, SignUpPolicy, SigningKeys, ensure_setup_token,
    personal_access_tokens::{Secret, Tokens, Uses},
    rules::RULES,
    session_ended, signing_keys, store,
};

/// The room. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    core: Core,
    keys: Arc<SigningKeys>,
    families: Arc<Families>,
    tokens: Arc<Tokens>,
    uses: Arc<Uses>,
    policy: SignUpPolicy,
    accounts: Arc<dyn Accounts>,
}

/// Opens the room. While there is no user, it shows a one-time setup token. `accounts` hears of accounts that are made and deleted.
pub async fn open(
    core: &Core,
    setup_token: ShowToken<'_>,
    policy: SignUpPolicy,
    accounts: Arc<dyn Accounts>,
) -> Result<Identity> {
    ensure_setup_token(&core.db, setup_token).await?;
    let refresh =
        platform::secret(&core.db, &core.vault, "refresh-token-key", Families::generate_key).await?;
    let tokens =
        platform::secret(&core.db, &core.vault, "personal-access-token-key", Tokens::generate_key).await?;
    Ok(Identity {
        core: core.clone(),
        keys: Arc::new(SigningKeys::open(core).await?),
        families: Arc::new(Families::new(&refresh)),
        tokens: Arc::new(Tokens::new(&tokens)),
        uses: Arc::default(),
        policy,
        accounts,
    })
}

impl Identity {
    /// What the server mounts.
    pub fn room(&self) -> Room {
        let core = self.core.clone();
        let rotating = self.core.clone();
        let loading = (self.keys.clone(), self.core.clone());
        let mut room = Room::new("identity", RULES)
            .service(AuthServiceServer::new(AuthApi::new(
                self.core.clone(),
                self.keys.clone(),
                self.families.clone(),
                self.policy,
                self.accounts.clone(),
            )))
            .service(PersonalAccessTokenServiceServer::new(PersonalAccessTokenApi::new(
                self.core.clone(),
                self.tokens.clone(),
            )))
            .job(Job::on_each("identity.note_uses", Every(self.core.times.token_uses), {
                let identity = self.clone();
                move |_| identity.clone().note_uses()
            }))
            .job(Job::on_each(
                "identity.load_signing_keys",
                Woken(Hint::SigningKeys, self.core.times.hinted_poll),
                move |_| {
                    let (keys, core) = loading.clone();
                    async move { keys.load(&core).await }
                },
            ))
            .job(Job::leased("identity.rotate_signing_key", Every(self.core.times.prune), move |run| {
                signing_keys::rotate(rotating.clone(), run)
            }))
            .job(Job::leased("identity.prune", Every(self.core.times.prune), move |_| prune(core.clone())));
        room.http = self.keys.routes();
        room
    }
}

impl Identity {
    /// The principal of a personal access token.
    async fn of_token(&self, secret: &Secret) -> Result<Principal> {
        let found = store::personal_access_tokens::find(&self.core.db, &secret.hash()).await?;
        let found = found.ok_or_else(token_refused)?;
        if found.expired {
            return Err(token_expired());
        }
        if let Credential::Token(token, _) = found.principal.credential {
            self.uses.note(token);
        }
        Ok(found.principal)
    }

    /// Writes down when tokens were used.
    async fn note_uses(self) -> Result<()> {
        let uses = self.uses.take();
        if uses.is_empty() {
            return Ok(());
        }
        let mut write = self.core.system_write("identity.note_uses");
        let noted = store::personal_access_tokens::note_uses(&mut write, &uses).await;
        let noted = match noted {
            Ok(()) => write.commit([]).await,
            failed => failed,
        };
        if noted.is_err() {
            self.uses.give_back(uses);
        }
        noted
    }
}

fn token_expired() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::AccessTokenExpired,
        message: "the personal access token has expired; create another one".to_owned(),
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
            if let Some(secret) = self.tokens.read(bearer) {
                return self.of_token(&secret).await;
            }
            let session = self.keys.verify(bearer)?;
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
                    self.uses.note(token);
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
            let links = store::links::prune(&mut write).await?;
            write.commit([]).await?;
            Ok(sessions && tokens && links)
        }
    })
    .await
}
