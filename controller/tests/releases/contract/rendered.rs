//! The release rendered for a project, and how to look into it.

use std::{collections::BTreeMap, sync::LazyLock};

use supalove_proto::node::v1::{ConfigFile, ConfigMount, EnvVar, ServiceSpec, StackSpec};
use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, Releases, render};

/// The release.
pub const RELEASE: &str = "supabase-2025.12";
/// A project's id.
pub const REF: &str = "abcdefghijklmnopqrst";

static RELEASES: LazyLock<Releases> = LazyLock::new(|| Releases::embedded().unwrap());

/// One project.
#[derive(Clone)]
pub struct Project {
    /// What its agent gets.
    pub spec: StackSpec,
    /// Its secrets by name.
    pub secrets: BTreeMap<&'static str, String>,
}

impl Project {
    /// A project with new secrets.
    pub fn render() -> Self {
        let release = RELEASES.get(RELEASE).expect("the release is embedded");
        let secrets = ProjectSecrets::generate(REF).unwrap();
        let settings = ProjectSettings::default();
        let input =
            ProjectInput { project_ref: REF, project_name: "Shop", secrets: &secrets, settings: &settings };
        let spec = render(release, &input).unwrap();
        let secrets = secrets.iter().map(|(name, value)| (name, value.to_owned())).collect();
        Self { spec, secrets }
    }

    /// A service.
    pub fn service(&self, name: &str) -> &ServiceSpec {
        let mut services = self.spec.services.iter();
        services.find(|one| one.name == name).unwrap_or_else(|| panic!("there is no service {name}"))
    }

    /// The same, to spoil it.
    pub fn service_mut(&mut self, name: &str) -> &mut ServiceSpec {
        self.spec.services.iter_mut().find(|one| one.name == name).unwrap()
    }

    /// Takes these variables away, and sets the first to a value if there is one.
    pub fn set(&mut self, service: &str, names: &[&str], value: Option<&str>) {
        let service = self.service_mut(service);
        service.env.retain(|one| !names.contains(&one.name.as_str()));
        if let Some(value) = value {
            let name = names[0].to_owned();
            service.env.push(EnvVar { name, value: value.to_owned(), bind_placement: false });
        }
    }

    /// A text of the table, with this project's values.
    pub fn fill(&self, text: &str) -> String {
        let known = [("ref", REF), ("public", "${placement.api_url}")];
        let secrets = self.secrets.iter().map(|(name, value)| (*name, value.as_str()));
        secrets
            .chain(known)
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// All texts of a service: variables, files and the probe's secrets, each with its place.
    pub fn texts(&self, service: &str) -> Vec<(String, String)> {
        let spec = self.service(service);
        let variables = spec.env.iter().map(|one| (format!("{service} env {}", one.name), one.value.clone()));
        let files = files(spec).map(|(_, file, path)| {
            (format!("{service} file {path}"), String::from_utf8_lossy(&file.content).into_owned())
        });
        variables.chain(files).collect()
    }
}

/// All files of a service: mount, file, absolute path in the container.
pub fn files(service: &ServiceSpec) -> impl Iterator<Item = (&ConfigMount, &ConfigFile, String)> {
    service.config_mounts.iter().flat_map(|mount| {
        mount.files.iter().map(move |file| {
            let path =
                if mount.single_file { mount.path.clone() } else { format!("{}/{}", mount.path, file.path) };
            (mount, file, path)
        })
    })
}
