//! What a project's specification is rendered from, read in one place: its name, release, secrets, settings and the secrets
//! of its functions.

use std::collections::BTreeMap;

use supalove_core::{
    Write,
    error::{Error, Result},
    ids::ProjectRef,
    vault::Vault,
};
use supalove_plans::ProjectSize;
use supalove_proto::node::v1::{ServiceSpec, StackSpec};
use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, Release, Releases, Size, render};

use crate::store::{
    function_secrets::{self, Value},
    secrets::{self, SealedSecrets},
    settings,
};

/// The newest versions of everything.
pub struct Content {
    pub name: String,
    /// Name of its stack release.
    pub release: String,
    pub secrets: ProjectSecrets,
    /// Secrets that an earlier version of the controller did not know.
    new_secrets: Vec<&'static str>,
    pub settings: ProjectSettings,
    /// 0 = nobody has changed the settings.
    pub settings_version: i64,
    /// Secrets and variables.
    pub function_secrets: BTreeMap<String, Value>,
    /// What its size gives its database.
    pub size: Size,
}

impl Content {
    pub async fn read(write: &mut impl Write, vault: &Vault, project: &ProjectRef) -> Result<Self> {
        let row = sqlx::query!(
            "SELECT name, release, size_cpu_millis, size_memory_mib, size_disk_mib, size_connections FROM projects WHERE ref = $1",
            project.as_str()
        )
        .fetch_one(write.connection().await?)
        .await?;
        let stored = secrets::all(write, vault, project).await?;
        let (all, new_secrets) =
            ProjectSecrets::completed(project.as_str(), stored).map_err(Error::internal)?;
        let newest = settings::newest(write.connection().await?, vault, project).await?;
        Ok(Self {
            name: row.name,
            release: row.release,
            secrets: all,
            new_secrets,
            settings: newest.settings,
            settings_version: newest.version,
            function_secrets: function_secrets::all(write, vault, project).await?,
            size: Size {
                cpu_millis: row.size_cpu_millis.unsigned_abs(),
                memory_mib: row.size_memory_mib.unsigned_abs(),
                disk_mib: row.size_disk_mib.unsigned_abs(),
                connections: row.size_connections.unsigned_abs(),
            },
        })
    }

    /// The project's release. An operator may have removed one that projects still have.
    pub fn release<'a>(&self, releases: &'a Releases) -> Result<&'a Release> {
        releases
            .get(&self.release)
            .ok_or_else(|| Error::internal(format!("stack release {} is not known any more", self.release)))
    }

    /// The specification with this release.
    pub fn render(&self, release: &Release, project: &ProjectRef) -> Result<StackSpec> {
        let open = |(name, value): (&String, &Value)| (name.clone(), value.text.as_str().to_owned());
        let function_secrets = self.function_secrets.iter().map(open).collect();
        let settings = ProjectSettings { function_secrets, size: self.size, ..self.settings.clone() };
        let input = ProjectInput {
            project_ref: project.as_str(),
            project_name: &self.name,
            secrets: &self.secrets,
            settings: &settings,
        };
        render(release, &input).map_err(Error::internal)
    }

    /// Seals the secrets that the project has not got yet.
    pub fn seal_new_secrets(&self, vault: &Vault, project: &ProjectRef) -> Result<SealedSecrets> {
        let new = self.secrets.iter().filter(|(name, _)| self.new_secrets.contains(name));
        secrets::seal_some(vault, project, new)
    }
}

/// What a size gives, as releases take it.
pub fn given(size: &ProjectSize) -> Size {
    // The columns are positive.
    Size {
        cpu_millis: size.cpu_millis.unsigned_abs(),
        memory_mib: size.memory_mib.unsigned_abs(),
        disk_mib: size.disk_mib.unsigned_abs(),
        connections: size.connections.unsigned_abs(),
    }
}

/// Services whose container the agent makes anew, makes for the first time, or removes, in the order of their names. Files
/// that change in a running container do not count.
pub fn restarted(old: &StackSpec, new: &StackSpec) -> Vec<String> {
    let of = |spec: &StackSpec| -> BTreeMap<String, ServiceSpec> {
        spec.services.iter().map(|service| (service.name.clone(), without_reloads(service))).collect()
    };
    let old = of(old);
    let new = of(new);
    let mut names: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| old.get(name) != new.get(name));
    names
}

