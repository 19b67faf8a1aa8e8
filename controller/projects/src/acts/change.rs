//! Changes of settings, of functions' secrets, of the database password and of the signing secret. Each becomes a new
//! generation of the same release, and restarts only the services whose containers differ. The content before it is sealed
//! once more, as the generation that follows if the change fails.

use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use supalove_core::{
    Mutation, Write as _,
    access::Call,
    error::{Error, Result},
    ids::{OperationId, ProjectRef},
    vault::{KeyId, Vault},
};
use supalove_failpoints::failpoint;
use supalove_proto::v1::{
    DeleteSecretsRequest, DeleteVariablesRequest, ErrorReason, ResetDatabasePasswordRequest,
    RotateJwtSecretRequest, SetSecretsRequest, SetVariablesRequest, UpdateProjectSettingsRequest,
};
use supalove_stack::Release;

use super::{
    Acts,
    lifecycle::{TRIES, check_organization, hints, overtake},
    transitions::Act,
};
use crate::{
    content::{Content, restarted},
    secret_rules,
    settings::updated,
    store::{
        changes,
        events::{self, NewEvent},
        function_secrets::{self, Changes, Kind},
        inputs,
        operations::{self, NewOperation},
        secrets, settings,
        snapshot::{self, Snapshot},
    },
    types::{Desired, EventType, OperationKind, OperationState, ProjectState},
};

