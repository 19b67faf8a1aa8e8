//! The two listeners and what is mounted on them.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{Router, routing::get};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use sqlx::PgPool;
use supalove_proto::v1::{
    auth_service_server::AuthServiceServer, authority_service_server::AuthorityServiceServer,
    cluster_service_server::ClusterServiceServer, operation_service_server::OperationServiceServer,
    organization_service_server::OrganizationServiceServer, project_service_server::ProjectServiceServer,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    access::{Access, METHODS},
    call_layer::{CallLayer, Gate},
    clusters::{Candidates, ClusterApi, enrolment::EnrolmentApi},
    config::Config,
    fleet::{Fleet, FleetParts, NodePort},
    identity::{AuthApi, TokenSigner, ensure_setup_token},
    ids::ControllerId,
    organizations::OrganizationApi,
    pki::{AuthorityApi, Pki},
    platform,
    projects::{Changes, OperationApi, Parts, ProjectApi, Projects},
    stack::Releases,
    times::Times,
    vault::Vault,
    welcome,
};

/// For the database to answer a health check.
const HEALTH_ANSWER: std::time::Duration = std::time::Duration::from_secs(2);
/// How long open calls may go on after a stop.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// A running controller, for `main` and for tests.
pub struct Controller {
    /// Where the public API listens.
    pub public: SocketAddr,
    /// Where agents dial.
    pub node: SocketAddr,
    /// Its live agents.
    pub fleet: Fleet,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Controller {
    /// Starts everything. Returns once both listeners accept.
    pub async fn start(config: &Config, times: Times) -> anyhow::Result<Self> {
        let vault = Vault::from_file(&config.master_key_file)?;
        let db = platform::connect(&config.database_url()?)
            .await
            .context("cannot connect to the control database")?;
        let platform = platform::prepare(&db, &vault, config.fleet_id.as_deref())
            .await
            .context("cannot prepare the control database")?;
        let releases = releases(config)?;
        ensure_setup_token(&db, config.setup_token_file.as_deref()).await?;

        let public =
            TcpListener::bind(config.public_listen).await.context("cannot listen on the public address")?;
        let node =
            TcpListener::bind(config.node_listen).await.context("cannot listen on the node address")?;
        let (public_address, node_address) = (public.local_addr()?, node.local_addr()?);
        let node_name = config.node_address.clone().unwrap_or_else(|| node_address.to_string());

        let (times, controller) = (Arc::new(times), ControllerId::generate());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        register(&db, controller, &node_name).await?;
        let projects = Projects::new(Parts {
            db: db.clone(),
            controller,
            times: times.clone(),
            vault: vault.clone(),
            releases: Arc::new(releases),
            default_release: config.default_release.clone(),
            candidates: Candidates::new(db.clone(), times.clone()),
            changes: Changes::default(),
            access: Access::new(db.clone()),
            stop: stop.child_token(),
        });
        let handler = Box::new(projects.clone());
        let fleet_id = platform.fleet_id;
        let pki = Pki::load(db.clone(), vault.clone(), controller, times.clone()).await?;
        let fleet = Fleet::new(FleetParts {
            db: db.clone(),
            controller,
            fleet_id: fleet_id.clone(),
            times: times.clone(),
            pki: pki.clone(),
            handler,
            stop: stop.child_token(),
        });

        let parts = Mounted {
            db: db.clone(),
            times: times.clone(),
            signer: Arc::new(platform.signer),
            projects: projects.clone(),
            authorities: AuthorityApi::new(db.clone(), vault, times.clone(), pki.clone(), fleet_id.clone()),
            fleet: fleet.clone(),
            pki: pki.clone(),
            node_name,
        };
        let router = router(config, parts, &tasks, stop.child_token()).await?;
        tasks.spawn(serve_public(public, router, stop.child_token()));
        let enrolment =
            EnrolmentApi::new(db, pki.clone(), Arc::new(platform.nonces), times.clone(), fleet_id);
        let port = NodePort { pki: pki.clone(), fleet: fleet.clone(), enrolment, times };
        tasks.spawn(port.serve(node, stop.child_token()));
        tasks.spawn({
            let stop = stop.child_token();
            async move { pki.follow(stop).await }
        });
        tasks.spawn({
            let fleet = fleet.clone();
            async move { fleet.judge_sessions().await }
        });
        tasks.spawn({
            let fleet = fleet.clone();
            async move { fleet.flush_seen().await }
        });
        tasks.spawn({
            let (p, stop) = (projects.clone(), stop.child_token());
            async move { p.place_pending(stop).await }
        });
        tasks.spawn({
            let (p, stop) = (projects, stop.child_token());
            async move { p.tidy(stop).await }
        });
        tasks.close();
        tracing::info!(public = %public_address, node = %node_address, "the controller is up");
        Ok(Self { public: public_address, node: node_address, fleet, tasks, stop })
    }

    /// Stops accepting, lets open calls end for a while, ends sessions. Agents keep everything running.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!("some calls did not end in time");
        }
    }
}

