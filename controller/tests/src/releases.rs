//! Stack releases of the tests' own, put together in a directory for `--releases-dir`.

use std::{fs, path::Path};

use serde_yaml_ng::Value;
use tempfile::TempDir;

use super::{copy_core, root, runs_at_each_start};

/// The release that the controller uses by default and that needs no registry: most tests' projects are of it.
pub const CORE: &str = "core";

/// A directory with the release "echo": the gateway of an embedded release before services that answer with what
/// arrived. All run on core's images, which are there on every machine.
pub fn echo_releases(gateway_of: &str) -> TempDir {
    let dir = tempfile::Builder::new().prefix("supalove-test-releases-").tempdir().unwrap();
    let release = dir.path().join("echo");
    let source = root().join("controller/tests/stacks/echo");
    copy_tree(&source.join("templates"), &release.join("templates"));
    let mut manifest = read_yaml(&source.join("stack.yaml"));
    let core = manifest_of(CORE);
    let services = manifest["services"].as_sequence_mut().unwrap();
    for service in services.iter_mut() {
        service["image"] = service_of(&core, "functions")["image"].clone();
    }
    let mut gateway = service_of(&manifest_of(gateway_of), "gateway").clone();
    gateway["image"] = service_of(&core, "gateway")["image"].clone();
    services.push(gateway);
    fs::write(release.join("stack.yaml"), serde_yaml_ng::to_string(&manifest).unwrap()).unwrap();
    dir
}

/// A directory with the release "steps": two small services, one waiting for the other; the release "more-steps", which
/// differs in its environment, and each accepts an upgrade from the other; and "database": core with SQL at each start.
pub fn steps_releases() -> TempDir {
    let dir = tempfile::Builder::new().prefix("supalove-test-releases-").tempdir().unwrap();
    for (name, other) in [("steps", "more-steps"), ("more-steps", "steps")] {
        let release = dir.path().join(name);
        copy_tree(&root().join("controller/tests/stacks/steps"), &release);
        let mut manifest = read_yaml(&release.join("stack.yaml"));
        manifest["name"] = name.into();
        manifest["upgrades_from"] = vec![Value::from(other)].into();
        for service in manifest["services"].as_sequence_mut().unwrap() {
            service["image"] = core_image("gateway").into();
            service["env"]["RELEASE"] = name.into();
        }
        fs::write(release.join("stack.yaml"), serde_yaml_ng::to_string(&manifest).unwrap()).unwrap();
    }
    let folder = dir.path().join("database");
    copy_core(dir.path(), "database", |yaml| runs_at_each_start(&yaml, &folder, "SELECT 1;\n"));
    dir
}

fn manifest_of(release: &str) -> Value {
    read_yaml(&root().join("deploy/stacks").join(release).join("stack.yaml"))
}

/// Core's image of this service.
pub fn core_image(service: &str) -> String {
    service_of(&manifest_of(CORE), service)["image"].as_str().unwrap().to_owned()
}

fn read_yaml(path: &Path) -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn service_of<'a>(manifest: &'a Value, name: &str) -> &'a Value {
    let mut services = manifest["services"].as_sequence().unwrap().iter();
    services.find(|service| service["name"] == name).unwrap()
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}
