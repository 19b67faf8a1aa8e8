//! `platform outdated`: projects of all organizations whose release has known holes, for the operator.

use supalove_proto::v1::{
    ListOutdatedProjectsRequest, ListOutdatedProjectsResponse, OutdatedProject,
    project_service_client::ProjectServiceClient,
};

use super::Context;
use crate::{error::Error, table};

/// Page size.
const PAGE: i32 = 100;

pub async fn list(context: &Context) -> Result<(), Error> {
    let mut all = ListOutdatedProjectsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListOutdatedProjectsRequest { page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ProjectServiceClient::new(channel).list_outdated_projects(request).await
            })
            .await?;
        all.projects.extend(page.projects);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListOutdatedProjectsResponse", &all, |all| {
        let rows = all.projects.iter().map(row).collect();
        table::rows(
            ["REF", "NAME", "ORGANIZATION", "STATE", "RELEASE", "UPGRADE TO", "HOLES"],
            rows,
            "no project runs a release with known holes",
        )
    })
}

fn row(project: &OutdatedProject) -> [String; 7] {
    let holes: Vec<&str> = project.known_holes.iter().map(|hole| hole.id.as_str()).collect();
    [
        project.project_ref.clone(),
        project.name.clone(),
        project.organization.clone(),
        table::project_state(project.state()).into(),
        project.release.clone(),
        project.upgrade_to.clone(),
        holes.join(", "),
    ]
}
