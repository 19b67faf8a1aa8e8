//! The stacks that are compared: the release "core" made as large as the official stack, with a probe every second.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_yaml_ng::Value;

const CORE: &str = include_str!("../../../deploy/stacks/core-3/stack.yaml");
/// Between two probes.
pub const INTERVAL_MS: u64 = 1000;
const DATABASE: &str = "postgres";
const GATEWAY: &str = "gateway";
/// Services of the official stack whose images are not to be had everywhere: a further gateway stands for each.
const STAND_INS: [&str; 4] = ["api", "auth", "realtime", "storage"];

/// One of the two stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// Everything but the gateway waits for the database, as in the official stack.
    Ordered,
    /// Nobody waits for anybody: what creating and starting costs by itself.
    Unordered,
}

impl Stack {
    /// Its release's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordered => "bench-ordered",
            Self::Unordered => "bench-unordered",
        }
    }
}

/// A service as far as docker-compose must be told; the rest is read off the running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name.
    pub name: String,
    /// Services that must be healthy before.
    pub depends_on: Vec<String>,
    /// The probe as a command to be run inside the container.
    pub probe: Vec<String>,
    /// Milliseconds after which a probe has failed.
    pub timeout_ms: u64,
}

/// Writes the release below `releases`; answers its services.
pub fn write(releases: &Path, stack: Stack) -> Result<Vec<Service>> {
    let mut manifest: Value = serde_yaml_ng::from_str(CORE)?;
    manifest["name"] = stack.name().into();
    let services = manifest["services"].as_sequence_mut().context("no services")?;
    let gateway = services.iter().find(|service| service["name"] == GATEWAY).context("no gateway")?.clone();
    services.extend(STAND_INS.map(|name| stand_in(&gateway, name)));
    for service in services.iter_mut() {
        service["probe"]["interval_ms"] = INTERVAL_MS.into();
        if stack == Stack::Ordered && service["name"] != DATABASE && service["name"] != GATEWAY {
            service["depends_on"] = Value::Sequence(vec![DATABASE.into()]);
        }
    }
    let read = services.iter().map(read).collect();
    let target = releases.join(stack.name());
    fs::create_dir_all(&target)?;
    fs::write(target.join("stack.yaml"), serde_yaml_ng::to_string(&manifest)?)?;
    read
}

/// A gateway under another name, which publishes nothing.
fn stand_in(gateway: &Value, name: &str) -> Value {
    let mut service = gateway.clone();
    service["name"] = name.into();
    if let Some(fields) = service.as_mapping_mut() {
        fields.remove("aliases");
        fields.remove("ports");
    }
    service
}

fn read(service: &Value) -> Result<Service> {
    let name = service["name"].as_str().context("a service has no name")?.to_owned();
    let depends_on = service["depends_on"].as_sequence().into_iter().flatten();
    Ok(Service {
        depends_on: depends_on.filter_map(|need| need.as_str().map(str::to_owned)).collect(),
        probe: command(service).with_context(|| format!("the probe of {name}"))?,
        timeout_ms: service["probe"]["timeout_ms"].as_u64().context("a probe has no timeout")?,
        name,
    })
}

/// The agent asks from the host; docker-compose can only run commands in the container: the same login, the same GET.
/// The agent also runs the release's SQL at each start, which makes the role of the probe. docker-compose has no such step,
/// so its first probe after the server listens does it.
fn command(service: &Value) -> Result<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a field is missing");
    let probe = &service["probe"];
    let postgres = &probe["postgres"];
    let http = &probe["http"];
    let words: Vec<String> = if !postgres.is_null() {
        let port = postgres["port"].as_u64().context("a field is missing")?;
        let user = text(&postgres["user"])?;
        let database = text(&postgres["database"])?;
        let login = format!("psql -h 127.0.0.1 -p {port} -U {user} -d {database} -XAtqc 'select 1'");
        let files = service["start_sql"].as_sequence().into_iter().flatten();
        let files: Vec<String> = files.map(text).collect::<Result<_>>()?;
        let start = format!(
            "psql -h /var/run/postgresql -U supabase_admin -d {database} -Xqv ON_ERROR_STOP=1 -f {}",
            files.join(" -f ")
        );
        // The container has the password, in the variable that its image wants.
        let password = r#"export PGPASSWORD="${PGPASSWORD:-$POSTGRES_PASSWORD}""#;
        let script =
            format!("{password}; {login} || {{ : 3<>/dev/tcp/127.0.0.1/{port} && {start} && {login}; }}");
        vec!["bash".to_owned(), "-c".to_owned(), script]
    } else if !http.is_null() {
        let port = http["port"].as_u64().context("a field is missing")?;
        let path = text(&http["path"])?;
        // The images have no HTTP client.
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\
             Connection: close\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"
        );
        vec!["bash".to_owned(), "-c".to_owned(), script]
    } else {
        bail!("is of a kind that cannot be written as a command");
    };
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_as_large_as_the_official_one_and_every_probe_has_a_command() {
        let dir = tempfile::tempdir().unwrap();
        for stack in [Stack::Ordered, Stack::Unordered] {
            let services = write(dir.path(), stack).unwrap();
            assert_eq!(services.len(), 7);
            for service in services {
                let waits = stack == Stack::Ordered && service.name != DATABASE && service.name != GATEWAY;
                assert_eq!(service.depends_on, if waits { vec![DATABASE] } else { vec![] });
                let asks = if service.name == DATABASE { "psql" } else { "GET" };
                assert!(service.probe[2].contains(asks), "{service:?}");
            }
        }
    }

    #[test]
    fn the_controller_takes_both_releases() {
        let dir = tempfile::tempdir().unwrap();
        for stack in [Stack::Ordered, Stack::Unordered] {
            write(dir.path(), stack).unwrap();
        }
        let releases = supalove_stack::Releases::embedded().unwrap().with_dir(dir.path()).unwrap();
        assert!(releases.get(Stack::Ordered.name()).is_some());
        assert!(releases.get(Stack::Unordered.name()).is_some());
    }
}