/// What a caller asks for.
#[derive(Clone, Copy)]
pub enum Asked<'a> {
    Settings(&'a UpdateProjectSettingsRequest),
    SetSecrets(&'a SetSecretsRequest),
    DeleteSecrets(&'a DeleteSecretsRequest),
    SetVariables(&'a SetVariablesRequest),
    DeleteVariables(&'a DeleteVariablesRequest),
    ResetDatabasePassword(&'a ResetDatabasePasswordRequest),
    RotateJwtSecret(&'a RotateJwtSecretRequest),
}

/// The result of a change.
#[derive(Debug, Default)]
pub struct Changed {
    /// `None` if there was nothing to change.
    pub operation: Option<OperationId>,
    /// Services that restart; not known of a repeated call.
    pub restarted: Vec<String>,
}

/// A decided change of content.
struct Plan {
    kind: OperationKind,
    /// As it is after the change.
    content: Content,
    inputs: Inputs,
    spec: Vec<u8>,
    return_spec: Vec<u8>,
    restarted: Vec<String>,
}

/// What the change writes besides the specification.
enum Inputs {
    Settings,
    FunctionSecrets(Changes),
    /// Names of the platform's secrets.
    Secrets(&'static [&'static str]),
}

impl Asked<'_> {
    fn kind(self) -> OperationKind {
        match self {
            Self::Settings(_) => OperationKind::UpdateSettings,
            Self::SetSecrets(_)
            | Self::DeleteSecrets(_)
            | Self::SetVariables(_)
            | Self::DeleteVariables(_) => OperationKind::ChangeSecrets,
            Self::ResetDatabasePassword(_) => OperationKind::ResetDatabasePassword,
            Self::RotateJwtSecret(_) => OperationKind::RotateJwtSecret,
        }
    }

    fn request_id(self) -> String {
        match self {
            Self::Settings(body) => &body.request_id,
            Self::SetSecrets(body) => &body.request_id,
            Self::DeleteSecrets(body) => &body.request_id,
            Self::SetVariables(body) => &body.request_id,
            Self::DeleteVariables(body) => &body.request_id,
            Self::ResetDatabasePassword(body) => &body.request_id,
            Self::RotateJwtSecret(body) => &body.request_id,
        }
        .clone()
    }

    /// The request as its digest may be stored, the form of now first. While one master key replaces another, a call before may have
    /// been under the other one. Each is a message of one field: the mutation stores only its digest.
    fn forms(self, vault: &Vault) -> Vec<Vec<u8>> {
        let digest = |key| digest(&SHA256, &self.fingerprint(vault, key)).as_ref().to_vec();
        vault.fingerprint_keys().into_iter().map(digest).collect()
    }

    /// The request with fingerprints under a master key in the place of secrets: the digest of a short secret would tell it to a
    /// reader of the database.
    fn fingerprint(self, vault: &Vault, key: KeyId) -> Vec<u8> {
        let hide = |secret: &mut String| {
            if !secret.is_empty() {
                // The vault has the key, since it named it.
                *secret = vault.fingerprint(key, secret.as_bytes()).unwrap_or_default();
            }
        };
        match self {
            Self::Settings(body) => {
                let mut body = body.clone();
                if let Some(settings) = &mut body.settings {
                    settings.smtp.iter_mut().for_each(|smtp| hide(&mut smtp.password));
                    settings.oauth_providers.iter_mut().for_each(|one| hide(&mut one.client_secret));
                }
                body.encode_to_vec()
            }
            Self::SetSecrets(body) => {
                let mut body = body.clone();
                body.secrets.iter_mut().for_each(|one| hide(&mut one.value));
                body.encode_to_vec()
            }
            Self::DeleteSecrets(body) => body.encode_to_vec(),
            Self::SetVariables(body) => body.encode_to_vec(),
            Self::DeleteVariables(body) => body.encode_to_vec(),
            Self::ResetDatabasePassword(body) => body.encode_to_vec(),
            Self::RotateJwtSecret(body) => body.encode_to_vec(),
        }
    }

    /// Changes the content; `None` if that would change nothing.
    fn apply(self, content: &mut Content, release: &Release, project: &ProjectRef) -> Result<Option<Inputs>> {
        match self {
            Self::Settings(body) => {
                let etag = content.settings_version.to_string();
                if !body.etag.is_empty() && body.etag != etag {
                    return Err(Error::Changed("settings"));
                }
                let new =
                    updated(&content.settings, body.settings.as_ref(), body.update_mask.as_ref(), release)?;
                if new == content.settings {
                    return Ok(None);
                }
                content.settings = new;
                Ok(Some(Inputs::Settings))
            }
            Self::SetSecrets(body) => {
                let asked = body.secrets.iter().map(|one| (one.name.as_str(), one.value.as_str()));
                change_secrets(content, Kind::Secret, secret_rules::to_set(Kind::Secret, asked)?)
            }
            Self::DeleteSecrets(body) => {
                change_secrets(content, Kind::Secret, secret_rules::to_delete(&body.names)?)
            }
            Self::SetVariables(body) => {
                let asked = body.variables.iter().map(|one| (one.name.as_str(), one.value.as_str()));
                change_secrets(content, Kind::Variable, secret_rules::to_set(Kind::Variable, asked)?)
            }
            Self::DeleteVariables(body) => {
                change_secrets(content, Kind::Variable, secret_rules::to_delete(&body.names)?)
            }
            Self::ResetDatabasePassword(_) => {
                if !release.takes_new_passwords() {
                    return Err(Error::FailedPrecondition {
                        reason: ErrorReason::ReleaseTooOld,
                        message: format!(
                            "a database of release {} takes a password only at its first start; upgrade the project first",
                            release.name()
                        ),
                    });
                }
                let changed = content.secrets.new_tenant_password().map_err(Error::internal)?;
                Ok(Some(Inputs::Secrets(changed)))
            }
            Self::RotateJwtSecret(body) => {
                if !body.confirm.is_empty() && body.confirm != project.as_str() {
                    return Err(Error::field(
                        "confirm",
                        "must be the project's ref, or empty to see what would stop working",
                    ));
                }
                let changed = content.secrets.new_jwt_secret(project.as_str()).map_err(Error::internal)?;
                Ok(Some(Inputs::Secrets(changed)))
            }
        }
    }
}

fn change_secrets(content: &mut Content, kind: Kind, mut changes: Changes) -> Result<Option<Inputs>> {
    secret_rules::merge(kind, &mut content.function_secrets, &mut changes)?;
    Ok((!changes.is_empty()).then_some(Inputs::FunctionSecrets(changes)))
}

impl Acts {
    /// Starts a change of content. A repeated call returns the operation of the first one.
    pub async fn change(&self, call: &Call, project: &ProjectRef, asked: Asked<'_>) -> Result<Changed> {
        let forms = asked.forms(&self.core.vault);
        let mut mutation = self.core.mutation(call).once_in_forms(call, &asked.request_id(), &forms).await?;
        if let Some(done) = mutation.replayed() {
            return Ok(Changed { operation: done.operation, restarted: Vec::new() });
        }
        for _ in 0..TRIES {
            let found = snapshot::expect(mutation.connection().await?, project).await?;
            check_organization(call, &found)?;
            match self.try_change(mutation, call, &found, asked).await? {
                Ok(changed) => return Ok(changed),
                Err(again) => mutation = again,
            }
        }
        Err(Error::Aborted("the project changed at the same time"))
    }

    /// What a rotation of the signing secret would restart. Changes nothing.
    pub async fn preview_rotation(&self, call: &Call, project: &ProjectRef) -> Result<Vec<String>> {
        let mut mutation = self.core.mutation(call);
        let found = snapshot::expect(mutation.connection().await?, project).await?;
        check(&found)?;
        let body = RotateJwtSecretRequest::default();
        let plan = self.plan_change(&mut mutation, &found, Asked::RotateJwtSecret(&body)).await?;
        mutation.roll_back();
        Ok(plan.map(|plan| plan.restarted).unwrap_or_default())
    }

    async fn try_change(
        &self,
        mut mutation: Mutation,
        call: &Call,
        found: &Snapshot,
        asked: Asked<'_>,
    ) -> Result<Result<Changed, Mutation>> {
        check(found)?;
        let project = &found.project;
        let Some(plan) = self.plan_change(&mut mutation, found, asked).await? else {
            mutation.commit(project.as_str(), []).await?;
            return Ok(Ok(Changed::default()));
        };
        let Some(operation) = self.write_change(&mut mutation, call, found, &plan).await? else {
            mutation.roll_back();
            return Ok(Err(mutation));
        };
        mutation.starts(operation);
        mutation.commit(project.as_str(), hints(found)).await?;
        failpoint!("controller.change.committed", project.as_str());
        Ok(Ok(Changed { operation: Some(operation), restarted: plan.restarted }))
    }

    async fn plan_change(
        &self,
        mutation: &mut Mutation,
        found: &Snapshot,
        asked: Asked<'_>,
    ) -> Result<Option<Plan>> {
        let vault = &self.core.vault;
        let project = &found.project;
        let mut content = Content::read(mutation, vault, project).await?;
        let release = content.release(&self.releases)?;
        let Some(inputs) = asked.apply(&mut content, release, project)? else { return Ok(None) };
        let new = content.render(release, project)?;
        let (generation, sealed) =
            secrets::newest_spec(mutation.connection().await?, project, found.generation).await?;
        let old = secrets::open_spec(vault, project, generation, &sealed)?;
        let next = found.generation + 1;
        Ok(Some(Plan {
            kind: asked.kind(),
            // Nothing of a stopped project runs.
            restarted: if is_on_its_node(found) { restarted(&old, &new) } else { Vec::new() },
            spec: secrets::seal_spec(vault, project, next, &new)?,
            return_spec: secrets::seal_spec(vault, project, next + 1, &old)?,
            content,
            inputs,
        }))
    }

    /// Writes a plan; returns `None` if the project changed meanwhile.
    async fn write_change(
        &self,
        write: &mut Mutation,
        call: &Call,
        found: &Snapshot,
        plan: &Plan,
    ) -> Result<Option<OperationId>> {
        let project = &found.project;
        let generation = found.generation + 1;
        let waits = waits_for_compute(found);
        let (state, reason) =
            if waits { (found.state, found.state_reason.as_str()) } else { (plan.kind.state(), "") };
        if !write_desired(write, found, state, reason).await? {
            return Ok(None);
        }
        failpoint!("controller.change.desired_written", project.as_str());
        self.write_inputs(write, project, generation, plan).await?;
        secrets::insert(write, project, &plan.content.seal_new_secrets(&self.core.vault, project)?).await?;
        secrets::insert_spec(write, project, generation, &plan.spec).await?;
        failpoint!("controller.change.inputs_written", project.as_str());
        overtake(write, found, plan.kind).await?;
        let operation = OperationId::generate();
        let message = match plan.restarted.as_slice() {
            [] if waits => "nothing runs; the next start brings it".to_owned(),
            [] => "no service restarts".to_owned(),
            names => format!("restarting {}", names.join(", ")),
        };
        let new = NewOperation {
            id: operation,
            project,
            kind: plan.kind,
            generation,
            by: call.principal()?.user,
            time: Some(plan.kind.time(&self.core.times)),
            status_message: &message,
        };
        operations::insert(write, &new).await?;
        let what = plan.kind.as_sql().to_lowercase().replace('_', " ");
        let event = NewEvent::new(EventType::OperationStarted, format!("{what}: {message}"));
        events::append(write, project, &event, Some(operation)).await?;
        if waits {
            // No agent will report it: nothing of the project reaches its node before the next start.
            inputs::keep_newest(write, project, plan.kind).await?;
            operations::end(write, operation, OperationState::Succeeded, None).await?;
            let event = NewEvent::new(EventType::OperationSucceeded, format!("{what}: done"));
            events::append(write, project, &event, Some(operation)).await?;
            return Ok(Some(operation));
        }
        operations::set_red_before(write, operation, &red_and_untouched(found, &plan.restarted)).await?;
        let change = changes::Change {
            operation,
            from: plan.content.release.clone(),
            to: plan.content.release.clone(),
            state_before: found.state,
            needs_before: found.needs,
            needs_after: found.needs,
            size_before: found.size.clone(),
            size_after: found.size.name.clone(),
            return_generation: generation + 1,
            return_spec: plan.return_spec.clone(),
        };
        changes::insert(write, project, &change).await?;
        failpoint!("controller.change.written", project.as_str());
        Ok(Some(operation))
    }

    async fn write_inputs(
        &self,
        write: &mut Mutation,
        project: &ProjectRef,
        version: i64,
        plan: &Plan,
    ) -> Result<()> {
        let vault = &self.core.vault;
        match &plan.inputs {
            Inputs::Settings => {
                settings::insert(write, vault, project, version, &plan.content.settings).await
            }
            Inputs::FunctionSecrets(changes) => {
                function_secrets::insert(write, vault, project, version, changes).await
            }
            Inputs::Secrets(names) => {
                let pairs = plan.content.secrets.iter().filter(|(name, _)| names.contains(name));
                secrets::add_version(write, vault, project, version, pairs).await
            }
        }
    }
}

fn check(found: &Snapshot) -> Result<()> {
    Act::Change.check(found.state, found.operation.as_ref().map(|open| open.kind))?;
    if found.placement.is_none() {
        return Err(Error::FailedPrecondition {
            reason: ErrorReason::NotPlaced,
            message: "the project waits for capacity on a node; cancel its operation or delete it".to_owned(),
        });
    }
    Ok(())
}

/// True if the project runs, so that a change restarts something.
fn is_on_its_node(project: &Snapshot) -> bool {
    project.desired == Desired::Running && !waits_for_compute(project)
}

/// True if the project should run and has neither cpu nor memory on its node, because a start of it found none in time: until the
/// next start nothing of it reaches the node.
pub(super) fn waits_for_compute(project: &Snapshot) -> bool {
    project.desired == Desired::Running && project.placement.is_some_and(|placement| !placement.holds_compute)
}

/// Services that are not ready and that a change does not touch. It ends without them.
pub(super) fn red_and_untouched(project: &Snapshot, restarted: &[String]) -> Vec<String> {
    let red = project.services.iter().filter(|one| one.state != "HEALTHY").map(|one| one.name.clone());
    red.filter(|name| !restarted.contains(name)).collect()
}

/// Writes the new desired state; false if the project changed meanwhile.
async fn write_desired(
    write: &mut Mutation,
    project: &Snapshot,
    state: ProjectState,
    reason: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE projects SET state = $3, state_reason = $4, generation = generation + 1, revision = revision + 1
         WHERE ref = $1 AND revision = $2",
        project.project.as_str(),
        project.revision,
        state.as_sql(),
        reason,
    )
    .execute(write.connection().await?)
    .await?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use supalove_proto::v1::SecretValue;

    use super::*;

    #[test]
    fn a_repeated_request_is_known_under_the_master_key_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        fs::write(&old, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        fs::write(&new, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap();
        let secret = SecretValue { name: "A".into(), value: "short".into() };
        let body = SetSecretsRequest { secrets: vec![secret], ..Default::default() };
        let asked = Asked::SetSecrets(&body);
        let before = asked.forms(&Vault::from_file(&old).unwrap());
        let now = asked.forms(&Vault::from_files(&new, Some(&old)).unwrap());
        assert_eq!((before.len(), now.len()), (1, 2));
        assert!(now[0] != before[0] && now[1] == before[0]);
        let other = SetSecretsRequest::default();
        assert!(!Asked::SetSecrets(&other).forms(&Vault::from_file(&old).unwrap()).contains(&before[0]));
    }
}
