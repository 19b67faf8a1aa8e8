//! Opens the room: loads the signing key, ensures the setup token, and returns what the server mounts.

use std::{path::Path, sync::Arc};

use futures::future::BoxFuture;
use supalove_core::{
    Core, Room,
    access::{Authenticator, Principal},
    error::Result,
    jobs::{Job, Rhythm::Every},
    platform, retention,
};
use supalove_proto::v1::auth_service_server::AuthServiceServer;

use crate::{AuthApi, Families, TokenSigner, ensure_setup_token, rules::RULES, session_ended, store};

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
            .job(Job::leased("identity.prune", Every(self.core.times.prune), move |_| prune(core.clone())))
    }
}

impl Authenticator for Identity {
    fn authenticate<'a>(&'a self, bearer: &'a str) -> BoxFuture<'a, Result<Principal>> {
        Box::pin(async move {
            let session = self.signer.verify(bearer)?;
            store::principal(&self.core.db, session).await?.ok_or_else(session_ended)
        })
    }

    fn confirm<'a>(&'a self, principal: &'a Principal) -> BoxFuture<'a, Result<Principal>> {
        Box::pin(async move {
            store::principal(&self.core.db, principal.session).await?.ok_or_else(session_ended)
        })
    }
}

async fn prune(core: Core) -> Result<()> {
    retention::in_batches(|| {
        let mut write = core.system_write("identity.prune");
        async move {
            let done = store::prune(&mut write).await?;
            write.commit([]).await?;
            Ok(done)
        }
    })
    .await
}
