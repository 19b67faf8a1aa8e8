//! Copies of the release, each with one thing broken. But for the first they have only the database and that service.

use std::fs;

use serde_yaml_ng::Value;
use tempfile::TempDir;

use supalove_system_tests::root;

use super::RELEASE;

/// A copy of the release and what it must fail with.
pub struct Break {
    /// Its name.
    pub release: &'static str,
    /// The service that is broken.
    pub service: &'static str,
    /// Part of the last line of its log.
    pub last_line: &'static str,
    edit: fn(&mut Value),
}

/// All of them.
pub const BREAKS: [Break; 6] = [
    Break {
        release: "no-jwt-secret",
        service: "auth",
        last_line: "GOTRUE_JWT_SECRET is not set",
        edit: |auth| drop_variable(auth, "GOTRUE_JWT_SECRET"),
    },
    Break {
        release: "wrong-role",
        service: "storage",
        last_line: "DATABASE_URL: the role must be supabase_storage_admin",
        edit: |storage| {
            let url = storage["env"]["DATABASE_URL"].as_str().unwrap();
            storage["env"]["DATABASE_URL"] = url.replace("supabase_storage_admin", "postgres").into();
        },
    },
    Break {
        release: "no-volume",
        service: "storage",
        last_line: "FILE_STORAGE_BACKEND_PATH is not on a volume",
        edit: |storage| storage["volumes"][0]["path"] = "/elsewhere".into(),
    },
    Break {
        release: "wrong-user",
        service: "api",
        last_line: "it must run as uid 1000",
        edit: |api| api["security"]["user"] = "1001:1001".into(),
    },
    // sudo itself says so: the release's exception is needed.
    Break {
        release: "no-setuid",
        service: "realtime",
        last_line: "sudo",
        edit: |realtime| drop_exception(realtime, "setuid"),
    },
    Break {
        release: "no-alias",
        service: "realtime",
        // The agent redacts the value of every variable, so also the tenant's name, the alias' first part.
        last_line: ".supabase-realtime is not a name of this container",
        edit: |realtime| realtime["aliases"] = Value::Sequence(Vec::new()),
    },
];

fn drop_variable(service: &mut Value, name: &str) {
    let variables = service["env"].as_mapping_mut().unwrap();
    variables.remove(name).unwrap_or_else(|| panic!("the release has no {name}"));
}

fn drop_exception(service: &mut Value, allow: &str) {
    let exceptions = service["security"]["exceptions"].as_sequence_mut().unwrap();
    let before = exceptions.len();
    exceptions.retain(|exception| exception["allow"] != allow);
    assert_eq!(exceptions.len(), before - 1, "the release has no exception {allow}");
}

/// A directory for `--releases-dir` with all of them.
pub fn broken_releases() -> TempDir {
    let dir = tempfile::Builder::new().prefix("supalove-test-releases-").tempdir().unwrap();
    let official = root().join("deploy/stacks").join(RELEASE);
    let text = fs::read_to_string(official.join("stack.yaml")).unwrap();
    for (number, one) in BREAKS.iter().enumerate() {
        let mut manifest: Value = serde_yaml_ng::from_str(&text).unwrap();
        manifest["name"] = one.release.into();
        if number > 0 {
            keep_only(&mut manifest, &["postgres", one.service]);
        }
        let mut services = manifest["services"].as_sequence_mut().unwrap().iter_mut();
        (one.edit)(services.find(|service| service["name"] == one.service).unwrap());
        let folder = dir.path().join(one.release);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("stack.yaml"), serde_yaml_ng::to_string(&manifest).unwrap()).unwrap();
    }
    dir
}

/// Takes the other services away, and the volumes that only they had.
fn keep_only(manifest: &mut Value, names: &[&str]) {
    let services = manifest["services"].as_sequence_mut().unwrap();
    services.retain(|service| names.iter().any(|name| service["name"] == *name));
    let mounts = services.iter().filter_map(|service| service["volumes"].as_sequence()).flatten();
    let used: Vec<Value> = mounts.map(|mount| mount["volume"].clone()).collect();
    manifest["volumes"].as_sequence_mut().unwrap().retain(|volume| used.contains(volume));
}
