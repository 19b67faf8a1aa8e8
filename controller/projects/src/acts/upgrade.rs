//! UpgradeProject: moves a project to another stack release. A new generation is rendered from that release with the
//! project's own secrets, settings, volumes, ports and place. The content before it is sealed once more, as the generation
//! that follows if the upgrade fails.

use std::collections::BTreeSet;

use supalove_core::{
    Mutation, Write as _,
    access::Call,
    error::{Error, Result},
    ids::{OperationId, ProjectRef},
};
use supalove_failpoints::failpoint;
use supalove_proto::{
    node::v1::StackSpec,
    v1::{ErrorReason, UpgradeProjectRequest},
};
use supalove_scheduler::Resources;
use supalove_stack::{Release, Releases};

use super::{
    Acts,
    create::needs,
    lifecycle::{TRIES, check_organization, hints, overtake},
    transitions::Act,
};
use crate::{
    capacity,
    content::Content,
    endpoints::{ServiceEndpoint, published},
    store::{
        certificates::{self, Certificate},
        changes::{self, Change},
        events::{self, NewEvent},
        operations::{self, NewOperation},
        secrets,
        snapshot::{self, Snapshot},
    },
    types::{EventType, OperationKind, ProjectState},
};

/// A decided upgrade.
struct Plan<'a> {
    release: &'a Release,
    from: String,
    needs: Resources,
    spec: Vec<u8>,
    return_spec: Vec<u8>,
    new_secrets: secrets::SealedSecrets,
    /// Of the project's database, if the release has TLS.
    certificate: Option<Certificate>,
}

impl Acts {
    /// Starts an upgrade and returns its operation. A repeated call returns the operation of the first one.
    pub async fn upgrade(
        &self,
        call: &Call,
        project: &ProjectRef,
        body: &UpgradeProjectRequest,
    ) -> Result<OperationId> {
        let mut mutation = self.core.mutation(call).once(call, &body.request_id, body).await?;
        if let Some(done) = mutation.replayed() {
            return done.operation.ok_or_else(|| Error::internal("an act without an operation"));
        }
        for _ in 0..TRIES {
            let found = snapshot::expect(mutation.connection().await?, project).await?;
            check_organization(call, &found)?;
            match self.try_upgrade(mutation, call, &found, &body.release).await? {
                Ok(operation) => return Ok(operation),
                Err(again) => mutation = again,
            }
        }
        Err(Error::Aborted("the project changed at the same time"))
    }