fn without_reloads(service: &ServiceSpec) -> ServiceSpec {
    let mut service = service.clone();
    for mount in &mut service.config_mounts {
        for file in mount.files.iter_mut().filter(|file| file.reload) {
            file.content.clear();
        }
    }
    service
}

#[cfg(test)]
mod tests {
    use super::*;

    const REF: &str = "abcdefghijklmnopqrst";

    fn content() -> Content {
        Content {
            name: "Shop".to_owned(),
            release: "supabase-2025.12-3".to_owned(),
            secrets: ProjectSecrets::generate(REF).unwrap(),
            new_secrets: Vec::new(),
            settings: ProjectSettings::default(),
            settings_version: 0,
            function_secrets: BTreeMap::new(),
            size: Size::default(),
        }
    }

    /// Services that restart after a change, by release.
    fn after(release: &str, change: impl FnOnce(&mut Content)) -> Vec<String> {
        let releases = Releases::embedded().unwrap();
        let release = releases.get(release).unwrap();
        let mut content = content();
        let old = content.render(release, &REF.parse().unwrap()).unwrap();
        change(&mut content);
        restarted(&old, &content.render(release, &REF.parse().unwrap()).unwrap())
    }

    #[test]
    fn a_change_restarts_only_the_services_that_read_it() {
        let official = "supabase-2025.12-3";
        assert_eq!(after(official, |_| {}), [""; 0]);
        assert_eq!(after(official, |it| it.settings.site_url = "https://a.example".to_owned()), ["auth"]);
        assert_eq!(
            after(official, |it| it.settings.smtp =
                Some(supalove_stack::Smtp { host: "mail.example.com".to_owned(), ..Default::default() })),
            ["auth"]
        );
        assert_eq!(after(official, |it| it.settings.db_max_rows = 7), ["api"]);
        assert_eq!(after(official, |it| it.settings.upload_limit_bytes = 7), ["storage"]);
        let secret = |it: &mut Content| {
            let text = zeroize::Zeroizing::new("b".to_owned());
            it.function_secrets
                .insert("A".to_owned(), Value { text, kind: function_secrets::Kind::Variable });
        };
        for release in [official, "core-3"] {
            assert_eq!(after(release, secret), ["functions"], "{release}");
        }
        let off = |it: &mut Content| it.settings.disabled_services = ["storage".to_owned()].into();
        assert_eq!(after(official, off), ["gateway", "storage"]);
    }

    #[test]
    fn a_setting_without_a_service_restarts_nothing_and_a_renewed_certificate_neither() {
        assert_eq!(after("core-3", |it| it.settings.db_max_rows = 7), [""; 0]);
        let renew = |it: &mut Content| {
            it.secrets.renew_db_certificate(None, chrono::Utc::now()).unwrap();
        };
        assert_eq!(after("core-3", renew), [""; 0]);
    }

    #[test]
    fn another_size_restarts_the_database_alone() {
        let larger = |it: &mut Content| it.size = Size { memory_mib: 512, ..Size::default() };
        let connections = |it: &mut Content| it.size.connections = 90;
        for release in ["core-3", "supabase-2025.12-3"] {
            assert_eq!(after(release, larger), ["postgres"], "{release}");
            assert_eq!(after(release, connections), ["postgres"], "{release}");
        }
        let disk = |it: &mut Content| it.size.disk_mib = 4096;
        assert_eq!(after("core-3", disk), [""; 0], "a volume grows while its services run");
    }

    #[test]
    fn a_new_password_and_a_new_signing_secret_restart_what_holds_them() {
        let password = |it: &mut Content| {
            it.secrets.new_tenant_password().unwrap();
        };
        assert_eq!(after("core-3", password), ["functions", "postgres"]);
        let signing = |it: &mut Content| {
            it.secrets.new_jwt_secret(REF).unwrap();
        };
        assert_eq!(after("core-3", signing), ["functions", "gateway"]);
        let official = after("supabase-2025.12-3", signing);
        assert_eq!(official, ["api", "auth", "functions", "gateway", "realtime", "storage"]);
    }
}
