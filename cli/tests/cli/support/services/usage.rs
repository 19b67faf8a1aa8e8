//! The fake's usage.

use supalove_proto::v1::{usage_service_server::UsageService, *};
use tonic::{Request, Response};

use super::{super::fake::Fake, Answer};

fn time(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

fn current() -> CurrentUsage {
    CurrentUsage { time: Some(time(60)), cpu_millis: 1250, memory_bytes: 512 << 20, ..Default::default() }
}

fn month() -> UsageTotals {
    UsageTotals { cpu_seconds: 7200.0, memory_gib_hours: 3.5, ..Default::default() }
}

fn usage() -> ProjectUsage {
    ProjectUsage {
        project_ref: "abcdefghijklmnopqrst".into(),
        name: "shop\u{1b}[2J".into(),
        current: Some(current()),
        volumes: Some(VolumeUsageBytes { database_bytes: 400 << 20, ..Default::default() }),
        month_to_date: Some(month()),
        sizes: vec![SizeAgainstPlan {
            entitlement: Entitlement::DatabaseSize.into(),
            used_bytes: 400 << 20,
            limit_bytes: 500 << 20,
            percent: 80.0,
            level: SizeLevel::Near.into(),
            at_limit: SizeAction::ReadOnly.into(),
        }],
    }
}

fn points(step: Option<prost_types::Duration>) -> Vec<UsagePoint> {
    let step = step.map_or(60, |step| step.seconds);
    let point = |index: i64, cpu_seconds| UsagePoint {
        time: Some(time(index * step)),
        cpu_seconds,
        memory_bytes: 1 << 20,
        ..Default::default()
    };
    vec![point(1, 8.0), point(3, 4.0)]
}

fn asked(name: &str, start: Option<prost_types::Timestamp>, step: Option<prost_types::Duration>) -> String {
    format!("{name} {} {}", start.is_some(), step.map_or(0, |step| step.seconds))
}

#[tonic::async_trait]
impl UsageService for Fake {
    async fn get_project_usage(
        &self,
        request: Request<GetProjectUsageRequest>,
    ) -> Answer<GetProjectUsageResponse> {
        self.enter(&request, "GetProjectUsage", &request.get_ref().project_ref).await?;
        Ok(Response::new(GetProjectUsageResponse { usage: Some(usage()), month_start_time: Some(time(0)) }))
    }

    async fn get_project_usage_series(
        &self,
        request: Request<GetProjectUsageSeriesRequest>,
    ) -> Answer<GetProjectUsageSeriesResponse> {
        let GetProjectUsageSeriesRequest { project_ref, start_time, step, .. } = request.get_ref().clone();
        self.enter(&request, "GetProjectUsageSeries", &asked(&project_ref, start_time, step)).await?;
        Ok(Response::new(GetProjectUsageSeriesResponse { points: points(step), step }))
    }

    async fn get_organization_usage(
        &self,
        request: Request<GetOrganizationUsageRequest>,
    ) -> Answer<GetOrganizationUsageResponse> {
        self.enter(&request, "GetOrganizationUsage", &request.get_ref().organization).await?;
        let gone = ProjectUsage { project_ref: "z".repeat(20), ..Default::default() };
        Ok(Response::new(GetOrganizationUsageResponse {
            projects: vec![usage(), gone],
            month_to_date: Some(month()),
            month_start_time: Some(time(0)),
            plan: "free".into(),
        }))
    }

    async fn get_organization_usage_series(
        &self,
        request: Request<GetOrganizationUsageSeriesRequest>,
    ) -> Answer<GetOrganizationUsageSeriesResponse> {
        let GetOrganizationUsageSeriesRequest { organization, start_time, step, .. } =
            request.get_ref().clone();
        self.enter(&request, "GetOrganizationUsageSeries", &asked(&organization, start_time, step)).await?;
        let series = ProjectUsageSeries { project_ref: usage().project_ref, points: points(step) };
        Ok(Response::new(GetOrganizationUsageSeriesResponse { projects: vec![series], step }))
    }

    async fn get_cluster_usage(
        &self,
        request: Request<GetClusterUsageRequest>,
    ) -> Answer<GetClusterUsageResponse> {
        self.enter(&request, "GetClusterUsage", &request.get_ref().cluster).await?;
        let node = NodeUsage {
            node_id: "nod_1".into(),
            name: "host-7".into(),
            current: Some(current()),
            month_to_date: Some(month()),
            last_record_time: Some(time(60)),
            dropped_records: 3,
            refused_reports: 2,
            refusal: "the node reports on a project that is not placed on it".into(),
            ..Default::default()
        };
        Ok(Response::new(GetClusterUsageResponse {
            nodes: vec![node],
            month_to_date: Some(month()),
            month_start_time: Some(time(0)),
        }))
    }

    async fn get_cluster_usage_series(
        &self,
        request: Request<GetClusterUsageSeriesRequest>,
    ) -> Answer<GetClusterUsageSeriesResponse> {
        let GetClusterUsageSeriesRequest { cluster, start_time, step, .. } = request.get_ref().clone();
        self.enter(&request, "GetClusterUsageSeries", &asked(&cluster, start_time, step)).await?;
        let node = NodeUsageSeries { node_id: "nod_1".into(), name: "host-7".into(), points: points(step) };
        Ok(Response::new(GetClusterUsageSeriesResponse { nodes: vec![node], step }))
    }
}
