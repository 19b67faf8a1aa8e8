//! Fuzz targets of a project's reports and of public requests: what is written is bounded and printable, what is
//! refused names a field.

use std::{sync::LazyLock, time::Duration};

use prost::Message;
use supalove_fuzz::{Samples, Verdict, bytes, text};
use supalove_proto::{
    node::v1::{ObservedService, ObservedStack, ServiceState, StackError, StackPhase},
    v1 as pb,
};

use crate::{
    api::parse_key,
    reconciler::judge::judge,
    secret_rules, settings,
    store::events::NewEvent,
    store::function_secrets::Kind,
    store::settings::Versioned,
    store::snapshot::{OpenOperation, PlacementRow, Snapshot},
    types::{Desired, OperationKind, OperationState, ProjectState},
    verdict::Verdict as Decision,
};
use supalove_core::{
    error::{Error, Result},
    ids::{ClusterId, JoinTokenId, NodeId, OperationId, OrganizationId, ProjectRef, SessionId, UserId},
    wire::{display_text, duration, page_size, parse_page_id, parse_page_token, request_id},
};
use supalove_plans::ProjectSize;
use supalove_scheduler::Resources;
use supalove_stack::{ProjectSettings, Release, Releases};

const REF: &str = "abcdefghijklmnopqrst";

fn project(state: ProjectState, desired: Desired, kind: Option<OperationKind>) -> Snapshot {
    let operation = kind.map(|kind| OpenOperation {
        id: OperationId::generate(),
        kind,
        state: OperationState::Running,
        generation: 3,
        status_message: String::new(),
        red_before: Vec::new(),
    });
    Snapshot {
        project: REF.parse().unwrap(),
        organization: OrganizationId::generate(),
        cluster: ClusterId::generate(),
        state,
        state_reason: String::new(),
        desired,
        desired_before_delete: None,
        generation: 3,
        revision: 1,
        needs: Resources { cpu_millis: 1, memory_mib: 1, disk_mib: 1 },
        size: ProjectSize {
            name: "nano".to_owned(),
            cpu_millis: 1,
            memory_mib: 1,
            disk_mib: 1,
            connections: 1,
        },
        services: Vec::new(),
        restriction: None,
        purge_at: None,
        undo_window: None,
        purge_due: false,
        node_silence: Duration::ZERO,
        placement: Some(PlacementRow { node: NodeId::generate(), slot: 0, holds_compute: true }),
        operation,
    }
}

fn report(phase: StackPhase) -> ObservedStack {
    let service = |name: &str, state: ServiceState| ObservedService {
        name: name.into(),
        state: state.into(),
        message: "exit code 1".into(),
        restarts: 2,
    };
    ObservedStack {
        project_ref: REF.into(),
        generation: 3,
        phase: phase.into(),
        services: vec![service("postgres", ServiceState::Healthy), service("gateway", ServiceState::Exited)],
        error: Some(StackError {
            reason: "SERVICE_EXITED".into(),
            message: "gateway ended".into(),
            service: "gateway".into(),
            log_tail: vec!["last words".into()],
            ..StackError::default()
        }),
        ..ObservedStack::default()
    }
}

#[test]
fn reports_of_agents() {
    let projects = [
        project(ProjectState::ComingUp, Desired::Running, Some(OperationKind::Create)),
        project(ProjectState::ActiveHealthy, Desired::Running, None),
        project(ProjectState::Pausing, Desired::Stopped, Some(OperationKind::Stop)),
        project(ProjectState::Upgrading, Desired::Running, Some(OperationKind::Upgrade)),
        project(ProjectState::GoingDown, Desired::Removed, Some(OperationKind::Delete)),
    ];
    let phases = [
        StackPhase::Converging,
        StackPhase::Healthy,
        StackPhase::Unhealthy,
        StackPhase::Stopped,
        StackPhase::Removed,
        StackPhase::Failed,
    ];
    let samples = Samples::new(phases.map(|phase| report(phase).encode_to_vec())).words([
        &b"\x1a\x00"[..],
        b"\x22\x00",
        b"\x10\x03",
        b"\x1b[2J",
        b"\0",
    ]);
    bytes("ObservedStack", &samples, |input| {
        let Ok(report) = ObservedStack::decode(input) else { return Verdict::Refused };
        let mut all = Verdict::Refused;
        for project in &projects {
            let decision = judge(project, &report);
            check(project, &report, &decision);
            if !decision.is_nothing() {
                all = Verdict::Accepted;
            }
        }
        all
    });
}

