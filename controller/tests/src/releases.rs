//! Stack releases of the tests' own, put together in a directory for `--releases-dir`.

use std::{fs, path::Path};

use serde_yaml_ng::Value;
use tempfile::TempDir;

use super::root;

/// The release that the controller uses by default and that needs no registry: most tests' projects are of it.
pub const CORE: &str = "core-3";

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

/// A directory with the release "web": the newest gateway and router before functions of the test. Texts of the release's
/// files are replaced, so that a test need not wait for its times; (file, old, new).
pub fn web_releases(functions: &[(&str, &str)], edits: &[(&str, &str, &str)]) -> TempDir {
    let dir = tempfile::Builder::new().prefix("supalove-test-releases-").tempdir().unwrap();
    let release = dir.path().join("web");
    let templates = release.join("templates");
    let mut manifest = manifest_of(CORE);
    manifest["name"] = "web".into();
    manifest["volumes"] = vec![Value::from("functions_cache")].into();
    let services = manifest["services"].as_sequence_mut().unwrap();
    services.retain(|service| service["name"] != "postgres");
    for service in services {
        // The gateway's probe would soon tell of a client that took its place. Functions are frozen for a while.
        if service["name"] == "gateway" {
            service["probe"]["interval_ms"] = 1000.into();
        }
        for mount in service["config"].as_sequence_mut().unwrap() {
            let is_functions = mount["path"] == "/functions";
            let files = mount["files"].as_sequence_mut().unwrap();
            for file in files.iter_mut() {
                let kind = if file["copy"].is_null() { "template" } else { "copy" };
                let source = file[kind].as_str().unwrap().to_owned();
                let mut text = fs::read_to_string(root().join("deploy/stacks").join(&source)).unwrap();
                let name = Path::new(&source).file_name().unwrap().to_str().unwrap().to_owned();
                let edits: Vec<_> = edits.iter().filter(|(file, ..)| *file == name).collect();
                if edits.is_empty() {
                    continue;
                }
                for (_, old, new) in edits {
                    assert!(text.contains(old), "{name} has no {old:?}");
                    text = text.replace(old, new);
                }
                fs::create_dir_all(&templates).unwrap();
                fs::write(templates.join(&name), text).unwrap();
                file[kind] = name.into();
            }
            if !is_functions {
                continue;
            }
            files.retain(|file| file["path"] != "manifest.json");
            let mut settings = String::from("{");
            for (number, (name, code)) in functions.iter().enumerate() {
                write_file(&templates.join(format!("{name}.ts")), code);
                settings += if number > 0 { ",\"" } else { "\"" };
                settings += name;
                settings += "\":{\"verify_jwt\":false}";
                files.push(function_file(&format!("{name}/index.ts"), &format!("{name}.ts")));
            }
            write_file(&templates.join("functions.json"), &(settings + "}"));
            files.push(function_file("manifest.json", "functions.json"));
        }
    }
    fs::write(release.join("stack.yaml"), serde_yaml_ng::to_string(&manifest).unwrap()).unwrap();
    dir
}

fn write_file(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn function_file(path: &str, copy: &str) -> Value {
    let text = format!("{{ path: {path}, copy: {copy}, uid: 1993, gid: 1993, mode: \"0400\" }}");
    serde_yaml_ng::from_str(&text).unwrap()
}

/// A directory with the release "steps": two small services, one waiting for the other; and the release "more-steps", which
/// differs in its environment. Each accepts an upgrade from the other.
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
    dir
}

/// A directory with the release "small": one web server with a volume, for tests that need many projects.
pub fn small_releases() -> TempDir {
    let dir = tempfile::Builder::new().prefix("supalove-test-releases-").tempdir().unwrap();
    let release = dir.path().join("small");
    copy_tree(&root().join("controller/tests/stacks/steps"), &release);
    let mut manifest = read_yaml(&release.join("stack.yaml"));
    manifest["name"] = "small".into();
    let volumes = service_of(&manifest, "storage")["volumes"].clone();
    let services = manifest["services"].as_sequence_mut().unwrap();
    services.retain(|service| service["name"] == "gateway");
    let gateway = services[0].as_mapping_mut().unwrap();
    gateway.remove("depends_on");
    gateway.insert("volumes".into(), volumes);
    gateway.insert("image".into(), core_image("gateway").into());
    fs::write(release.join("stack.yaml"), serde_yaml_ng::to_string(&manifest).unwrap()).unwrap();
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
