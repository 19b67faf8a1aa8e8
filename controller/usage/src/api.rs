//! `supalove.v1.UsageService`.

use supalove_core::{
    Core,
    access::Call,
    error::{Error, Result},
    ids::OrganizationId,
    wire::{proto_duration, timestamp},
};
use supalove_fleet::clusters::access::{self, ClusterKey};
use supalove_plans::Holder;
use supalove_projects::ProjectKey;
use supalove_proto::v1::{
    GetClusterUsageRequest, GetClusterUsageResponse, GetClusterUsageSeriesRequest,
    GetClusterUsageSeriesResponse, GetOrganizationUsageRequest, GetOrganizationUsageResponse,
    GetOrganizationUsageSeriesRequest, GetOrganizationUsageSeriesResponse, GetProjectUsageRequest,
    GetProjectUsageResponse, GetProjectUsageSeriesRequest, GetProjectUsageSeriesResponse, NodeUsageSeries,
    ProjectUsageSeries, usage_service_server::UsageService,
};
use tonic::{Request, Response, Status};

use crate::{
    amounts::Amounts,
    span::{Span, month_start},
    store::{limits, read as store},
    wire,
};

/// The cluster of a request that names none.
const DEFAULT_CLUSTER: &str = "default";
/// Points of all series of one answer. Each has up to 18 fields, and an answer has at most `supalove_proto::items::ITEMS`.
const MOST_POINTS: i64 = 12_000;

#[derive(Debug, Clone)]
pub struct UsageApi {
    core: Core,
}

impl UsageApi {
    /// On the control database.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Returns the cluster that a request names: a shared one is the operator's to look into, a private one its organization's.
    async fn cluster(&self, call: &Call, name: &str) -> Result<ClusterKey> {
        let name = if name.is_empty() { DEFAULT_CLUSTER } else { name };
        access::allow(&self.core, call, name).await
    }
}

#[tonic::async_trait]
impl UsageService for UsageApi {
    async fn get_project_usage(
        &self,
        request: Request<GetProjectUsageRequest>,
    ) -> Result<Response<GetProjectUsageResponse>, Status> {
        let call = Call::from_request(&request)?;
        let key = self.core.access.allow::<ProjectKey>(&call, &request.get_ref().project_ref).await?;
        let db = &self.core.db;
        let month = month_start(store::now(db).await?);
        let held = supalove_plans::held(db, key.organization).await?;
        let refs = [key.project.to_string()];
        let levels = limits::levels(db, &refs, key.organization).await?;
        let found = store::projects(db, &refs, month, key.organization).await?;
        let usage = found.into_iter().next().map(|found| wire::project(found, &held, &levels));
        Ok(Response::new(GetProjectUsageResponse { usage, month_start_time: Some(timestamp(month)) }))
    }