/// A report changes only the project that it names, and its texts are fit for rows and screens.
fn check(project: &Snapshot, report: &ObservedStack, decision: &Decision) {
    if report.generation != 3 {
        assert!(decision.is_nothing(), "a report on another generation");
    }
    assert!(!decision.remove || project.desired == Desired::Removed, "only a removal removes");
    assert!(!decision.free_compute || project.desired == Desired::Stopped);
    if let Some(end) = &decision.end {
        assert_eq!(Some(end.id), project.operation.as_ref().map(|operation| operation.id));
    }
    assert!(decision.events.len() <= 32, "a flood of events");
    let services = decision.services.iter().flatten();
    assert!(services.clone().count() <= 32, "a flood of services");
    let failures = decision.end.iter().filter_map(|end| end.failure.as_ref()).chain(&decision.trouble);
    let texts = failures
        .flat_map(|failure| {
            [&failure.reason, &failure.message, &failure.service].into_iter().chain(&failure.log_tail)
        })
        .chain(services.flat_map(|service| [&service.name, &service.message]))
        .chain(decision.state.iter().map(|(_, reason)| reason))
        .chain(
            decision
                .restriction
                .iter()
                .filter_map(|found| found.0.as_ref())
                .map(|restriction| &restriction.message),
        )
        .chain(&decision.status)
        .chain(decision.events.iter().map(|NewEvent { message, .. }| message));
    for text in texts {
        assert!(text.chars().count() <= 3 * 4096, "{} characters", text.chars().count());
        assert!(!text.chars().any(|one| one.is_control() && one != '\t'), "{text:?}");
    }
}

/// The error names the wrong field.
fn named(error: &Error) {
    match error {
        Error::Invalid(fields) => {
            assert!(
                !fields.is_empty()
                    && fields.iter().all(|field| !field.field.is_empty() && !field.description.is_empty())
            );
        }
        other => panic!("not a wrong field: {other:?}"),
    }
}

fn id<T: std::str::FromStr<Err = supalove_core::ids::InvalidId>>(field: &str, text: &str) -> Result<T> {
    text.parse().map_err(|error: supalove_core::ids::InvalidId| Error::field(field, error.to_string()))
}

/// The release with most services.
fn official() -> Release {
    static RELEASES: LazyLock<Releases> = LazyLock::new(|| Releases::embedded().unwrap());
    RELEASES.get("supabase-2025.12-3").unwrap().clone()
}

