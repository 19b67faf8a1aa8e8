//! The fake's leftovers.

use supalove_proto::v1::{leftover_service_server::LeftoverService, *};
use tonic::{Request, Response};

use super::{super::fake::Fake, Answer};

fn leftover(letter: char) -> Leftover {
    Leftover {
        node_id: "nod_1".into(),
        project_ref: letter.to_string().repeat(20),
        generation: 3,
        containers: vec!["postgres".into(), "gateway".into()],
        volumes: vec!["db_data".into()],
        find_time: Some(prost_types::Timestamp { seconds: 60, nanos: 0 }),
        ..Leftover::default()
    }
}

#[tonic::async_trait]
impl LeftoverService for Fake {
    async fn list_leftovers(&self, request: Request<ListLeftoversRequest>) -> Answer<ListLeftoversResponse> {
        let ListLeftoversRequest { node_id, page_token, .. } = request.get_ref().clone();
        self.enter(&request, "ListLeftovers", &format!("{node_id} {page_token}")).await?;
        let waits = Leftover {
            project_state: ProjectState::ComingUp.into(),
            adoptable: true,
            not_deletable_reason: "it may be its only data".into(),
            ..leftover('a')
        };
        let unknown = Leftover {
            deletable: true,
            not_adoptable_reason: "no such\u{1b}[2J project".into(),
            ..leftover('b')
        };
        let refused = Leftover {
            deletable: true,
            delete_request_time: Some(prost_types::Timestamp { seconds: 120, nanos: 0 }),
            delete_error: "the disk is full".into(),
            ..leftover('c')
        };
        let (leftovers, next) = match page_token.as_str() {
            "" => (vec![waits, unknown], "2"),
            _ => (vec![refused], ""),
        };
        Ok(Response::new(ListLeftoversResponse { leftovers, next_page_token: next.into() }))
    }

    async fn adopt_leftover(&self, request: Request<AdoptLeftoverRequest>) -> Answer<AdoptLeftoverResponse> {
        let AdoptLeftoverRequest { node_id, project_ref } = request.get_ref().clone();
        self.enter(&request, "AdoptLeftover", &format!("{node_id} {project_ref}")).await?;
        let project = Project {
            r#ref: project_ref,
            name: "shop".into(),
            node_name: "host-7".into(),
            ..Project::default()
        };
        Ok(Response::new(AdoptLeftoverResponse { project: Some(project) }))
    }

    async fn delete_leftover(
        &self,
        request: Request<DeleteLeftoverRequest>,
    ) -> Answer<DeleteLeftoverResponse> {
        let DeleteLeftoverRequest { node_id, project_ref } = request.get_ref().clone();
        self.enter(&request, "DeleteLeftover", &format!("{node_id} {project_ref}")).await?;
        let leftover = Leftover { project_ref, ..leftover('b') };
        Ok(Response::new(DeleteLeftoverResponse { leftover: Some(leftover) }))
    }
}
