//! A stack release of the test's own: a copy of the core release with changes.

use std::{fs, path::Path};

use super::{CORE, root};

/// Writes release `name` below `dir` (the `--releases-dir`): core's files, its stack.yaml changed by `edit`.
pub fn copy_core(dir: &Path, name: &str, edit: impl FnOnce(String) -> String) {
    let core = root().join("deploy/stacks").join(CORE);
    let target = dir.join(name);
    copy(&core, &target);
    let manifest = target.join("stack.yaml");
    let text = fs::read_to_string(&manifest).unwrap().replacen(
        &format!("name: {CORE}\n"),
        &format!("name: {name}\n"),
        1,
    );
    fs::write(manifest, edit(text)).unwrap();
}

/// Edits a copy of the core release: it accepts upgrades from release `from`.
pub fn accepts_upgrades_from(yaml: &str, from: &str) -> String {
    let mut lines: Vec<&str> = yaml.lines().filter(|line| !line.starts_with("upgrades_from:")).collect();
    let description = lines.iter().position(|line| line.starts_with("description:")).unwrap();
    let accepts = format!("upgrades_from: [{from}]");
    lines.insert(description + 1, &accepts);
    lines.join("\n") + "\n"
}

/// Edits a copy of the core release: after its own SQL of each start, its database runs a template of `directory`
/// (the release's folder).
pub fn runs_at_each_start(yaml: &str, directory: &Path, sql: &str) -> String {
    fs::create_dir_all(directory.join("templates")).unwrap();
    fs::write(directory.join("templates/test-start.sql"), sql).unwrap();
    let file = r#"{ path: start.sql, template: test-start.sql, uid: 999, gid: 999, mode: "0400" }"#;
    let mounted =
        format!("    config:\n      - path: /etc/supalove-test\n        files:\n          - {file}\n");
    let yaml = yaml.replacen("    config:\n", &mounted, 1);
    let listed = ", /etc/supalove/start/start.sql]";
    assert!(yaml.contains(listed), "the core release runs no SQL at each start");
    yaml.replacen(listed, ", /etc/supalove/start/start.sql, /etc/supalove-test/start.sql]", 1)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