/// Runs the checks of the handlers that precede the database.
fn convert(which: u8, body: &[u8]) -> Option<Result<()>> {
    let day = Duration::from_hours(24);
    let window = Duration::from_hours(90 * 24);
    Some(match which % 12 {
        0 => {
            let r = pb::CreateProjectRequest::decode(body).ok()?;
            request_id(&r.request_id).and_then(|_| display_text("name", &r.name)).map(|name| {
                assert!(
                    name.chars().count() <= 80 && !name.contains(char::is_control) && name.trim() == name
                );
            })
        }
        1 => {
            let r = pb::DeleteProjectRequest::decode(body).ok()?;
            let span = duration("undo_window", r.undo_window, day, window);
            span.and_then(|span| {
                assert!(span <= window);
                id::<ProjectRef>("project_ref", &r.project_ref).map(|_| ())
            })
        }
        2 => {
            let r = pb::ListProjectsRequest::decode(body).ok()?;
            let size = page_size(r.page_size, 50, 100);
            size.and_then(|size| {
                assert!((1..=100).contains(&size));
                parse_page_token(&r.page_token)?.map(|key| parse_key(&key)).transpose().map(|_| ())
            })
        }
        3 => {
            let r = pb::ListOperationsRequest::decode(body).ok()?;
            page_size(r.page_size, 50, 100).and_then(|_| parse_page_id(&r.page_token)).map(|_| ())
        }
        4 => {
            let r = pb::WaitOperationRequest::decode(body).ok()?;
            duration("timeout", r.timeout, day, window)
                .and_then(|_| id::<OperationId>("operation_id", &r.operation_id))
                .map(|_| ())
        }
        5 => {
            let r = pb::CreateOrganizationRequest::decode(body).ok()?;
            display_text("name", &r.name).and_then(|name| supalove_organizations::slug(&r.slug, &name)).map(
                |slug| {
                    assert!((2..=40).contains(&slug.len()) && slug.bytes().all(|b| b.is_ascii_graphic()));
                },
            )
        }
        6 => {
            let r = pb::CreateJoinTokenRequest::decode(body).ok()?;
            duration("ttl", r.ttl, day, window).map(|_| ())
        }
        7 => {
            let r = pb::UpgradeProjectRequest::decode(body).ok()?;
            request_id(&r.request_id)
                .and_then(|_| id::<ProjectRef>("project_ref", &r.project_ref))
                .map(|_| ())
        }
        8 => {
            let r = pb::ListOutdatedProjectsRequest::decode(body).ok()?;
            page_size(r.page_size, 50, 100).and_then(|_| parse_page_token(&r.page_token)).map(|_| ())
        }
        9 => {
            let r = pb::UpdateProjectSettingsRequest::decode(body).ok()?;
            let before = ProjectSettings::default();
            let new = settings::updated(&before, r.settings.as_ref(), r.update_mask.as_ref(), &official());
            new.map(|new| {
                assert!(
                    !new.db_schemas.is_empty() && new.db_max_rows > 0 && new.site_url.starts_with("http")
                );
                let texts = [&new.site_url].into_iter().chain(&new.redirect_urls).chain(&new.db_schemas);
                for text in texts {
                    assert!(!text.contains("${placement.") && !text.contains('\0'), "{text:?}");
                }
            })
        }
        10 => {
            let r = pb::SetSecretsRequest::decode(body).ok()?;
            let asked = r.secrets.iter().map(|one| (one.name.as_str(), one.value.as_str()));
            secret_rules::to_set(Kind::Secret, asked).map(|changes| {
                for (name, value) in changes {
                    assert!(!name.starts_with("SUPABASE_") && !name.is_empty() && name.is_ascii());
                    assert!(
                        value
                            .is_some_and(|value| value.text.len() <= 64 * 1024 && !value.text.contains('\0'))
                    );
                }
            })
        }
        _ => {
            let r = pb::SignInRequest::decode(body).ok()?;
            supalove_identity::normalize_email(&r.email).map(|_| ())
        }
    })
}

