//! Stack releases: the embedded ones of `deploy/stacks` and those of an operator's directory.
//!
//! Loading checks a release completely, so that rendering can fail only because of the project's input.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::{
    manifest::{Manifest, Resources},
    size::Size,
    validate::{self, Files, Problem},
};

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../deploy/stacks");

const MANIFEST: &str = "stack.yaml";
const TEMPLATES: &str = "templates";
/// Folder beside the embedded releases, without a `stack.yaml`: templates that several releases name, as
/// `shared/…`. Operators' releases may name them too.
const SHARED: &str = "shared";
/// File beside the releases with the known holes of published ones, which themselves never change.
const KNOWN_HOLES: &str = "known-holes.yaml";

/// Why releases cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    /// A `stack.yaml` violates the schema; the source names the field and line.
    #[error("{file}: {source}")]
    Schema { file: String, source: serde_yaml_ng::Error },
    /// A release is invalid.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// Two releases have one name. A published release never changes, so neither may replace the other.
    #[error("there are two stack releases named '{0}'")]
    Duplicate(String),
    /// The list of known holes names a release that does not exist.
    #[error("{file}: there is no stack release named '{release}'")]
    Holes { file: String, release: String },
}

/// A weakness of a published release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownHole {
    /// Stable name.
    pub id: String,
    /// What somebody can do through it, for people.
    pub text: String,
    /// First release without it.
    pub fixed_in: String,
}

fn join(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("; ")
}

/// A valid stack release.
#[derive(Debug, Clone)]
pub struct Release {
    pub(super) manifest: Manifest,
    pub(super) files: Files,
}

impl Release {
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// One line for people.
    pub fn description(&self) -> &str {
        &self.manifest.description
    }

    /// True if a project of release `from` can be upgraded to this one.
    pub fn accepts(&self, from: &str) -> bool {
        self.manifest.upgrades_from.iter().any(|one| one == from)
    }

    /// Names of its services.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.manifest.services.iter().map(|one| one.name.as_str())
    }

    /// Services that a project can switch off: nothing publishes an address of them, and no other service needs them.
    pub fn optional_services(&self) -> impl Iterator<Item = &str> {
        let services = &self.manifest.services;
        let needed = |name: &str| services.iter().any(|one| one.depends_on.iter().any(|other| other == name));
        let optional = move |one: &&super::manifest::Service| {
            one.ports.is_empty() && !one.launch.is_postgres() && !needed(&one.name)
        };
        services.iter().filter(optional).map(|one| one.name.as_str())
    }

    /// True if its database takes a new password at each start; others take one only at their first.
    pub fn takes_new_passwords(&self) -> bool {
        self.manifest
            .services
            .iter()
            .any(|service| service.launch.is_postgres() && !service.start_sql.is_empty())
    }

    /// True if its database speaks TLS: the project's certificate is one of its files.
    pub fn has_database_tls(&self) -> bool {
        let services = self.manifest.services.iter().filter(|service| service.launch.is_postgres());
        services.flat_map(|service| &service.config).flat_map(|mount| &mount.files).any(|file| file.reload)
    }

    /// Its images, by service.
    pub fn images(&self) -> impl Iterator<Item = (&str, &str)> {
        let services = self.manifest.services.iter();
        services.map(|one| (one.name.as_str(), one.image.as_str()))
    }

    /// Resources that the scheduler reserves for a project of it with this size.
    pub fn resources(&self, size: &Size) -> Resources {
        self.manifest.services.iter().map(|one| size.reserve(one)).sum()
    }

    pub(super) fn load(directory: &str, manifest: &[u8], own: Files) -> Result<Self, ReleaseError> {
        let file = format!("{directory}/{MANIFEST}");
        validate::text(&file, manifest).map_err(|problem| ReleaseError::Invalid(vec![problem]))?;
        let mut files = own;
        files.append(&mut shared_files());
        let manifest: Manifest = match serde_yaml_ng::from_slice(manifest) {
            Ok(manifest) => manifest,
            Err(source) => return Err(ReleaseError::Schema { file, source }),
        };
        let problems = validate::problems(&file, directory, &manifest, &files);
        if problems.is_empty() { Ok(Self { manifest, files }) } else { Err(ReleaseError::Invalid(problems)) }
    }
}

/// All releases of this controller.
#[derive(Debug, Clone, Default)]
pub struct Releases {
    by_name: BTreeMap<String, Release>,
    holes: BTreeMap<String, Vec<KnownHole>>,
}

impl Releases {
    /// Loads the releases that are embedded in the binary.
    pub fn embedded() -> Result<Self, ReleaseError> {
        let mut releases = Self::default();
        for directory in EMBEDDED.dirs() {
            let name = directory.path().to_string_lossy().into_owned();
            let Some(manifest) = directory.get_file(directory.path().join(MANIFEST)) else {
                continue;
            };
            let files = embedded_files(directory, &directory.path().join(TEMPLATES));
            releases.add(Release::load(&name, manifest.contents(), files)?)?;
        }
        if let Some(holes) = EMBEDDED.get_file(KNOWN_HOLES) {
            releases.add_holes(KNOWN_HOLES, holes.contents())?;
        }
        Ok(releases)
    }