fn releases(config: &Config) -> anyhow::Result<Releases> {
    let mut releases = Releases::embedded()?;
    if let Some(dir) = &config.releases_dir {
        releases = releases.with_dir(dir)?;
    }
    anyhow::ensure!(
        releases.get(&config.default_release).is_some(),
        "default release {:?} is not known; known are {}",
        config.default_release,
        releases.names().collect::<Vec<_>>().join(", ")
    );
    Ok(releases)
}

async fn register(db: &PgPool, controller: ControllerId, address: &str) -> anyhow::Result<()> {
    sqlx::query!(
        "INSERT INTO controllers (id, address, version) VALUES ($1, $2, $3)",
        controller.0,
        address,
        env!("CARGO_PKG_VERSION"),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What the public services need.
struct Mounted {
    db: PgPool,
    times: Arc<Times>,
    signer: Arc<TokenSigner>,
    projects: Projects,
    authorities: AuthorityApi,
    fleet: Fleet,
    pki: Pki,
    node_name: String,
}

async fn router(
    config: &Config,
    parts: Mounted,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<Router> {
    let Mounted { db, times, signer, projects, authorities, fleet, pki, node_name } = parts;
    let health_db = db.clone();
    let (health, health_service) = tonic_health::server::health_reporter();
    watch_health(health, db.clone(), &times, tasks, stop).await;
    let auth = AuthApi::new(db.clone(), signer.clone(), times.clone());
    let cluster = ClusterApi::new(db.clone(), times.clone(), pki, fleet, node_name);
    let mut routes = Routes::builder();
    routes
        .add_service(AuthServiceServer::new(auth))
        .add_service(OrganizationServiceServer::new(OrganizationApi::new(db.clone())))
        .add_service(ProjectServiceServer::new(ProjectApi(projects.clone())))
        .add_service(OperationServiceServer::new(OperationApi(projects)))
        .add_service(ClusterServiceServer::new(cluster))
        .add_service(AuthorityServiceServer::new(authorities))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let gate = Gate { db, signer, times, trusted_proxies: config.trusted_proxies.clone() };
    let grpc = routes
        .routes()
        .prepare()
        .into_axum_router()
        .layer(CallLayer(Arc::new(gate)))
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(axum::middleware::from_fn(welcome::only_grpc));
    Ok(Router::new()
        .route("/", get(welcome::welcome))
        .route("/healthz", get(async move || healthz(&health_db).await))
        .fallback_service(grpc)
        .layer(cors(&config.cors_origins)?))
}

/// Reflection of what this port serves, and of the error details, so that grpcurl can print them.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    let services: BTreeSet<&str> = METHODS.iter().filter_map(|rule| rule.method.split('/').nth(1)).collect();
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(supalove_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    services.into_iter().fold(builder, tonic_reflection::server::Builder::with_service_name)
}

/// Serving means that the control database answers.
async fn serving(db: &PgPool) -> bool {
    let asked = sqlx::query_scalar!("SELECT true AS \"answers!\"").fetch_one(db);
    matches!(tokio::time::timeout(HEALTH_ANSWER, asked).await, Ok(Ok(true)))
}

async fn healthz(db: &PgPool) -> (StatusCode, &'static str) {
    if serving(db).await {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the control database does not answer\n")
    }
}

/// Keeps `grpc.health.v1` true, until the end, which it announces.
async fn watch_health(
    health: tonic_health::server::HealthReporter,
    db: PgPool,
    times: &Times,
    tasks: &TaskTracker,
    stop: CancellationToken,
) {
    health.set_service_status("", ServingStatus::Serving).await;
    let mut tick = tokio::time::interval(times.seen_flush);
    tasks.spawn(async move {
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let status = if serving(&db).await { ServingStatus::Serving } else { ServingStatus::NotServing };
            health.set_service_status("", status).await;
        }
        health.set_service_status("", ServingStatus::NotServing).await;
    });
}

/// Browsers of an explicit list of origins. The refresh cookie needs credentials, so there is no wildcard.
fn cors(origins: &[String]) -> anyhow::Result<CorsLayer> {
    let origins: Vec<HeaderValue> =
        origins.iter().map(|o| o.parse()).collect::<Result<_, _>>().context("--cors-origin")?;
    let header = HeaderName::from_static;
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::POST, Method::OPTIONS])
        .allow_headers([
            header("authorization"),
            header("content-type"),
            header("x-grpc-web"),
            header("x-user-agent"),
            header("grpc-timeout"),
            header("traceparent"),
        ])
        .expose_headers([
            header("grpc-status"),
            header("grpc-message"),
            header("grpc-status-details-bin"),
            header("x-trace-id"),
            header("supalove-version"),
        ])
        .max_age(std::time::Duration::from_hours(1)))
}

async fn serve_public(listener: TcpListener, router: Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the public listener ended");
    }
}