#[test]
fn public_requests() {
    let operation = OperationId::generate().to_string();
    let with = |which: u8, message: &dyn Fn() -> Vec<u8>| [vec![which], message()].concat();
    let span = Some(prost_types::Duration { seconds: 60, nanos: 5 });
    let samples = [
        with(0, &|| {
            let request = pb::CreateProjectRequest {
                organization: "acme".into(),
                name: "Shop".into(),
                release: "core".into(),
                request_id: "0197a1b2-0000-7000-8000-000000000000".into(),
                ..Default::default()
            };
            request.encode_to_vec()
        }),
        with(1, &|| {
            let request =
                pb::DeleteProjectRequest { project_ref: REF.into(), undo_window: span, ..Default::default() };
            request.encode_to_vec()
        }),
        with(2, &|| {
            let (_, token) = supalove_core::wire::page(vec![0, 1], 1, |_| format!("1700000000000000/{REF}"));
            pb::ListProjectsRequest { page_size: 7, page_token: token, ..Default::default() }.encode_to_vec()
        }),
        with(3, &|| {
            let (_, token) = supalove_core::wire::page(vec![0, 1], 1, |_| uuid::Uuid::now_v7().to_string());
            pb::ListOperationsRequest { project_ref: REF.into(), page_token: token, page_size: 1000 }
                .encode_to_vec()
        }),
        with(4, &|| {
            pb::WaitOperationRequest { operation_id: operation.clone(), timeout: span }.encode_to_vec()
        }),
        with(5, &|| {
            pb::CreateOrganizationRequest { name: "Acme & Sons".into(), ..Default::default() }.encode_to_vec()
        }),
        with(6, &|| {
            pb::CreateJoinTokenRequest { ttl: span, max_uses: 3, ..Default::default() }.encode_to_vec()
        }),
        with(7, &|| {
            let request = pb::UpgradeProjectRequest {
                project_ref: REF.into(),
                release: "core-3".into(),
                request_id: "0197a1b2-0000-7000-8000-000000000000".into(),
            };
            request.encode_to_vec()
        }),
        with(8, &|| {
            let (_, token) = supalove_core::wire::page(vec![0, 1], 1, |_| REF.to_owned());
            pb::ListOutdatedProjectsRequest { page_size: 7, page_token: token }.encode_to_vec()
        }),
        with(9, &|| {
            let settings = settings::shown(&Versioned::default());
            let smtp = pb::ProjectSmtp {
                host: "mail.example.com".into(),
                sender_email: "a@example.com".into(),
                ..Default::default()
            };
            let settings = pb::ProjectSettings { smtp: Some(smtp), ..settings };
            pb::UpdateProjectSettingsRequest { settings: Some(settings), ..Default::default() }
                .encode_to_vec()
        }),
        with(10, &|| {
            let secrets = vec![pb::SecretValue { name: "GREETING".into(), value: "hello".into() }];
            pb::SetSecretsRequest { secrets, ..Default::default() }.encode_to_vec()
        }),
        with(11, &|| {
            pb::SignInRequest { email: "ada@example.com".into(), ..Default::default() }.encode_to_vec()
        }),
    ];
    // A duration with extreme parts.
    let words: [&[u8]; 3] = [
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x10\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01",
        b"\x1a\x00",
    ];
    bytes("public requests", &Samples::new(samples).words(words), |input| {
        let Some((which, body)) = input.split_first() else { return Verdict::Refused };
        let Some(converted) = convert(*which, body) else { return Verdict::Refused };
        if let Err(error) = &converted {
            named(error);
        }
        Verdict::from_result(&converted)
    });
}

#[test]
fn ids_tokens_and_names() {
    let (_, token) = supalove_core::wire::page(vec![0, 1], 1, |_| format!("1700000000000000/{REF}"));
    let sound = [
        OperationId::generate().to_string(),
        NodeId::generate().to_string(),
        REF.into(),
        token,
        "Shop".into(),
    ];
    let samples = Samples::new(sound)
        .words(["usr_", "ses_", "org_", "clu_", "jtk_", "opr_", "nod_", "ctl_", "MTcw", "/"]);
    text("ids, page tokens, names", &samples, |input| {
        let one_spelling = |shown: Option<String>| {
            shown.inspect(|shown| assert!(shown.eq_ignore_ascii_case(input))).is_some()
        };
        let kinds = [
            one_spelling(input.parse::<UserId>().ok().map(|id| id.to_string())),
            one_spelling(input.parse::<SessionId>().ok().map(|id| id.to_string())),
            one_spelling(input.parse::<OrganizationId>().ok().map(|id| id.to_string())),
            one_spelling(input.parse::<ClusterId>().ok().map(|id| id.to_string())),
            one_spelling(input.parse::<JoinTokenId>().ok().map(|id| id.to_string())),
            one_spelling(input.parse::<OperationId>().ok().map(|id| id.to_string())),
            one_spelling(input.parse::<NodeId>().ok().map(|id| id.to_string())),
            one_spelling(input.parse::<ProjectRef>().ok().map(|id| id.to_string())),
        ];
        assert!(kinds.iter().filter(|is| **is).count() <= 1, "an id is of one kind");
        for error in [
            parse_page_token(input).err(),
            parse_page_id(input).err(),
            request_id(input).err(),
            display_text("name", input).err(),
            supalove_organizations::slug(input, "x").err(),
            parse_key(input).err(),
        ] {
            error.iter().for_each(named);
        }
        if let Ok((at, project)) = parse_key(input) {
            assert!(at.timestamp() >= 0 && project.len() == ProjectRef::LENGTH);
        }
        if kinds.contains(&true) { Verdict::Accepted } else { Verdict::Refused }
    });
}