    /// Adds each sub-directory of `path` that has a `stack.yaml`.
    pub fn with_dir(mut self, path: &Path) -> Result<Self, ReleaseError> {
        for directory in sub_directories(path)? {
            let manifest_path = directory.join(MANIFEST);
            if !manifest_path.is_file() {
                continue;
            }
            let name = file_name(&directory);
            let manifest = read(&manifest_path)?;
            let mut files = Files::new();
            let templates = directory.join(TEMPLATES);
            if templates.is_dir() {
                read_tree(&templates, "", &mut files)?;
            }
            self.add(Release::load(&name, &manifest, files)?)?;
        }
        let holes = path.join(KNOWN_HOLES);
        if holes.is_file() {
            self.add_holes(&holes.display().to_string(), &read(&holes)?)?;
        }
        Ok(self)
    }

    /// Returns the release with this name.
    pub fn get(&self, name: &str) -> Option<&Release> {
        self.by_name.get(name)
    }

    /// Known holes of a release.
    pub fn known_holes(&self, release: &str) -> &[KnownHole] {
        self.holes.get(release).map(Vec::as_slice).unwrap_or_default()
    }

    /// Names of the releases that have known holes.
    pub fn with_known_holes(&self) -> impl Iterator<Item = &str> {
        self.holes.iter().filter(|(_, holes)| !holes.is_empty()).map(|(name, _)| name.as_str())
    }

    /// Releases to which a project of release `from` can be upgraded in one step.
    pub fn successors(&self, from: &str) -> impl Iterator<Item = &Release> {
        self.by_name.values().filter(move |release| release.accepts(from))
    }

    /// The newest of these: the one that accepts most of the others; of equals the last by name.
    pub fn newest_successor(&self, from: &str) -> Option<&Release> {
        let accepts =
            |release: &Release| self.successors(from).filter(|one| release.accepts(one.name())).count();
        self.successors(from).max_by_key(|release| accepts(release))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    fn add_holes(&mut self, file: &str, text: &[u8]) -> Result<(), ReleaseError> {
        validate::text(file, text).map_err(|problem| ReleaseError::Invalid(vec![problem]))?;
        let holes: BTreeMap<String, Vec<KnownHole>> = serde_yaml_ng::from_slice(text)
            .map_err(|source| ReleaseError::Schema { file: file.to_owned(), source })?;
        for (name, holes) in holes {
            let named = holes.iter().map(|hole| &hole.fixed_in).chain([&name]);
            if let Some(unknown) = named.into_iter().find(|release| !self.by_name.contains_key(*release)) {
                return Err(ReleaseError::Holes { file: file.to_owned(), release: unknown.clone() });
            }
            self.holes.entry(name).or_default().extend(holes);
        }
        Ok(())
    }

    fn add(&mut self, release: Release) -> Result<(), ReleaseError> {
        let name = release.name().to_owned();
        match self.by_name.insert(name.clone(), release) {
            None => Ok(()),
            Some(_) => Err(ReleaseError::Duplicate(name)),
        }
    }
}

/// Returns the shared templates, by the names that manifests use.
fn shared_files() -> Files {
    EMBEDDED.get_dir(SHARED).map(|shared| embedded_files(shared, Path::new(""))).unwrap_or_default()
}

/// Returns all files below an embedded directory, by their path relative to `root`.
fn embedded_files(directory: &Dir<'_>, root: &Path) -> Files {
    let mut files = Files::new();
    for inner in directory.dirs() {
        files.append(&mut embedded_files(inner, root));
    }
    for file in directory.files() {
        if let Ok(path) = file.path().strip_prefix(root) {
            files.insert(path.to_string_lossy().into_owned(), file.contents().to_vec());
        }
    }
    files
}

fn read(path: &Path) -> Result<Vec<u8>, ReleaseError> {
    fs::read(path).map_err(|source| ReleaseError::Read { path: path.to_owned(), source })
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, ReleaseError> {
    let failed = |source| ReleaseError::Read { path: path.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn sub_directories(path: &Path) -> Result<Vec<PathBuf>, ReleaseError> {
    let mut paths = entries(path)?;
    paths.retain(|path| path.is_dir());
    Ok(paths)
}

fn read_tree(directory: &Path, prefix: &str, files: &mut Files) -> Result<(), ReleaseError> {
    for path in entries(directory)? {
        let relative = format!("{prefix}{}", file_name(&path));
        if path.is_dir() {
            read_tree(&path, &format!("{relative}/"), files)?;
        } else {
            files.insert(relative, read(&path)?);
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