    async fn try_upgrade(
        &self,
        mut mutation: Mutation,
        call: &Call,
        found: &Snapshot,
        asked: &str,
    ) -> Result<Result<OperationId, Mutation>> {
        Act::Upgrade.check(found.state, found.operation.as_ref().map(|open| open.kind))?;
        if found.placement.is_none() {
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::NotPlaced,
                message: "the project waits for capacity on a node; delete it, and create it with the other release"
                    .to_owned(),
            });
        }
        let plan = self.plan_upgrade(&mut mutation, found, asked).await?;
        let Some(operation) = self.write_upgrade(&mut mutation, call, found, plan).await? else {
            mutation.roll_back();
            return Ok(Err(mutation));
        };
        mutation.starts(operation);
        mutation.commit(found.project.as_str(), hints(found)).await?;
        failpoint!("controller.upgrade.committed", found.project.as_str());
        Ok(Ok(operation))
    }

    async fn plan_upgrade(&self, mutation: &mut Mutation, found: &Snapshot, asked: &str) -> Result<Plan<'_>> {
        let vault = &self.core.vault;
        let project = &found.project;
        let content = Content::read(mutation, vault, project).await?;
        let release = choose(&self.releases, &content.release, asked)?;
        let spec = content.render(release, project)?;
        let (generation, sealed) =
            secrets::newest_spec(mutation.connection().await?, project, found.generation).await?;
        let old = secrets::open_spec(vault, project, generation, &sealed)?;
        compatible(&old, &spec)?;
        let certificate =
            release.has_database_tls().then(|| Certificate::from_secrets(&content.secrets)).transpose()?;
        Ok(Plan {
            release,
            certificate,
            new_secrets: content.seal_new_secrets(vault, project)?,
            needs: needs(release, &content.size)?,
            from: content.release,
            spec: secrets::seal_spec(vault, project, found.generation + 1, &spec)?,
            return_spec: secrets::seal_spec(vault, project, found.generation + 2, &old)?,
        })
    }

    /// Writes a plan; returns `None` if the project changed meanwhile.
    async fn write_upgrade(
        &self,
        write: &mut Mutation,
        call: &Call,
        found: &Snapshot,
        plan: Plan<'_>,
    ) -> Result<Option<OperationId>> {
        let project = &found.project;
        let needs = changes::during(found.needs, plan.needs);
        if !capacity::grow(write, found, needs).await? {
            return Err(Error::FailedPrecondition {
                reason: ErrorReason::NodeFull,
                message: format!(
                    "the project's node lacks the capacity that release {} needs in addition; stop or delete a project \
                     there",
                    plan.release.name()
                ),
            });
        }
        if !write_desired(write, found, plan.release.name(), needs).await? {
            return Ok(None);
        }
        secrets::insert(write, project, &plan.new_secrets).await?;
        secrets::insert_spec(write, project, found.generation + 1, &plan.spec).await?;
        match &plan.certificate {
            Some(newest) => certificates::put(write, project, newest).await?,
            None => certificates::delete(write, project.as_str()).await?,
        }
        overtake(write, found, OperationKind::Upgrade).await?;
        let operation = OperationId::generate();
        let message = format!("upgrading from {} to {}", plan.from, plan.release.name());
        let new = NewOperation {
            id: operation,
            project,
            kind: OperationKind::Upgrade,
            generation: found.generation + 1,
            by: call.principal()?.user,
            time: Some(OperationKind::Upgrade.time(&self.core.times)),
            status_message: &message,
        };
        operations::insert(write, &new).await?;
        let change = Change {
            operation,
            from: plan.from,
            to: plan.release.name().to_owned(),
            state_before: found.state,
            needs_before: found.needs,
            needs_after: plan.needs,
            size_before: found.size.clone(),
            size_after: found.size.name.clone(),
            return_generation: found.generation + 2,
            return_spec: plan.return_spec,
        };
        changes::insert(write, project, &change).await?;
        let event = NewEvent::new(EventType::OperationStarted, format!("upgrade project: {message}"));
        events::append(write, project, &event, Some(operation)).await?;
        failpoint!("controller.upgrade.written", project.as_str());
        Ok(Some(operation))
    }
}

/// Writes the new desired state; false if the project changed meanwhile.
async fn write_desired(
    write: &mut Mutation,
    project: &Snapshot,
    release: &str,
    needs: Resources,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE projects SET release = $3, state = $4, state_reason = '', generation = generation + 1,
             revision = revision + 1, cpu_millis = $5, memory_mib = $6, disk_mib = $7
         WHERE ref = $1 AND revision = $2",
        project.project.as_str(),
        project.revision,
        release,
        ProjectState::Upgrading.as_sql(),
        needs.cpu_millis,
        needs.memory_mib,
        needs.disk_mib,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Chooses the release to which a project moves: the one that was asked for, or the newest that accepts its own.
fn choose<'a>(releases: &'a Releases, from: &str, asked: &str) -> Result<&'a Release> {
    let refused = |reason, message| Err(Error::FailedPrecondition { reason, message });
    if asked == from {
        return refused(ErrorReason::ReleaseUnchanged, format!("the project has release {from} already"));
    }
    let offered = || {
        let names: Vec<&str> = releases.successors(from).map(Release::name).collect();
        match names.as_slice() {
            [] => "no release accepts it".to_owned(),
            names => format!("it can be upgraded to {}", names.join(", ")),
        }
    };
    let chosen = if asked.is_empty() { releases.newest_successor(from) } else { releases.get(asked) };
    match chosen {
        Some(release) if release.accepts(from) => Ok(release),
        Some(_) => refused(
            ErrorReason::UpgradeNotOffered,
            format!("release {asked} does not accept an upgrade from {from}; {}", offered()),
        ),
        None if asked.is_empty() => refused(
            ErrorReason::UpgradeNotOffered,
            format!("the project's release {from} has no successor: {}", offered()),
        ),
        None => Err(Error::field(
            "release",
            format!("{asked:?} is not known; known are {}", releases.names().collect::<Vec<_>>().join(", ")),
        )),
    }
}

