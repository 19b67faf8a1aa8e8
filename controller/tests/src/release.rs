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
