//! The client: one channel, one session, a generated client per service.

use std::time::Duration;

use supalove_proto::v1::{
    CreateProjectRequest, CreateProjectResponse, SignInRequest, SignOutRequest, User, WatchSubscription,
    audit_service_client::AuditServiceClient, auth_service_client::AuthServiceClient,
    authority_service_client::AuthorityServiceClient, cluster_service_client::ClusterServiceClient,
    image_service_client::ImageServiceClient, invitation_service_client::InvitationServiceClient,
    leftover_service_client::LeftoverServiceClient, operation_service_client::OperationServiceClient,
    organization_service_client::OrganizationServiceClient,
    personal_access_token_service_client::PersonalAccessTokenServiceClient,
    plan_service_client::PlanServiceClient, platform_service_client::PlatformServiceClient,
    project_service_client::ProjectServiceClient, registry_service_client::RegistryServiceClient,
    usage_service_client::UsageServiceClient, watch_service_client::WatchServiceClient,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    error::Error,
    session::{Session, Tokens},
    watch::{Watch, WatchMany},
};

/// Timeout of the connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Interval of HTTP/2 pings, which detect a dead connection under a silent stream.
const PING_PERIOD: Duration = Duration::from_secs(20);
/// Backoff before the first, second … retry of a create whose response did not arrive.
const BACK_OFF: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(600), Duration::from_millis(1_500)];
/// Maximum delay of a server's RetryInfo before a retry.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Client of Supalove's API for one user. Clones share the connection and the session.
#[derive(Debug, Clone)]
pub struct Client {
    session: Session,
}

impl Client {
    /// Creates a client for `http://host:port`, which connects at the first call.
    pub fn connect(address: &str) -> Result<Self, Error> {
        let bad = |why| Error::Address { address: address.to_owned(), why };
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|_| bad("expected an address such as http://127.0.0.1:8000"))?;
        if endpoint.uri().scheme_str() != Some("http") {
            return Err(bad("only http:// is spoken here; bring a channel with TLS by Client::with_channel"));
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING_PERIOD)
            .keep_alive_timeout(PING_PERIOD)
            .keep_alive_while_idle(true);
        Ok(Self::with_channel(endpoint.connect_lazy()))
    }

    /// Creates a client on a channel of the caller, e.g. one with TLS.
    pub fn with_channel(channel: Channel) -> Self {
        Self { session: Session::new(channel) }
    }

    /// Continues a session.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        self.session.keep(tokens);
        self
    }

    /// Returns the current tokens, to store them for a later client.
    pub fn tokens(&self) -> Tokens {
        self.session.tokens()
    }

    /// Signs in and starts a session; later calls use it.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<User, Error> {
        let request =
            SignInRequest { email: email.to_owned(), password: password.to_owned(), ..Default::default() };
        // Without the present session, so that a wrong password does not exchange its tokens.
        let answer = AuthServiceClient::new(self.session.bare()).sign_in(request).await?.into_inner();
        self.session.keep(answer.tokens.unwrap_or_default().into());
        Ok(answer.user.unwrap_or_default())
    }

    /// Ends the session.
    pub async fn sign_out(&self) -> Result<(), Error> {
        self.auth().sign_out(SignOutRequest {}).await?;
        self.session.keep(Tokens::default());
        Ok(())
    }

    /// `supalove.v1.AuditService`.
    pub fn audit(&self) -> AuditServiceClient<Session> {
        AuditServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.AuthService`.
    pub fn auth(&self) -> AuthServiceClient<Session> {
        AuthServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.AuthorityService`.
    pub fn authorities(&self) -> AuthorityServiceClient<Session> {
        AuthorityServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.ClusterService`.
    pub fn clusters(&self) -> ClusterServiceClient<Session> {
        ClusterServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.ImageService`.
    pub fn images(&self) -> ImageServiceClient<Session> {
        ImageServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.InvitationService`.
    pub fn invitations(&self) -> InvitationServiceClient<Session> {
        InvitationServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.LeftoverService`.
    pub fn leftovers(&self) -> LeftoverServiceClient<Session> {
        LeftoverServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.OperationService`.
    pub fn operations(&self) -> OperationServiceClient<Session> {
        OperationServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.OrganizationService`.
    pub fn organizations(&self) -> OrganizationServiceClient<Session> {
        OrganizationServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.PersonalAccessTokenService`.
    pub fn personal_access_tokens(&self) -> PersonalAccessTokenServiceClient<Session> {
        PersonalAccessTokenServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.PlanService`.
    ///
    /// ```no_run
    /// # use supalove_sdk::{Client, v1::GetEntitlementsRequest};
    /// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = GetEntitlementsRequest { organization: "acme".into() };
    /// let answer = client.plans().get_entitlements(request).await?.into_inner();
    /// for one in answer.entitlements.unwrap_or_default().entitlements {
    ///     println!("{:?}: {:?} in use", one.entitlement(), one.used);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn plans(&self) -> PlanServiceClient<Session> {
        PlanServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.PlatformService`.
    pub fn platform(&self) -> PlatformServiceClient<Session> {
        PlatformServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.ProjectService`.
    pub fn projects(&self) -> ProjectServiceClient<Session> {
        ProjectServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.RegistryService`.
    pub fn registries(&self) -> RegistryServiceClient<Session> {
        RegistryServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.UsageService`.
    pub fn usage(&self) -> UsageServiceClient<Session> {
        UsageServiceClient::new(self.session.clone())
    }

    /// `supalove.v1.WatchService`.
    pub fn watches(&self) -> WatchServiceClient<Session> {
        WatchServiceClient::new(self.session.clone())
    }

    /// Creates a project exactly once: sets a `request_id` if there is none, and retries if the response is lost.
    /// With a key of your own you can continue the same create after a failure, or in another process.
    pub async fn create_project(
        &self,
        mut request: CreateProjectRequest,
    ) -> Result<CreateProjectResponse, Error> {
        if request.request_id.is_empty() {
            request.request_id = uuid::Uuid::new_v4().to_string();
        }
        let mut pauses = BACK_OFF.into_iter();
        loop {
            let status = match self.projects().create_project(request.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let Some(pause) = pauses.next().filter(|_| is_repeatable(&status)) else {
                return Err(status.into());
            };
            let asked = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
            tokio::time::sleep(asked.unwrap_or_default().min(MAX_RETRY_DELAY).max(pause)).await;
        }
    }

    /// Watches a project: its state, then each event after `after_seq` once (`Some(0)` = all, `None` = only new
    /// ones), across broken connections and restarts, until the project is removed.
    pub fn watch_project(&self, project_ref: &str, after_seq: Option<u64>) -> Watch {
        Watch::new(self.clone(), project_ref, after_seq)
    }

    /// Projects, organizations and nodes in one call: each as it is, then its changes, and each event once, over broken
    /// connections and restarts, until all subscriptions have ended.
    pub fn watch(&self, subscriptions: Vec<WatchSubscription>) -> WatchMany {
        WatchMany::new(self.clone(), subscriptions)
    }
}

/// True if the create may have succeeded, or may succeed on a retry. A connection that breaks during a call gives
/// `Unknown`, or `Cancelled` if the call had not been sent.
fn is_repeatable(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Aborted | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled
    )
}
