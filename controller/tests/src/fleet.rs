//! A controller with one joined host: what most tests on a real project begin with.

use super::{Agent, Api, Controller, Options, Server};

/// Both programs, and the operator's client.
pub struct Fleet {
    /// The operator.
    pub api: Api,
    /// Dropped before the controller; takes the containers along.
    pub agent: Agent,
    /// The control plane.
    pub controller: Controller,
}

/// What a user of one project holds.
pub struct Tenant {
    /// The project's ref.
    pub project_ref: String,
    /// The gateway.
    pub gateway: Server,
    /// For clients.
    pub anon_key: String,
    /// For servers.
    pub service_role_key: String,
    /// The database, as the role postgres.
    pub db_url: String,
}

impl Fleet {
    /// Starts them and waits until the host is READY.
    pub async fn start(options: Options) -> Self {
        let controller = Controller::start_with(options).await;
        let api = controller.operator().await;
        let agent = Agent::start(&controller, &api.join_token().await);
        api.wait_ready_nodes(1).await;
        Self { api, agent, controller }
    }

    /// A healthy project of this release.
    pub async fn project(&self, name: &str, release: &str) -> Tenant {
        let project_ref = self.api.create_healthy(name, release).await.r#ref;
        let keys = self.api.keys(&project_ref).await;
        let secrets = self.api.secrets(&project_ref).await;
        let connection = self.api.connection(&project_ref).await;
        Tenant {
            project_ref,
            gateway: Server::new(&connection.api_url),
            anon_key: keys.anon_key,
            service_role_key: secrets.service_role_key,
            db_url: secrets.db_url,
        }
    }
}
