//! The setup of the measurement, printed with every table, because numbers mean nothing without it. Refuses a server that
//! does not write through to its disk, except in quick mode, which measures nothing.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use bollard::Docker;
use sqlx::{Connection as _, PgConnection};

use crate::arguments::Arguments;

/// The setup as a Markdown list.
pub async fn facts(arguments: &Arguments) -> Result<String> {
    let mut text = String::new();
    let build = if cfg!(debug_assertions) { "unoptimised: these numbers say nothing" } else { "release" };
    let effort = if arguments.quick { ", quick: too short for numbers" } else { "" };
    let mut fact = |name: &str, value: &str| writeln!(text, "- {name}: {value}");
    fact("commit", &format!("{} ({build}{effort})", arguments.commit))?;
    fact("processor", &processor()?)?;
    fact("memory", &memory()?)?;
    fact("kernel", std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim())?;
    fact("load before", std::fs::read_to_string("/proc/loadavg")?.trim())?;
    fact("Docker Engine", &engine().await?)?;
    fact("PostgreSQL", &postgres(&arguments.database_url, arguments.quick).await?)?;
    fact("disk", &arguments.disk)?;
    Ok(text)
}

fn processor() -> Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{cores} cores, {}", model.unwrap_or("model unknown")))
}

fn memory() -> Result<String> {
    let info = std::fs::read_to_string("/proc/meminfo")?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")).context("no MemTotal")?;
    let kib: u64 = total.trim().trim_end_matches(" kB").parse()?;
    Ok(format!("{} MiB", kib / 1024))
}

async fn engine() -> Result<String> {
    let version = Docker::connect_with_local_defaults()?
        .version()
        .await
        .context("the Docker Engine does not answer")?;
    Ok(format!("{} (API {})", version.version.unwrap_or_default(), version.api_version.unwrap_or_default()))
}

async fn postgres(url: &str, quick: bool) -> Result<String> {
    let mut connection = PgConnection::connect(url).await.context("cannot connect to PostgreSQL")?;
    let mut shown = Vec::new();
    for name in [
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "shared_buffers",
        "data_directory",
    ] {
        let value: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await?;
        let writes_through = !matches!(name, "fsync" | "synchronous_commit") || value == "on";
        ensure!(quick || writes_through, "{name} is {value}: without it nothing measured here is durable");
        shown.push(format!("{name} {value}"));
    }
    connection.close().await?;
    Ok(shown.join(", "))
}
