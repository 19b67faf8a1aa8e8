//! The same stack by docker-compose: its file, made from what Supalove's containers are, and its way up and down.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use bollard::{Docker, query_parameters::EventsOptionsBuilder};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    container::{Containers, compose_service, inspect, volume_name},
    phases::Measured,
    proxy::Proxy,
    release::{INTERVAL_MS, Service},
};

const PROJECT: &str = "supalovebench";
/// Longest way to health.
const PATIENCE: Duration = Duration::from_mins(3);
/// As many probes as fit into that.
const RETRIES: u64 = 180;

/// docker-compose with its file.
pub struct Compose {
    program: PathBuf,
    file: PathBuf,
    services: usize,
}

impl Compose {
    /// Its first line about itself.
    pub async fn version(program: &Path) -> Result<String> {
        let output = Command::new(program).arg("version").output().await;
        let output = output.with_context(|| format!("{} cannot be run", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(str::to_owned).context("docker-compose does not say its version")
    }

    /// Writes a file that creates these containers again, each with a network like theirs.
    pub async fn write(
        program: &Path,
        dir: &Path,
        containers: &Containers,
        services: &[Service],
        subnet: &str,
    ) -> Result<Self> {
        let dir = dir.join("compose");
        // That of the stack before.
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        let copies = copy_sources(&dir, containers).await?;
        let mut all = serde_json::Map::new();
        let mut volumes = serde_json::Map::new();
        for service in services {
            let shown =
                containers.get(&service.name).with_context(|| format!("{} does not run", service.name))?;
            let mut entry = compose_service(shown, &copies);
            add_to(&mut entry, service, shown);
            for mount in
                shown["Mounts"].as_array().into_iter().flatten().filter(|mount| mount["Type"] == "volume")
            {
                volumes.insert(volume_name(mount["Destination"].as_str().unwrap_or_default()), json!({}));
            }
            all.insert(service.name.clone(), entry);
        }
        let network = json!({ "driver": "bridge", "ipam": { "config": [{ "subnet": subnet }] } });
        let content = json!({ "services": all, "volumes": volumes, "networks": { "default": network } });
        // JSON is YAML. The keys of the project are in it.
        let file = dir.join("compose.yaml");
        std::fs::write(&file, serde_json::to_vec_pretty(&content)?)?;
        Ok(Self { program: program.to_owned(), file, services: services.len() })
    }

    /// Up, until every container is healthy.
    pub async fn up(&self, docker: &Docker, proxy: &Proxy) -> Result<Measured> {
        let healthy = tokio::spawn(all_healthy(docker.clone(), self.services));
        proxy.take();
        let wish = Instant::now();
        self.run(proxy, &["up", "--detach"]).await?;
        let done = tokio::time::timeout(PATIENCE, healthy)
            .await
            .context("docker-compose's stack does not get healthy")???;
        Ok(Measured::new(wish, done, &proxy.take()))
    }

    /// Down, volumes included.
    pub async fn down(&self, proxy: &Proxy) -> Result<Measured> {
        proxy.take();
        let wish = Instant::now();
        self.run(proxy, &["down", "--volumes"]).await?;
        Ok(Measured::new(wish, Instant::now(), &proxy.take()))
    }

    /// Its containers.
    pub async fn containers(&self, docker: &Docker) -> Result<Containers> {
        inspect(docker, &format!("com.docker.compose.project={PROJECT}"), "com.docker.compose.service").await
    }

    async fn run(&self, proxy: &Proxy, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.program)
            .args(["--project-name", PROJECT, "--file"])
            .arg(&self.file)
            .args(arguments)
            .env("DOCKER_HOST", &proxy.address)
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "docker-compose: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// What a running container does not tell: order, probe, and its names on the network without its id.
fn add_to(entry: &mut Value, service: &Service, shown: &Value) {
    let networks = shown["NetworkSettings"]["Networks"].as_object();
    let aliases = networks.and_then(|all| all.values().next()).map(|one| one["Aliases"].clone());
    let id = shown["Id"].as_str().unwrap_or_default();
    let aliases: Vec<Value> = (aliases.unwrap_or_default().as_array().into_iter().flatten())
        .filter(|alias| !alias.as_str().is_some_and(|alias| id.starts_with(alias)))
        .cloned()
        .collect();
    entry["networks"] = json!({ "default": { "aliases": aliases } });
    for need in &service.depends_on {
        entry["depends_on"][need] = json!({ "condition": "service_healthy" });
    }
    let test: Vec<String> = std::iter::once("CMD".to_owned())
        .chain(service.probe.iter().map(|word| word.replace('$', "$$")))
        .collect();
    entry["healthcheck"] = json!({
        "test": test,
        "interval": format!("{INTERVAL_MS}ms"),
        "timeout": format!("{}ms", service.timeout_ms),
        // Failures while a service starts do not end its start. No start period: newer engines probe every 5 s in it.
        "retries": RETRIES,
    });
}

/// The agent's directories are gone with the project: copies with owners and modes.
async fn copy_sources(dir: &Path, containers: &Containers) -> Result<BTreeMap<String, String>> {
    let mounts = containers.values().flat_map(|shown| shown["Mounts"].as_array().into_iter().flatten());
    let sources: BTreeSet<&str> =
        mounts.filter(|mount| mount["Type"] == "bind").filter_map(|mount| mount["Source"].as_str()).collect();
    let mut copies = BTreeMap::new();
    for (number, source) in sources.into_iter().enumerate() {
        let target = dir.join(format!("config-{number}")).display().to_string();
        let status = Command::new("cp").args(["--archive", "--", source, &target]).status().await?;
        ensure!(status.success(), "{source} cannot be copied");
        copies.insert(source.to_owned(), target);
    }
    Ok(copies)
}

/// When the last of `count` containers became healthy, by the engine's events.
async fn all_healthy(docker: Docker, count: usize) -> Result<Instant> {
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("event", vec!["health_status".to_owned()]),
        ("label", vec![format!("com.docker.compose.project={PROJECT}")]),
    ]);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().to_string();
    let mut events =
        docker.events(Some(EventsOptionsBuilder::default().since(&since).filters(&filters).build()));
    let mut healthy = BTreeSet::new();
    while let Some(event) = events.next().await {
        let event = event?;
        let id = event.actor.and_then(|actor| actor.id).unwrap_or_default();
        if event.action.as_deref() == Some("health_status: healthy")
            && healthy.insert(id)
            && healthy.len() == count
        {
            return Ok(Instant::now());
        }
    }
    anyhow::bail!("the engine's events ended")
}
