//! A fake API in this process, and a way to run the CLI against it.

mod fake;
mod services;

use std::{path::PathBuf, process::Stdio, sync::Arc};

use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

pub use fake::Fake;
pub use services::project;
use supalove_proto::v1::{
    audit_service_server::AuditServiceServer, auth_service_server::AuthServiceServer,
    authority_service_server::AuthorityServiceServer, cluster_service_server::ClusterServiceServer,
    image_service_server::ImageServiceServer, invitation_service_server::InvitationServiceServer,
    leftover_service_server::LeftoverServiceServer, operation_service_server::OperationServiceServer,
    organization_service_server::OrganizationServiceServer,
    personal_access_token_service_server::PersonalAccessTokenServiceServer,
    plan_service_server::PlanServiceServer, platform_service_server::PlatformServiceServer,
    project_service_server::ProjectServiceServer, registry_service_server::RegistryServiceServer,
    usage_service_server::UsageServiceServer, watch_service_server::WatchServiceServer,
};

/// The fake API and a home directory for the CLI.
pub struct World {
    pub fake: Arc<Fake>,
    pub address: String,
    home: TempDir,
}

/// What a run of the CLI left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub async fn new() -> Self {
        let fake = Arc::new(Fake::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder()
            .add_service(AuthServiceServer::from_arc(fake.clone()))
            .add_service(OrganizationServiceServer::from_arc(fake.clone()))
            .add_service(AuditServiceServer::from_arc(fake.clone()))
            .add_service(ProjectServiceServer::from_arc(fake.clone()))
            .add_service(WatchServiceServer::from_arc(fake.clone()))
            .add_service(OperationServiceServer::from_arc(fake.clone()))
            .add_service(ClusterServiceServer::from_arc(fake.clone()))
            .add_service(ImageServiceServer::from_arc(fake.clone()))
            .add_service(LeftoverServiceServer::from_arc(fake.clone()))
            .add_service(InvitationServiceServer::from_arc(fake.clone()))
            .add_service(AuthorityServiceServer::from_arc(fake.clone()))
            .add_service(PersonalAccessTokenServiceServer::from_arc(fake.clone()))
            .add_service(PlanServiceServer::from_arc(fake.clone()))
            .add_service(PlatformServiceServer::from_arc(fake.clone()))
            .add_service(RegistryServiceServer::from_arc(fake.clone()))
            .add_service(UsageServiceServer::from_arc(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        Self { fake, address, home: TempDir::new().unwrap() }
    }

    /// A world with a stored session.
    pub async fn signed_in() -> Self {
        let world = Self::new().await;
        let ran = world
            .command(&["login", "--email", "ada@example.com"])
            .env("SUPALOVE_PASSWORD", fake::PASSWORD)
            .output();
        let ran = Ran::from(ran.await.unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        world
    }

    pub fn credentials(&self) -> PathBuf {
        self.home.path().join("supalove/credentials.json")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supalove"));
        command
            .args(arguments)
            .env_clear()
            .env("SUPALOVE_API", &self.address)
            .env("XDG_CONFIG_HOME", self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().await.unwrap().into()
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub async fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let ran = self.run(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
