//! What a container is made of, as far as two stacks must agree to be compared, and the copy of one for docker-compose.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bollard::{
    Docker,
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder},
};
use serde_json::{Value, json};

/// Containers by service, as the engine shows them.
pub type Containers = BTreeMap<String, Value>;

/// Those with the label `filter` (name=value); `service` is the label that holds the service's name.
pub async fn inspect(docker: &Docker, filter: &str, service: &str) -> Result<Containers> {
    let filters = std::collections::HashMap::from([("label", vec![filter.to_owned()])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let mut all = Containers::new();
    for found in docker.list_containers(Some(options)).await? {
        let id = found.id.context("a container has no id")?;
        let shown =
            serde_json::to_value(docker.inspect_container(&id, None::<InspectContainerOptions>).await?)?;
        let name =
            shown["Config"]["Labels"][service].as_str().context("a container has no service")?.to_owned();
        all.insert(name, shown);
    }
    Ok(all)
}

/// Errs with what differs.
pub fn ensure_same(ours: &Containers, theirs: &Containers) -> Result<()> {
    ensure!(ours.keys().eq(theirs.keys()), "services: {:?} and {:?}", ours.keys(), theirs.keys());
    for (service, shown) in ours {
        let ours = essence(shown);
        let theirs = essence(&theirs[service]);
        for (field, value) in ours.as_object().into_iter().flatten() {
            ensure!(*value == theirs[field], "{service}, {field}: {value} and {}", theirs[field]);
        }
    }
    Ok(())
}

/// What makes a container cheap or costly to create, start and run. Names, addresses and labels are each tool's own.
fn essence(shown: &Value) -> Value {
    let config = &shown["Config"];
    let host = &shown["HostConfig"];
    let mut aliases = strings(
        &shown["NetworkSettings"]["Networks"]
            .as_object()
            .and_then(|all| all.values().next())
            .map_or(Value::Null, |one| one["Aliases"].clone()),
    );
    // The engine adds the container's own short id, Compose its name and the service's name once more.
    let name = shown["Name"].as_str().unwrap_or_default().trim_start_matches('/');
    let id = shown["Id"].as_str().unwrap_or_default();
    aliases.retain(|alias| alias != name && !id.starts_with(alias.as_str()));
    aliases.dedup();
    let mut mounts: Vec<String> = (shown["Mounts"].as_array().into_iter().flatten())
        .map(|mount| format!("{} {} {}", mount["Type"], mount["Destination"], mount["RW"]))
        .collect();
    mounts.sort();
    json!({
        "image": shown["Image"], "command": config["Cmd"], "entrypoint": config["Entrypoint"],
        "user": config["User"], "environment": strings(&config["Env"]), "hostname": config["Hostname"],
        "stop signal": config["StopSignal"], "stop timeout": config["StopTimeout"],
        "read-only": host["ReadonlyRootfs"], "dropped": strings(&host["CapDrop"]), "added": strings(&host["CapAdd"]),
        "security": strings(&host["SecurityOpt"]), "memory": host["Memory"], "swap": host["MemorySwap"],
        "cpus": host["NanoCpus"], "pids": host["PidsLimit"], "ulimits": list(&host["Ulimits"]),
        "shm": host["ShmSize"], "tmpfs": host["Tmpfs"], "logging": host["LogConfig"],
        "ports": ports(host), "mounts": mounts, "aliases": aliases,
    })
}

/// "address:port:container port" of each published port.
fn ports(host: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for (container, bindings) in host["PortBindings"].as_object().into_iter().flatten() {
        for binding in bindings.as_array().into_iter().flatten() {
            let part = |name: &str| binding[name].as_str().unwrap_or_default();
            all.push(format!(
                "{}:{}:{}",
                part("HostIp"),
                part("HostPort"),
                container.trim_end_matches("/tcp")
            ));
        }
    }
    all.sort();
    all
}

/// Sorted; absent and empty are the same.
fn strings(value: &Value) -> Vec<String> {
    let mut all: Vec<String> = list(value).iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    all.sort();
    all
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The service of a compose file that makes the same container. Volumes are named after their place; directories of the
/// agent are replaced by `copies` of them.
pub fn compose_service(shown: &Value, copies: &BTreeMap<String, String>) -> Value {
    let config = &shown["Config"];
    let host = &shown["HostConfig"];
    let tmpfs = host["Tmpfs"].as_object().into_iter().flatten();
    let ulimits = list(&host["Ulimits"]);
    let mut service = json!({
        "image": shown["Image"], "hostname": config["Hostname"], "user": config["User"],
        "command": escaped(&config["Cmd"]), "environment": escaped(&config["Env"]),
        "stop_signal": config["StopSignal"],
        "stop_grace_period": format!("{}s", config["StopTimeout"]),
        "read_only": host["ReadonlyRootfs"], "cap_drop": host["CapDrop"], "cap_add": strings(&host["CapAdd"]),
        "security_opt": strings(&host["SecurityOpt"]), "mem_limit": host["Memory"],
        "memswap_limit": host["MemorySwap"], "cpus": host["NanoCpus"].as_f64().unwrap_or_default() / 1e9,
        "pids_limit": host["PidsLimit"], "shm_size": host["ShmSize"], "restart": "no",
        "tmpfs": tmpfs.map(|(path, options)| format!("{path}:{}", options.as_str().unwrap_or_default())).collect::<Vec<_>>(),
        "logging": { "driver": host["LogConfig"]["Type"], "options": host["LogConfig"]["Config"] },
        "ports": ports(host),
        "volumes": list(&shown["Mounts"]).iter().map(|mount| compose_mount(mount, copies)).collect::<Vec<_>>(),
    });
    for limit in ulimits {
        let name = limit["Name"].as_str().unwrap_or_default();
        service["ulimits"][name] = json!({ "soft": limit["Soft"], "hard": limit["Hard"] });
    }
    service
}

fn compose_mount(mount: &Value, copies: &BTreeMap<String, String>) -> Value {
    let target = mount["Destination"].as_str().unwrap_or_default();
    if mount["Type"] == "volume" {
        return json!({ "type": "volume", "source": volume_name(target), "target": target });
    }
    let source = mount["Source"].as_str().unwrap_or_default();
    json!({ "type": "bind", "source": copies.get(source), "target": target, "read_only": mount["RW"] == false })
}

/// A volume's key in the compose file.
pub fn volume_name(target: &str) -> String {
    target.trim_matches('/').replace('/', "-")
}

/// docker-compose replaces variables in what it reads.
fn escaped(texts: &Value) -> Vec<String> {
    let texts = list(texts);
    texts.iter().filter_map(|text| text.as_str().map(|text| text.replace('$', "$$"))).collect()
}
