//! Renews the certificates of the projects' databases: a new generation differs from the one before in the files that
//! change in a running container, and in nothing else, so the agent restarts nothing.

use std::sync::Arc;

use chrono::Utc;
use supalove_core::{
    Core, Write as _,
    error::{Error, Result},
    hints::Hint,
    jobs::{Job, Rhythm::Every},
};
use supalove_proto::node::v1::{ConfigFile, StackSpec};
use supalove_stack::Releases;

use crate::{
    content::Content,
    first_failure::FirstFailure,
    store::{
        certificates::{self, Certificate, Due},
        events::{self, NewEvent},
        secrets,
        snapshot::{self, Snapshot},
    },
    types::{Desired, EventType},
};

const JOB: &str = "projects.renew_certificates";
/// Maximum number of projects of one run; the rest follows in the next.
const BATCH: i64 = 100;

/// The job.
pub fn job(core: &Core, releases: &Arc<Releases>) -> Job {
    let core = core.for_work();
    let releases = releases.clone();
    Job::leased(JOB, Every(core.times.hinted_poll), move |_| {
        let (core, releases) = (core.clone(), releases.clone());
        async move { renew_due(&core, &releases).await }
    })
}

async fn renew_due(core: &Core, releases: &Releases) -> Result<()> {
    let mut failed = FirstFailure::default();
    for due in certificates::due(&core.db, BATCH).await? {
        failed.note(&due.project, renew(core, releases, &due).await);
    }
    failed.result()
}

/// Does nothing if the project changes at the same time: it is still due in the next run.
async fn renew(core: &Core, releases: &Releases, due: &Due) -> Result<()> {
    let project = &due.project;
    let mut write = core.system_write(JOB);
    let Some(found) = snapshot::read(write.connection().await?, project).await? else { return Ok(()) };
    if found.operation.is_some() || found.desired == Desired::Removed {
        return Ok(());
    }
    let mut content = Content::read(&mut write, &core.vault, project).await?;
    let changed =
        content.secrets.renew_db_certificate(due.host.as_deref(), Utc::now()).map_err(Error::internal)?;
    let rendered = content.render(content.release(releases)?, project)?;
    let (generation, sealed) =
        secrets::newest_spec(write.connection().await?, project, found.generation).await?;
    let old = secrets::open_spec(&core.vault, project, generation, &sealed)?;
    let Some(spec) = with_files_of(old, &rendered) else {
        // It returned to a release whose database has no TLS.
        certificates::delete(&mut write, project.as_str()).await?;
        return write.commit([]).await;
    };
    let newest = Certificate::from_secrets(&content.secrets)?;
    let next = found.generation + 1;
    if !next_generation(&mut write, &found).await? {
        return Ok(());
    }
    secrets::insert_spec(&mut write, project, next, &secrets::seal_spec(&core.vault, project, next, &spec)?)
        .await?;
    let pairs = content.secrets.iter().filter(|(name, _)| changed.contains(name));
    secrets::replace(&mut write, &core.vault, project, pairs).await?;
    certificates::put(&mut write, project, &newest).await?;
    let message = format!(
        "the database gets a new certificate, number {}, until {}",
        newest.serial,
        newest.ends_at.format("%Y-%m-%d")
    );
    let event = NewEvent::for_service(EventType::CertificateRenewed, "postgres", message);
    events::append(&mut write, project, &event, None).await?;
    let method = "/supalove.projects/renew_certificate";
    write.audit_outcome_in(found.organization, method, project.as_str(), "RENEWED");
    let node = found.placement.map(|placement| Hint::Node(placement.node));
    write.commit([Some(Hint::Project(project.clone())), node].into_iter().flatten()).await
}

/// False if the project changed meanwhile.
async fn next_generation(write: &mut supalove_core::SystemWrite, found: &Snapshot) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE projects SET generation = generation + 1, revision = revision + 1 WHERE ref = $1 AND revision = $2",
        found.project.as_str(),
        found.revision,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A specification with the content that another one has for the files that change in a running container. `None` if there
/// are none, or if the other lacks one.
fn with_files_of(mut spec: StackSpec, other: &StackSpec) -> Option<StackSpec> {
    let mut any = false;
    for service in &mut spec.services {
        for mount in &mut service.config_mounts {
            for file in mount.files.iter_mut().filter(|file| file.reload) {
                file.content.clone_from(&counterpart(other, &service.name, &mount.path, &file.path)?.content);
                any = true;
            }
        }
    }
    any.then_some(spec)
}

fn counterpart<'a>(spec: &'a StackSpec, service: &str, mount: &str, file: &str) -> Option<&'a ConfigFile> {
    let service = spec.services.iter().find(|one| one.name == service)?;
    let mount = service.config_mounts.iter().find(|one| one.path == mount)?;
    mount.files.iter().find(|one| one.path == file && one.reload)
}

#[cfg(test)]
mod tests {
    use supalove_stack::{ProjectInput, ProjectSecrets, ProjectSettings, render};

    use super::*;

    const REF: &str = "abcdefghijklmnopqrst";

    fn rendered(release: &str, secrets: &ProjectSecrets) -> StackSpec {
        let settings = ProjectSettings::default();
        let input = ProjectInput { project_ref: REF, project_name: "one", secrets, settings: &settings };
        render(Releases::embedded().unwrap().get(release).unwrap(), &input).unwrap()
    }

    #[test]
    fn a_renewal_changes_only_the_files_that_change_in_a_running_container() {
        let one = ProjectSecrets::generate(REF).unwrap();
        let two = ProjectSecrets::generate(REF).unwrap();
        for release in ["core-2", "core-3", "supabase-2025.12-2", "supabase-2025.12-3"] {
            let old = rendered(release, &one);
            let other = rendered(release, &two);
            let mut changed = with_files_of(old.clone(), &other).unwrap();
            assert_ne!(changed, old);
            for service in &mut changed.services {
                for mount in &mut service.config_mounts {
                    for file in mount.files.iter_mut().filter(|file| file.reload) {
                        let found = counterpart(&other, &service.name, &mount.path, &file.path).unwrap();
                        assert_eq!(file.content, found.content);
                        let before = counterpart(&old, &service.name, &mount.path, &file.path).unwrap();
                        file.content.clone_from(&before.content);
                    }
                }
            }
            assert_eq!(changed, old, "nothing else differs");
        }
        assert!(with_files_of(rendered("core", &one), &rendered("core", &two)).is_none());
    }
}