    async fn get_project_usage_series(
        &self,
        request: Request<GetProjectUsageSeriesRequest>,
    ) -> Result<Response<GetProjectUsageSeriesResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let key = self.core.access.allow::<ProjectKey>(&call, &body.project_ref).await?;
        let db = &self.core.db;
        let span = Span::parse(body.start_time, body.end_time, body.step, store::now(db).await?)?;
        let found =
            store::series_of_projects(db, &[key.project.to_string()], &span, key.organization).await?;
        let points = found.iter().map(wire::point).collect();
        let step = Some(proto_duration(span.length()));
        Ok(Response::new(GetProjectUsageSeriesResponse { points, step }))
    }

    async fn get_organization_usage(
        &self,
        request: Request<GetOrganizationUsageRequest>,
    ) -> Result<Response<GetOrganizationUsageResponse>, Status> {
        let call = Call::from_request(&request)?;
        let holder = self.core.access.allow::<Holder>(&call, &request.get_ref().organization).await?;
        let db = &self.core.db;
        let month = month_start(store::now(db).await?);
        let held = supalove_plans::held(db, holder.id).await?;
        let refs = store::projects_of(db, holder.id, month).await?;
        let levels = limits::levels(db, &refs, holder.id).await?;
        let found = store::projects(db, &refs, month, holder.id).await?;
        let mut all = Amounts::default();
        for one in &found {
            all.add(&one.usage.month);
        }
        Ok(Response::new(GetOrganizationUsageResponse {
            projects: found.into_iter().map(|one| wire::project(one, &held, &levels)).collect(),
            month_to_date: Some(wire::totals(&all)),
            month_start_time: Some(timestamp(month)),
            plan: held.plan,
        }))
    }

    async fn get_organization_usage_series(
        &self,
        request: Request<GetOrganizationUsageSeriesRequest>,
    ) -> Result<Response<GetOrganizationUsageSeriesResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let holder = self.core.access.allow::<Holder>(&call, &body.organization).await?;
        let db = &self.core.db;
        let span = Span::parse(body.start_time, body.end_time, body.step, store::now(db).await?)?;
        let (span, projects) = self.series_of(holder.id, span, body.step.is_some()).await?;
        let step = Some(proto_duration(span.length()));
        Ok(Response::new(GetOrganizationUsageSeriesResponse { projects, step }))
    }

    async fn get_cluster_usage(
        &self,
        request: Request<GetClusterUsageRequest>,
    ) -> Result<Response<GetClusterUsageResponse>, Status> {
        let call = Call::from_request(&request)?;
        let cluster = self.cluster(&call, &request.get_ref().cluster).await?;
        let db = &self.core.db;
        let month = month_start(store::now(db).await?);
        let found = store::nodes(db, cluster.id, month).await?;
        let mut all = Amounts::default();
        for one in &found {
            all.add(&one.usage.month);
        }
        Ok(Response::new(GetClusterUsageResponse {
            nodes: found.into_iter().map(wire::node).collect(),
            month_to_date: Some(wire::totals(&all)),
            month_start_time: Some(timestamp(month)),
        }))
    }

    async fn get_cluster_usage_series(
        &self,
        request: Request<GetClusterUsageSeriesRequest>,
    ) -> Result<Response<GetClusterUsageSeriesResponse>, Status> {
        let call = Call::from_request(&request)?;
        let body = request.into_inner();
        let cluster = self.cluster(&call, &body.cluster).await?;
        let db = &self.core.db;
        let span = Span::parse(body.start_time, body.end_time, body.step, store::now(db).await?)?;
        let nodes = store::nodes_of(db, cluster.id).await?;
        let span = bounded(span, nodes.len(), body.step.is_some())?;
        let found = store::series_of_nodes(db, cluster.id, &span).await?;
        let series = nodes.into_iter().filter_map(|(node, name)| {
            let points: Vec<_> = found.iter().filter(|point| point.of == node).map(wire::point).collect();
            (!points.is_empty()).then_some(NodeUsageSeries { node_id: node.to_string(), name, points })
        });
        let step = Some(proto_duration(span.length()));
        Ok(Response::new(GetClusterUsageSeriesResponse { nodes: series.collect(), step }))
    }
}

impl UsageApi {
    /// The series of the projects that used something in an organization.
    async fn series_of(
        &self,
        organization: OrganizationId,
        span: Span,
        is_given: bool,
    ) -> Result<(Span, Vec<ProjectUsageSeries>)> {
        let refs = store::used_in(&self.core.db, organization, &span).await?;
        let span = bounded(span, refs.len(), is_given)?;
        let found = store::series_of_projects(&self.core.db, &refs, &span, organization).await?;
        let mut projects: Vec<ProjectUsageSeries> = Vec::new();
        for point in &found {
            let project_ref = point.of.to_string();
            if projects.last().is_none_or(|last| last.project_ref != project_ref) {
                projects.push(ProjectUsageSeries { project_ref, points: Vec::new() });
            }
            if let Some(last) = projects.last_mut() {
                last.points.push(wire::point(point));
            }
        }
        Ok((span, projects))
    }
}

/// The span, in steps with which an answer has not too many points: those of the request if it names them, else longer ones.
fn bounded(span: Span, series: usize, is_given: bool) -> Result<Span> {
    let points = span.steps().saturating_mul(i64::try_from(series).unwrap_or(i64::MAX));
    if points <= MOST_POINTS {
        return Ok(span);
    }
    match span.longer().filter(|_| !is_given) {
        Some(longer) => bounded(longer, series, is_given),
        None => Err(Error::field(
            "step",
            format!(
                "must be longer: {series} series of the span have more than {MOST_POINTS} such steps together"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_series_get_longer_steps_unless_the_caller_has_chosen_them() {
        let now = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let day = Span::parse(None, None, None, now).unwrap();
        let minutes = |series| bounded(day, series, false).unwrap().step.num_minutes();
        assert_eq!((minutes(40), minutes(42), minutes(400), minutes(1000)), (5, 60, 60, 1440));
        assert!(bounded(day, 10_000, false).is_err());
        assert!(bounded(day, 42, true).unwrap_err().to_string().contains("12000"));
    }
}
