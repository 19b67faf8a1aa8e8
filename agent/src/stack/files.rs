//! Configuration directories: written completely beside their final path, renamed, and mounted read-only. A directory's
//! name holds the hash of its content, so an existing directory is complete and correct. Only the content of files with
//! `reload` is not in it: they are replaced in place, each at once.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use supalove_failpoints::failpoint;

use crate::fsio;

/// A file with its final content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyFile {
    /// Below the directory; checked by the spec's validation.
    pub path: String,
    pub content: Vec<u8>,
    pub uid: u32,
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Replaced in place when the content changes.
    pub reload: bool,
}

/// A directory to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDir {
    /// Final path on the host.
    pub path: PathBuf,
    /// What is in it.
    pub files: Vec<ReadyFile>,
}

/// Directory of one project below the state directory.
pub fn project_dir(state_dir: &Path, project_ref: &str) -> PathBuf {
    state_dir.join("projects").join(project_ref)
}

/// Directory of all services' configuration.
pub fn config_dir(state_dir: &Path, project_ref: &str) -> PathBuf {
    project_dir(state_dir, project_ref).join("config")
}

/// Directory of one service's configuration.
pub fn service_dir(state_dir: &Path, project_ref: &str, service: &str) -> PathBuf {
    config_dir(state_dir, project_ref).join(service)
}

/// Writes a directory unless it exists; then it replaces the files that change in place.
pub fn write(dir: &ConfigDir) -> io::Result<()> {
    if dir.path.exists() {
        return dir.files.iter().filter(|file| file.reload).try_for_each(|file| replace(&dir.path, file));
    }
    let unfinished = dir.path.with_extension(fsio::UNFINISHED);
    fsio::remove_tree(&unfinished)?;
    if let Some(parent) = dir.path.parent() {
        fsio::private_dir(parent)?;
    }
    public_dir(&unfinished)?;
    let mut folders = BTreeSet::from([unfinished.clone()]);
    for file in &dir.files {
        let path = unfinished.join(&file.path);
        write_file(&unfinished, &path, file)?;
        folders
            .extend(path.ancestors().skip(1).take_while(|folder| *folder != unfinished).map(Path::to_owned));
    }
    for folder in &folders {
        fs::File::open(folder)?.sync_all()?;
    }
    failpoint!("agent.config.unfinished");
    fs::rename(&unfinished, &dir.path)?;
    failpoint!("agent.config.renamed");
    fsio::sync_parent(&dir.path)
}

/// Removes everything in a directory that is no longer used.
pub fn sweep(dir: &Path, in_use: &[PathBuf]) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !in_use.contains(&path) {
            fsio::remove_tree(&path)?;
        }
    }
    Ok(())
}

/// A reader of the file sees the old content or the new. No other file of a directory ends like the one beside it.
fn replace(dir: &Path, file: &ReadyFile) -> io::Result<()> {
    let path = dir.join(&file.path);
    if fs::read(&path).is_ok_and(|content| content == file.content) {
        return Ok(());
    }
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}", fsio::UNFINISHED));
    let beside = PathBuf::from(beside);
    fsio::remove(&beside)?;
    write_file(dir, &beside, file)?;
    fs::rename(&beside, &path)?;
    fsio::sync_parent(&path)
}

fn write_file(dir: &Path, path: &Path, file: &ReadyFile) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        public_parents(dir, parent)?;
    }
    let mut open = OpenOptions::new();
    let mut out = open.write(true).create_new(true).mode(0o600).open(path)?;
    out.write_all(&file.content)?;
    // Owner before mode: a change of owner clears bits.
    chown(path, Some(file.uid), Some(file.gid))?;
    out.set_permissions(fs::Permissions::from_mode(file.mode))?;
    out.sync_all()
}

/// The container's user must get through directories; secrets are guarded by each file's own mode, and from the host's
/// users by the private directory above.
fn public_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn public_parents(base: &Path, path: &Path) -> io::Result<()> {
    if path == base || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        public_parents(base, parent)?;
    }
    public_dir(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn own_file(path: &str, mode: u32, owner: &Path) -> ReadyFile {
        let owner = fs::metadata(owner).unwrap();
        ReadyFile {
            path: path.into(),
            content: b"x".into(),
            uid: owner.uid(),
            gid: owner.gid(),
            mode,
            reload: false,
        }
    }

    #[test]
    fn a_directory_appears_whole_with_modes_and_is_swept_when_unused() {
        let state = tempfile::tempdir().unwrap();
        let service = service_dir(state.path(), "abcdefghijklmnopqrst", "functions");
        let dir = ConfigDir {
            path: service.join("0-aa"),
            files: vec![
                own_file("hello/index.ts", 0o444, state.path()),
                own_file("key", 0o400, state.path()),
            ],
        };
        write(&dir).unwrap();
        write(&dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&dir.path), 0o755);
        assert_eq!(mode(&dir.path.join("hello")), 0o755);
        assert_eq!(mode(&dir.path.join("hello/index.ts")), 0o444);
        assert_eq!(mode(&dir.path.join("key")), 0o400);
        assert_eq!(mode(&service), 0o700);

        let newer = ConfigDir { path: service.join("0-bb"), ..dir.clone() };
        write(&newer).unwrap();
        sweep(&service, std::slice::from_ref(&newer.path)).unwrap();
        assert!(newer.path.exists() && !dir.path.exists());
        sweep(&service.join("none"), &[]).unwrap();
    }

    #[test]
    fn a_file_that_changes_in_place_is_replaced_with_its_mode() {
        let state = tempfile::tempdir().unwrap();
        let file = |content: &str| ReadyFile {
            content: content.into(),
            reload: true,
            ..own_file("server.pem", 0o400, state.path())
        };
        let fixed = own_file("fixed", 0o444, state.path());
        let dir = |content: &str| ConfigDir {
            path: state.path().join("0-aa"),
            files: vec![file(content), ReadyFile { content: content.into(), ..fixed.clone() }],
        };
        write(&dir("old")).unwrap();
        let path = state.path().join("0-aa/server.pem");
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let before = inode(&path);
        write(&dir("old")).unwrap();
        assert_eq!(inode(&path), before, "what has not changed is not written");
        // What a crash left.
        fs::write(state.path().join("0-aa/server.pem.tmp"), "half").unwrap();
        write(&dir("new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
        assert_eq!(fs::read(state.path().join("0-aa/fixed")).unwrap(), b"old", "the others stay");
        assert_eq!(fs::read_dir(state.path().join("0-aa")).unwrap().count(), 2);
    }

    #[test]
    fn remains_of_a_crash_do_not_matter() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("0-aa");
        fs::create_dir(path.with_extension(fsio::UNFINISHED)).unwrap();
        fs::write(path.with_extension(fsio::UNFINISHED).join("half"), "").unwrap();
        write(&ConfigDir { path: path.clone(), files: vec![own_file("a", 0o444, state.path())] }).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }
}
