//! A container as the engine shows it.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use supalove_system_tests::docker;

/// What `docker inspect` says.
pub struct Container {
    /// The service.
    pub service: String,
    inspected: Value,
}

impl Container {
    /// Looks.
    pub fn inspect(project_ref: &str, service: &str) -> Self {
        let said = docker(None, &["inspect", &format!("supalove_{project_ref}_{service}")]);
        let all: Vec<Value> = serde_json::from_str(&said).unwrap();
        let inspected = all.into_iter().next().unwrap();
        Self { service: service.to_owned(), inspected }
    }

    /// A field by its path, e.g. `HostConfig.CapAdd`; lists sorted, an empty or missing one as null. Some have names of
    /// their own here, since the engine adds to them.
    pub fn get(&self, what: &str) -> Value {
        match what {
            "variables" => self.variables(),
            "mounts" => self.mounts(),
            "names" => self.names(),
            label if label.starts_with("supalove.") => self.inspected["Config"]["Labels"][label].clone(),
            _ => sorted(what.split('.').fold(&self.inspected, |value, field| &value[field]).clone()),
        }
    }

    /// The variables with their values.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let variables = self.inspected["Config"]["Env"].as_array().unwrap();
        let pair = |one: &Value| {
            let (name, value) = one.as_str().unwrap().split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        variables.iter().map(pair).collect()
    }

    /// Names of the variables; values are secret.
    fn variables(&self) -> Value {
        let variables = self.inspected["Config"]["Env"].as_array().unwrap();
        let name = |one: &Value| json!(one.as_str().unwrap().split('=').next().unwrap());
        sorted(variables.iter().map(name).collect())
    }

    /// Each as "kind name path rw".
    fn mounts(&self) -> Value {
        let describe = |mount: &Value| {
            let name = mount["Name"].as_str().unwrap_or_default();
            let kind = mount["Type"].as_str().unwrap();
            let path = mount["Destination"].as_str().unwrap();
            json!(format!("{kind} {name} {path} {}", if mount["RW"] == true { "rw" } else { "ro" }))
        };
        sorted(self.inspected["Mounts"].as_array().unwrap().iter().map(describe).collect())
    }

    /// Networks and the names on them, without the one that the engine makes of the container's id.
    fn names(&self) -> Value {
        let id = &self.inspected["Id"].as_str().unwrap()[..12];
        let mut all = String::new();
        for (network, endpoint) in self.inspected["NetworkSettings"]["Networks"].as_object().unwrap() {
            let aliases = endpoint["Aliases"].as_array().unwrap().iter().map(|alias| alias.as_str().unwrap());
            let mut aliases: Vec<&str> = aliases.filter(|alias| *alias != id).collect();
            aliases.sort_unstable();
            aliases.dedup();
            write!(all, "{network}: {}", aliases.join(" ")).unwrap();
        }
        json!(all)
    }

    /// When it was last started, by the engine's clock: RFC 3339 with nanoseconds, which sorts as text.
    pub fn started_at(&self) -> String {
        sortable(self.inspected["State"]["StartedAt"].as_str().unwrap())
    }

    /// When its last line with this text was written.
    pub fn last_line_with(&self, text: &str) -> String {
        let lines = self.log(&[]);
        let found = lines.lines().rfind(|line| line.contains(text));
        let time = found.and_then(|line| line.split(' ').next());
        sortable(time.unwrap_or_else(|| panic!("{}: no {text:?} in {lines}", self.service)))
    }

    /// How often its program has said this after that time.
    pub fn lines_since(&self, time: &str, text: &str) -> usize {
        let log = self.log(&["--since", time]);
        log.lines().filter(|line| line.contains(text)).count()
    }

    fn log(&self, more: &[&str]) -> String {
        let id = self.inspected["Id"].as_str().unwrap();
        let output = std::process::Command::new("docker")
            .args(["logs", "--timestamps"])
            .args(more)
            .arg(id)
            .output()
            .unwrap();
        let both = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&both).into_owned()
    }
}

/// Nanoseconds without trailing zeros would not sort.
fn sortable(time: &str) -> String {
    let time = time.trim_end_matches('Z');
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{seconds}.{fraction:0<9}Z")
}

/// Lists sorted; an empty list or object as null, since the engine shows one or the other.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(mut list) => {
            list.sort_by_key(ToString::to_string);
            Value::Array(list)
        }
        Value::Object(fields) if fields.is_empty() => Value::Null,
        other => other,
    }
}

/// Names of the volumes of a project.
pub fn project_volumes(project_ref: &str) -> Vec<String> {
    let filter = format!("label=supalove.project={project_ref}");
    let listed = docker(None, &["volume", "ls", "--format", "{{.Name}}", "--filter", &filter]);
    listed.lines().map(str::to_owned).collect()
}
