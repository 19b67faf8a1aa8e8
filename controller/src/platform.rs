//! `supalove.v1.PlatformService`: the control plane itself. For the operator: the call layer has let nobody else through.

use std::sync::Arc;

use supalove_core::{
    Core, Room,
    access::{Call, Permission::OperatePlatform, Rule, Scope::OperatorOnly},
    consistency::{Checker, Difference},
    error::Error,
    ids::InvalidId,
    jobs::{self, JobStatus, Replicas, Rhythm, State},
    mail, restores,
    vault::{
        columns::SealedColumn,
        keys::{KeyState, Known},
        rotation,
    },
    wire::{proto_duration, timestamp},
};
use supalove_proto::v1::{
    self as pb, AnsweringReplica, CheckConsistencyRequest, CheckConsistencyResponse, ConfirmRestoreRequest,
    ConfirmRestoreResponse, GetVaultStatusRequest, GetVaultStatusResponse, Job, JobReplicas, JobRhythm,
    JobState, LaggingReplica, ListJobsRequest, ListJobsResponse, MasterKey, MasterKeyState,
    SendTestMailRequest, SendTestMailResponse,
    platform_service_server::{PlatformService, PlatformServiceServer},
};
use tonic::{Request, Response, Status};

/// Rows of the platform service.
pub const RULES: &[Rule] = &[
    Rule::read("/supalove.v1.PlatformService/ListJobs", OperatorOnly, OperatePlatform),
    Rule::write("/supalove.v1.PlatformService/ConfirmRestore", OperatorOnly, OperatePlatform),
    Rule::read("/supalove.v1.PlatformService/CheckConsistency", OperatorOnly, OperatePlatform),
    Rule::write("/supalove.v1.PlatformService/SendTestMail", OperatorOnly, OperatePlatform),
    Rule::read("/supalove.v1.PlatformService/GetVaultStatus", OperatorOnly, OperatePlatform),
];

/// What the server mounts, with the checks of the other rooms.
pub fn room(core: &Core, rooms: &mut [Room]) -> Room {
    let live = rooms.iter_mut().flat_map(|room| room.checks.drain(..)).collect();
    let checker = Arc::new(Checker::new(core.db.clone(), crate::row_checks(), live));
    let columns = crate::sealed_columns();
    let [follow, rotate] = rotation::jobs(core, &columns);
    Room::new("platform", RULES)
        .service(PlatformServiceServer::new(PlatformApi {
            core: core.clone(),
            checker,
            columns: columns.into(),
        }))
        .job(follow)
        .job(rotate)
}

/// The service.
#[derive(Clone)]
struct PlatformApi {
    core: Core,
    checker: Arc<Checker>,
    columns: Arc<[SealedColumn]>,
}

#[tonic::async_trait]
impl PlatformService for PlatformApi {
    async fn list_jobs(
        &self,
        _request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let jobs = jobs::list(&self.core).await?.into_iter().map(job).collect();
        let answering_replica = Some(AnsweringReplica {
            controller_id: self.core.controller.to_string(),
            connection_panics: self.core.tasks.connection_panics(),
            password_hashings: self.core.password_hashings.get(),
        });
        Ok(Response::new(ListJobsResponse { jobs, answering_replica }))
    }

    async fn confirm_restore(
        &self,
        request: Request<ConfirmRestoreRequest>,
    ) -> Result<Response<ConfirmRestoreResponse>, Status> {
        let call = Call::from_request(&request)?;
        let named = match request.get_ref().restore_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|error: InvalidId| Error::field("restore_id", error.to_string()))?),
        };
        let mut mutation = self.core.mutation(&call);
        let detail = restores::confirm(&mut mutation, named).await?.unwrap_or_default();
        mutation.commit("platform", []).await?;
        Ok(Response::new(ConfirmRestoreResponse { detail }))
    }

    async fn check_consistency(
        &self,
        _request: Request<CheckConsistencyRequest>,
    ) -> Result<Response<CheckConsistencyResponse>, Status> {
        let report = self.checker.run().await?;
        Ok(Response::new(CheckConsistencyResponse {
            differences: report.compared.differences.into_iter().map(difference).collect(),
            not_compared: report.compared.not_compared,
            in_flight: u32::try_from(report.in_flight).unwrap_or(u32::MAX),
            nodes: report.compared.nodes,
        }))
    }

    async fn send_test_mail(
        &self,
        request: Request<SendTestMailRequest>,
    ) -> Result<Response<SendTestMailResponse>, Status> {
        let call = Call::from_request(&request)?;
        let mutation = self.core.mutation(&call);
        let sent = mail::send_test(&self.core, &request.get_ref().to).await?;
        mutation.commit("platform", []).await?;
        Ok(Response::new(SendTestMailResponse { message_id: sent.message_id, server_answer: sent.said }))
    }

    async fn get_vault_status(
        &self,
        _request: Request<GetVaultStatusRequest>,
    ) -> Result<Response<GetVaultStatusResponse>, Status> {
        let status = rotation::status(&self.core, &self.columns).await?;
        let waits_for = status.waits_for.into_iter();
        Ok(Response::new(GetVaultStatusResponse {
            keys: status.keys.into_iter().map(master_key).collect(),
            waits_for: waits_for
                .map(|(id, address)| LaggingReplica { controller_id: id.to_string(), address })
                .collect(),
        }))
    }
}

fn master_key((key, values): (Known, i64)) -> MasterKey {
    let state = match key.state {
        KeyState::Next => MasterKeyState::Next,
        KeyState::Current => MasterKeyState::Current,
        KeyState::Previous => MasterKeyState::Previous,
        KeyState::Retired => MasterKeyState::Retired,
    };
    MasterKey { id: key.id.to_string(), state: state.into(), sealed_values: values }
}

fn difference(difference: Difference) -> pb::Difference {
    let Difference { check, object, expected, found } = difference;
    pb::Difference { check, object, expected, found }
}

fn job(status: JobStatus) -> Job {
    let state = match status.state {
        State::Ok => JobState::Ok,
        State::Failing => JobState::Failing,
        State::NotYetRun => JobState::NotYetRun,
        State::Gone => JobState::Gone,
    };
    let rhythm = status.schedule.as_ref().map(|schedule| match schedule.rhythm {
        Rhythm::Every(_) => JobRhythm::Every,
        Rhythm::Woken(..) => JobRhythm::Woken,
        Rhythm::Always => JobRhythm::Always,
    });
    let replicas = status.schedule.as_ref().map(|schedule| match schedule.replicas {
        Replicas::Each => JobReplicas::Each,
        Replicas::One => JobReplicas::One,
    });
    Job {
        name: status.name,
        controller_id: status.controller.map(|id| id.to_string()).unwrap_or_default(),
        state: state.into(),
        rhythm: rhythm.unwrap_or_default().into(),
        period: status.schedule.map(|schedule| proto_duration(schedule.period)),
        replicas: replicas.unwrap_or_default().into(),
        overdue: status.overdue,
        last_success_time: status.last.success.map(timestamp),
        last_failure_time: status.last.failure.map(timestamp),
        last_error: status.last.error,
    }
}