/// Checks that nothing of the project would be lost: its volumes, its services and its addresses.
fn compatible(old: &StackSpec, new: &StackSpec) -> Result<()> {
    let problem = lost("volume", volumes(old), &volumes(new))
        .or_else(|| lost("service", services(old), &services(new)))
        .or_else(|| {
            (ports(old) != ports(new)).then(|| "publishes other ports than the project has".to_owned())
        });
    match problem {
        None => Ok(()),
        Some(problem) => Err(Error::FailedPrecondition {
            reason: ErrorReason::UpgradeIncompatible,
            message: format!("release {} {problem}", new.release),
        }),
    }
}

fn lost(what: &str, had: BTreeSet<&str>, has: &BTreeSet<&str>) -> Option<String> {
    had.into_iter().find(|one| !has.contains(one)).map(|one| format!("lacks the project's {what} {one}"))
}

fn volumes(spec: &StackSpec) -> BTreeSet<&str> {
    spec.volumes.iter().map(|volume| volume.name.as_str()).collect()
}

fn services(spec: &StackSpec) -> BTreeSet<&str> {
    spec.services.iter().map(|service| service.name.as_str()).collect()
}

fn ports(spec: &StackSpec) -> Vec<ServiceEndpoint> {
    let mut all = published(spec);
    all.sort_by_key(|one| (one.service.clone(), one.port_offset));
    all
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::{ServiceSpec, VolumeSpec};

    use super::*;

    fn spec(volumes: &[&str], services: &[&str]) -> StackSpec {
        let volume = |name: &&str| VolumeSpec { name: (*name).to_owned(), ..VolumeSpec::default() };
        let service = |name: &&str| ServiceSpec { name: (*name).to_owned(), ..ServiceSpec::default() };
        StackSpec {
            release: "new".to_owned(),
            volumes: volumes.iter().map(volume).collect(),
            services: services.iter().map(service).collect(),
        }
    }

    fn reason(refused: Error) -> ErrorReason {
        match refused {
            Error::FailedPrecondition { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_of_the_project_may_be_lost_and_more_may_come() {
        let old = spec(&["data"], &["postgres"]);
        compatible(&old, &spec(&["data", "more"], &["postgres", "auth"])).unwrap();
        for new in [spec(&[], &["postgres"]), spec(&["data"], &["auth"])] {
            let refused = compatible(&old, &new).unwrap_err();
            assert_eq!(reason(refused), ErrorReason::UpgradeIncompatible);
        }
    }

    #[test]
    fn the_release_is_the_one_that_was_asked_for_or_the_newest_that_accepts_the_old_one() {
        let releases = Releases::embedded().unwrap();
        assert_eq!(choose(&releases, "core", "").unwrap().name(), "core-3");
        assert_eq!(choose(&releases, "core", "core-2").unwrap().name(), "core-2");
        for (from, asked, expected) in [
            ("core", "core", ErrorReason::ReleaseUnchanged),
            ("core-2", "core", ErrorReason::UpgradeNotOffered),
            ("core-3", "", ErrorReason::UpgradeNotOffered),
            ("core", "supabase-2025.12-2", ErrorReason::UpgradeNotOffered),
        ] {
            assert_eq!(reason(choose(&releases, from, asked).unwrap_err()), expected, "{from} to {asked:?}");
        }
        assert!(matches!(choose(&releases, "core", "nonsense"), Err(Error::Invalid(_))));
    }
}
