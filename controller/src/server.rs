//! Opens the rooms, serves the two listeners, and stops them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use supalove_core::{
    Core,
    database::{Owner, Pools},
    housekeeping,
    times::Times,
    vault::keys,
    watch,
};
use supalove_fleet::Fleet;
use supalove_identity::ShowToken;
use supalove_stack::Releases;
use supalove_tasks::JobPanicked;
use tokio::net::TcpListener;

use crate::{
    audit_events,
    config::Config,
    descriptors,
    health::Health,
    metrics, platform,
    public::{self, PublicPort},
    reflection, sealed_columns,
};

/// How long open calls may go on after a stop.
const GRACE: Duration = Duration::from_secs(10);

/// A running controller.
pub struct Controller {
    /// Where the public API listens.
    pub public: SocketAddr,
    /// Where agents dial.
    pub node: SocketAddr,
    /// The live agents.
    pub fleet: Fleet,
    core: Core,
    health: Health,
}

impl Controller {
    /// Opens the rooms in order and serves them. Returns once both listeners accept.
    pub async fn start(config: &Config, times: Times) -> anyhow::Result<Self> {
        let (node_port, node_at) = listen(config.node_listen).await.context("node port")?;
        let core = open_core(config, times, node_at).await?;
        let (health, health_room) = Health::open(&core).await;
        let dashboard = dashboard_address(&core, config);
        let identity = supalove_identity::open(
            &core,
            ShowToken { file: config.setup_token_file.as_deref(), dashboard: dashboard.as_deref() },
            config.sign_up.into(),
            Arc::new(supalove_organizations::Newcomers),
        )
        .await?;
        let fleet = supalove_fleet::open(&core, config.downloads()).await?;
        let releases = releases(config)?;
        let images = supalove_images::open(&core, &config.images_dir, &releases).await?;
        let projects = supalove_projects::open(&core, releases, &config.default_release);
        let mut handlers = vec![projects.session_handler(), images.session_handler(&fleet)];
        handlers.extend(supalove_usage::session_handlers(&core));
        fleet.handle_sessions(handlers);
        let mut rooms = vec![
            housekeeping::room(&core),
            identity.room(),
            supalove_plans::room(&core),
            supalove_organizations::room(&core),
            fleet.room(),
            projects.room(&fleet),
            images.room(),
            supalove_usage::room(&core),
            audit_events::room(&core),
            health_room,
        ];
        let watch = watch::room(&core, &mut rooms);
        rooms.push(watch);
        let platform = platform::room(&core, &mut rooms);
        rooms.push(platform);
        rooms.push(reflection::room(&rooms)?);

        if let Some(address) = config.metrics_listen {
            let (listener, at) = listen(address).await.context("metrics port")?;
            let shown = core.for_work();
            let page = move || metrics::page(shown.clone());
            core.tasks.job("metrics port", supalove_net::metrics::serve(core.tasks.clone(), listener, page));
            tracing::info!(metrics = %at, "metrics are shown");
        }
        // Last: whoever can connect finds everything in its place, the set-up token too.
        let (public_port, public_at) = listen(config.public_listen).await.context("public port")?;
        let router = public::router(&core, config, Arc::new(identity), &mut rooms)?;
        let public = PublicPort::new(&core, config, router);
        core.tasks.job_until("public port", |stop| public.serve(public_port, stop));
        core.tasks.job("log of refusals", core.refusals.clone().log_forever());
        core.tasks.job("node port", fleet.node_port().await?.serve(node_port));
        rooms.into_iter().flat_map(|room| room.jobs).for_each(|job| job.start(&core));
        tracing::info!(public = %public_at, node = %node_at, dashboard, "controller started");
        Ok(Self { public: public_at, node: node_at, fleet, core, health })
    }

    /// Returns when a job has panicked: the process has to end.
    pub async fn failed(&self) -> JobPanicked {
        self.core.tasks.failed().await
    }

    /// Stops accepting, lets open calls end for a while, ends sessions. Agents keep everything running.
    pub async fn stop(self) {
        self.health.announce_end().await;
        self.core.tasks.stop(GRACE).await;
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn open_core(config: &Config, times: Times, node_at: SocketAddr) -> anyhow::Result<Core> {
    let vault = config.keys.vault()?;
    let mail = config.mail().context("mail")?;
    let url = config.database_url()?;
    let pools = Pools::connect(&url).await.context("cannot connect to the control database")?;
    if pools.calls.prepare().await.context("cannot prepare the control database")? == Owner::Own {
        tracing::warn!(
            "the controller's role owns the audit log: whoever has its rights can disable the triggers that keep the rows; \
             `supalove-controller migrate` sets up an owner of its own"
        );
    }
    let address = config.node_address.clone().unwrap_or_else(|| node_at.to_string());
    let limits = config.limits().within(descriptors::raise()?);
    if let Some(limits) = limits.contradiction(&times) {
        anyhow::bail!("limits contradict each other: {limits}");
    }
    keys::check(&pools.calls, &vault, &sealed_columns(), &times).await?;
    let core = Core::open(pools, vault, times, limits, mail, address, config.fleet_id.as_deref()).await?;
    keys::follow(&core, Duration::ZERO).await?;
    Ok(core)
}

/// Where people reach the dashboard, with a slash at its end; `None` if the program has none.
fn dashboard_address(core: &Core, config: &Config) -> Option<String> {
    supalove_dashboard::embedded()?;
    if let Some(public) = core.mail().public_url() {
        return Some(public.to_string());
    }
    let mut at = config.public_listen;
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => at.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => at.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(format!("http://{at}/"))
}

fn releases(config: &Config) -> anyhow::Result<Releases> {
    let mut releases = Releases::embedded()?;
    if let Some(dir) = &config.releases_dir {
        releases = releases.with_dir(dir)?;
    }
    anyhow::ensure!(
        releases.get(&config.default_release).is_some(),
        "--default-release {:?} is not known; known are {}",
        config.default_release,
        releases.names().collect::<Vec<_>>().join(", ")
    );
    Ok(releases)
}
