//! Plans, what organizations may use, and the quotas that are taken from it.

use std::time::Duration;

use futures::future::join_all;
use prost_types::FieldMask;
use supalove_proto::v1::{
    AssignPlanRequest, ClearEntitlementRequest, CreateProjectRequest, DeleteOrganizationRequest, Entitlement,
    EntitlementValue, Entitlements, GetEntitlementsRequest, GetMeRequest, GetOrganizationRequest,
    ListPlansRequest, OrganizationEntitlement, Plan, PlanLimits, ProjectSizes, SetEntitlementRequest,
    UpdatePlanRequest, entitlement_value::Kind,
};
use supalove_system_tests::{Api, Controller, Database, SLACK, wait_for};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

async fn plans(api: &Api) -> Vec<Plan> {
    api.plans().list_plans(ListPlansRequest::default()).await.unwrap().into_inner().plans
}

async fn plan(api: &Api, name: &str) -> Plan {
    plans(api).await.into_iter().find(|plan| plan.name == name).unwrap()
}

async fn assign(api: &Api, organization: &str, plan: &str) -> Result<Entitlements, Status> {
    let request = AssignPlanRequest {
        organization: organization.into(),
        plan: plan.into(),
        reason: "pays by invoice".into(),
        etag: String::new(),
    };
    Ok(api.plans().assign_plan(request).await?.into_inner().entitlements.unwrap())
}

async fn set(
    api: &Api,
    organization: &str,
    entitlement: Entitlement,
    kind: Kind,
) -> Result<Entitlements, Status> {
    let request = SetEntitlementRequest {
        organization: organization.into(),
        entitlement: entitlement.into(),
        value: Some(EntitlementValue { kind: Some(kind) }),
        reason: "a pilot until June".into(),
        etag: String::new(),
    };
    Ok(api.plans().set_entitlement(request).await?.into_inner().entitlements.unwrap())
}

async fn clear(api: &Api, organization: &str, entitlement: Entitlement) -> Result<Entitlements, Status> {
    let request = ClearEntitlementRequest {
        organization: organization.into(),
        entitlement: entitlement.into(),
        reason: "the pilot has ended".into(),
        etag: String::new(),
    };
    Ok(api.plans().clear_entitlement(request).await?.into_inner().entitlements.unwrap())
}

async fn entitlements(api: &Api, organization: &str) -> Result<Entitlements, Status> {
    let request = GetEntitlementsRequest { organization: organization.into() };
    Ok(api.plans().get_entitlements(request).await?.into_inner().entitlements.unwrap())
}

fn of(entitlements: &Entitlements, entitlement: Entitlement) -> &OrganizationEntitlement {
    entitlements.entitlements.iter().find(|one| one.entitlement() == entitlement).unwrap()
}

fn limit(entitlements: &Entitlements, entitlement: Entitlement) -> Kind {
    of(entitlements, entitlement).limit.clone().unwrap().kind.unwrap()
}

/// Changes the fields of a plan that the paths name.
async fn update(api: &Api, changed: &Plan, paths: &[&str]) -> Result<Plan, Status> {
    let request = UpdatePlanRequest {
        plan: changed.name.clone(),
        display_name: changed.display_name.clone(),
        price_cents: changed.price_cents,
        limits: changed.limits.clone(),
        default_for_new_organizations: changed.default_for_new_organizations,
        at_size_limit: changed.at_size_limit,
        etag: changed.etag.clone(),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
    };
    Ok(api.plans().update_plan(request).await?.into_inner().plan.unwrap())
}

async fn make_default(api: &Api, name: &str) -> Plan {
    let changed = Plan { default_for_new_organizations: true, ..plan(api, name).await };
    update(api, &changed, &["default_for_new_organizations"]).await.unwrap()
}

/// Raises or lowers the limit of projects of a plan.
async fn set_projects(api: &Api, name: &str, projects: u64) -> Result<Plan, Status> {
    let before = plan(api, name).await;
    let limits = PlanLimits { projects, ..before.limits.clone().unwrap() };
    update(api, &Plan { limits: Some(limits), ..before }, &["limits.projects"]).await
}

async fn create(api: &Api, organization: &str, name: String) -> Result<(), Status> {
    let request = CreateProjectRequest { organization: organization.into(), name, ..Default::default() };
    api.projects().create_project(request).await.map(drop)
}

async fn user(controller: &Controller, name: &str) -> Api {
    let email = format!("{name}@example.com");
    controller.database.rows().await.add_user(&email).await;
    let mut api = controller.api();
    api.sign_in(&email).await;
    api
}

/// Connections of their own, all with the caller's session.
fn connections(controller: &Controller, caller: &Api, count: usize) -> Vec<Api> {
    let connect = || {
        let mut api = controller.api();
        api.use_token(&caller.token);
        api
    };
    std::iter::repeat_with(connect).take(count).collect()
}

/// What a refusal lists: subject and description.
fn violations(status: &Status) -> Vec<(String, String)> {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "USE_OVER_LIMITS");
    let details = status.get_details_precondition_failure().unwrap();
    details.violations.into_iter().map(|one| (one.subject, one.description)).collect()
}

fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

#[tokio::test]
async fn the_plans_have_the_figures_of_the_seed_and_a_new_organization_is_free() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    make_default(&operator, "free").await;
    let user = user(&controller, "ada").await;

    let all = plans(&user).await;
    let figures = |plan: &Plan| {
        let limits = plan.limits.clone().unwrap();
        (plan.name.clone(), plan.price_cents, limits.projects, limits.database_mib, limits.private_clusters)
    };
    assert_eq!(
        all.iter().map(figures).collect::<Vec<_>>(),
        [
            ("free".into(), 0, 2, 500, false),
            ("pro".into(), 2500, 20, 5120, false),
            ("premium".into(), 10_000, 100, 20_480, true)
        ]
    );
    let defaults: Vec<_> = all.iter().map(|plan| plan.default_for_new_organizations).collect();
    assert_eq!(defaults, [true, false, false], "one plan is the default");
    let mut paged = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = user
            .plans()
            .list_plans(ListPlansRequest { page_size: 1, page_token })
            .await
            .unwrap()
            .into_inner();
        paged.extend(page.plans);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);

    user.create_organization("globex").await;
    let request = GetOrganizationRequest { organization: "globex".into() };
    let organization = user.organizations().get_organization(request).await.unwrap().into_inner();
    let organization = organization.organization.unwrap();
    assert_eq!((organization.plan.as_str(), organization.projects_limit), ("free", 2));
    for number in 0..2 {
        create(&user, "globex", format!("p{number}")).await.unwrap();
    }
    let refused = create(&user, "globex", "p2".into()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let violation = &refused.get_details_quota_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "organization:projects");
    for part in ["all of the 2 projects that its plan Free allows", "delete one", "ask the operator"] {
        assert!(violation.description.contains(part), "{part}: {}", violation.description);
    }
    let rows = controller.database.rows().await;
    rows.add_organization_of_before("old", 100).await;
    assert_eq!(rows.allowed("old").await, ("free".into(), 2, 5), "a controller of before knows no plans");
    assert_eq!(rows.broken_of_all().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_parallel_creates_against_a_quota_of_twenty_give_exactly_twenty() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    assign(&operator, "acme", "pro").await.unwrap();
    let connections = connections(&controller, &operator, 16);
    let calls = (0..100).map(|number| create(&connections[number % 16], "acme", format!("p{number}")));
    let answers = join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 20);
    for status in answers.into_iter().filter_map(Result::err) {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let violation = &status.get_details_quota_failure().unwrap().violations[0];
        assert!(violation.description.contains("20 projects that its plan Pro allows"), "{violation:?}");
    }
    let rows = controller.database.rows().await;
    assert_eq!(rows.projects_used("acme").await, 20);
    let shown = entitlements(&operator, "acme").await.unwrap();
    assert_eq!(of(&shown, Entitlement::Projects).used, Some(20));
    assert_eq!(rows.broken_of_all().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_lowered_while_creates_run_is_never_exceeded() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    assign(&operator, "acme", "pro").await.unwrap();
    let rows = controller.database.rows().await;
    let connections = connections(&controller, &operator, 8);
    for (round, lowered) in [(0, 3), (1, 6), (2, 9), (3, 12)] {
        set_projects(&operator, "pro", 20).await.unwrap();
        // All of them wait for the organization's row, so that they meet.
        let held = rows.hold_organization("acme").await;
        let creates = async {
            // In every second round they wait behind the lowering.
            if round % 2 == 1 {
                wait_for("the lowering", Duration::from_secs(10) * SLACK, async || {
                    (rows.waiting_for_locks().await == 1).then_some(())
                })
                .await;
            }
            let one = |number: usize| create(&connections[number], "acme", format!("r{round}-{number}"));
            join_all((0..4).map(one)).await
        };
        let lowering = set_projects(&operator, "pro", lowered);
        let release = async {
            wait_for("the creates", Duration::from_secs(10) * SLACK, async || {
                (rows.waiting_to_place().await == 4).then_some(())
            })
            .await;
            held.rollback().await.unwrap();
        };
        let (placed, lowering, ()) = tokio::join!(creates, lowering, release);
        let used = rows.projects_used("acme").await;
        let valid = if lowering.is_ok() { i32::try_from(lowered).unwrap() } else { 20 };
        assert_eq!(rows.projects_limit("acme").await, valid);
        assert!(used <= valid, "{used} of {valid}");
        if let Err(status) = lowering {
            assert_eq!(violations(&status)[0].0, "acme:projects");
        }
        let over = placed.into_iter().filter_map(Result::err);
        assert!(over.into_iter().all(|status| status.code() == Code::ResourceExhausted));
    }
    let used = u64::try_from(rows.projects_used("acme").await).unwrap();
    assert_eq!(
        violations(&set_projects(&operator, "pro", used - 1).await.unwrap_err())[0].0,
        "acme:projects"
    );
    set_projects(&operator, "pro", used).await.unwrap();
    assert_eq!(rows.broken_of_all().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_downgrade_that_does_not_fit_is_refused_with_everything_that_is_over() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    for number in 0..3 {
        create(&operator, "acme", format!("p{number}")).await.unwrap();
    }
    rows.add_members("acme", 6).await;
    rows.add_private_cluster("own", Some("acme")).await;

    let refused = assign(&operator, "acme", "free").await.unwrap_err();
    let listed = violations(&refused);
    assert_eq!(
        listed,
        [
            ("acme:projects".to_owned(), "uses 3; the limit would be 2".to_owned()),
            ("acme:members".to_owned(), "uses 7; the limit would be 5".to_owned()),
            ("acme:private_clusters".to_owned(), "uses 1; the limit would be 0".to_owned()),
        ]
    );
    let shown = entitlements(&operator, "acme").await.unwrap();
    assert_eq!(shown.plan.unwrap().name, "premium", "nothing has changed");
    assert_eq!(rows.projects_limit("acme").await, 100);

    // What is in use is allowed by overrides; then the plan fits.
    set(&operator, "acme", Entitlement::Projects, Kind::Number(3)).await.unwrap();
    set(&operator, "acme", Entitlement::Members, Kind::Number(7)).await.unwrap();
    assert_eq!(violations(&assign(&operator, "acme", "free").await.unwrap_err()).len(), 1, "the cluster");
    set(&operator, "acme", Entitlement::PrivateClusters, Kind::Allowed(true)).await.unwrap();
    let after = assign(&operator, "acme", "free").await.unwrap();
    assert_eq!(after.plan.as_ref().unwrap().name, "free");
    assert_eq!(limit(&after, Entitlement::Projects), Kind::Number(3));
    assert_eq!(limit(&after, Entitlement::DatabaseSize), Kind::Number(500));
    assert_eq!(rows.projects_limit("acme").await, 3);
    assert_eq!(create(&operator, "acme", "p3".into()).await.unwrap_err().code(), Code::ResourceExhausted);

    // An override and its end are downgrades, too.
    let lower = set(&operator, "acme", Entitlement::Projects, Kind::Number(1)).await.unwrap_err();
    assert_eq!(violations(&lower), [("acme:projects".to_owned(), "uses 3; the limit would be 1".to_owned())]);
    let ended = clear(&operator, "acme", Entitlement::Members).await.unwrap_err();
    assert_eq!(violations(&ended), [("acme:members".to_owned(), "uses 7; the limit would be 5".to_owned())]);
    assign(&operator, "acme", "premium").await.unwrap();
    clear(&operator, "acme", Entitlement::Members).await.unwrap();
    assert_eq!(rows.broken_of_all().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_override_is_shown_with_its_reason_and_its_author() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let reader = user(&controller, "reader").await;
    rows.add_member("acme", "reader@example.com", "READ_ONLY").await;
    create(&operator, "acme", "p".into()).await.unwrap();
    let me = operator.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap().id;

    let before = entitlements(&reader, "acme").await.unwrap();
    assert_eq!(before.plan_reason, "the default plan of new organizations");
    assert_eq!(before.assigned_by, "", "nobody but the platform");
    assert_eq!(before.entitlements.len(), 9);
    for (entitlement, used) in [
        (Entitlement::Projects, Some(1)),
        (Entitlement::Members, Some(2)),
        (Entitlement::PrivateClusters, Some(0)),
        (Entitlement::DatabaseSize, None),
        (Entitlement::StorageSize, None),
        (Entitlement::FunctionInvocations, None),
        (Entitlement::ProjectSizes, None),
        (Entitlement::BackupDays, None),
        (Entitlement::LogDays, None),
    ] {
        let one = of(&before, entitlement);
        assert_eq!(one.used, used, "{entitlement:?}");
        assert!(one.r#override.is_none() && one.limit == one.plan_limit, "{one:?}");
    }
    let after = set(&operator, "acme", Entitlement::BackupDays, Kind::Number(90)).await.unwrap();
    assert_eq!(after, entitlements(&reader, "acme").await.unwrap());
    assert_ne!(after.etag, before.etag);
    let days = of(&after, Entitlement::BackupDays);
    assert_eq!(days.limit.clone().unwrap().kind, Some(Kind::Number(90)));
    assert_eq!(days.plan_limit.clone().unwrap().kind, Some(Kind::Number(30)));
    let why = days.r#override.clone().unwrap();
    assert_eq!((why.reason.as_str(), why.set_by.as_str()), ("a pilot until June", me.as_str()));
    let sizes = Kind::Sizes(ProjectSizes { names: vec!["small".into(), "nano".into()] });
    let after = set(&operator, "acme", Entitlement::ProjectSizes, sizes).await.unwrap();
    let ordered = Kind::Sizes(ProjectSizes { names: vec!["nano".into(), "small".into()] });
    assert_eq!(limit(&after, Entitlement::ProjectSizes), ordered, "smallest first");
    let after = assign(&operator, "acme", "pro").await.unwrap();
    assert_eq!((after.plan_reason.as_str(), after.assigned_by.as_str()), ("pays by invoice", me.as_str()));
    assert_eq!(limit(&after, Entitlement::BackupDays), Kind::Number(90), "overrides stay");
    let after = clear(&operator, "acme", Entitlement::BackupDays).await.unwrap();
    assert_eq!(limit(&after, Entitlement::BackupDays), Kind::Number(7));
    let again = clear(&operator, "acme", Entitlement::BackupDays).await.unwrap();
    assert_eq!(again, after, "there is no override any more");

    // The audit log says what, and why.
    let assigned = &rows.audited("AssignPlan").await[0];
    assert!(
        assigned.target.starts_with("org_") && assigned.target.ends_with(" plan pro: pays by invoice"),
        "{assigned:?}"
    );
    let set_to: Vec<_> = rows.audited("SetEntitlement").await.into_iter().map(|call| call.target).collect();
    assert!(set_to[0].ends_with(" BACKUP_DAYS 90: a pilot until June"), "{set_to:?}");
    assert!(set_to[1].ends_with(" PROJECT_SIZES nano,small: a pilot until June"), "{set_to:?}");
    let cleared = &rows.audited("ClearEntitlement").await[0];
    assert!(cleared.target.ends_with(" BACKUP_DAYS of the plan: the pilot has ended"), "{cleared:?}");

    // Strangers do not learn that there is such an organization.
    let stranger = user(&controller, "stranger").await;
    let hidden = entitlements(&stranger, "acme").await.unwrap_err();
    let unknown = entitlements(&stranger, "acme-2").await.unwrap_err();
    assert_eq!(hidden.code(), Code::NotFound);
    assert_eq!(unknown.message(), hidden.message().replace("\"acme\"", "\"acme-2\""));
}

#[tokio::test]
async fn what_the_operator_gets_wrong_is_named() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let good = SetEntitlementRequest {
        organization: "acme".into(),
        entitlement: Entitlement::Projects.into(),
        value: Some(EntitlementValue { kind: Some(Kind::Number(7)) }),
        reason: "why not".into(),
        etag: String::new(),
    };
    let kind = |kind| Some(EntitlementValue { kind: Some(kind) });
    let sizes = |name: &str| Kind::Sizes(ProjectSizes { names: vec![name.into()] });
    for (wrong, expected) in [
        (SetEntitlementRequest { reason: " ".into(), ..good.clone() }, "reason"),
        (SetEntitlementRequest { reason: "x".repeat(201), ..good.clone() }, "reason"),
        (SetEntitlementRequest { entitlement: 0, ..good.clone() }, "entitlement"),
        (SetEntitlementRequest { entitlement: 77, ..good.clone() }, "entitlement"),
        (SetEntitlementRequest { value: None, ..good.clone() }, "value"),
        (SetEntitlementRequest { value: kind(Kind::Allowed(true)), ..good.clone() }, "value"),
        (SetEntitlementRequest { value: kind(sizes("nano")), ..good.clone() }, "value"),
        (SetEntitlementRequest { value: kind(Kind::Number(u64::MAX)), ..good.clone() }, "value.number"),
        (
            SetEntitlementRequest {
                entitlement: Entitlement::ProjectSizes.into(),
                value: kind(sizes("huge")),
                ..good.clone()
            },
            "value.sizes.names",
        ),
        (
            SetEntitlementRequest {
                entitlement: Entitlement::Members.into(),
                value: kind(Kind::Number(0)),
                ..good.clone()
            },
            "value.number",
        ),
    ] {
        let refused = operator.plans().set_entitlement(wrong.clone()).await.unwrap_err();
        assert_eq!(field(&refused), expected, "{wrong:?}");
    }
    for unknown in ["nobody", "a\0b", ""] {
        let request = SetEntitlementRequest { organization: unknown.into(), ..good.clone() };
        let refused = operator.plans().set_entitlement(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{unknown:?}");
    }
    let stale = SetEntitlementRequest { etag: "77".into(), ..good.clone() };
    let refused = operator.plans().set_entitlement(stale).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "ETAG_MISMATCH");
    let etag = entitlements(&operator, "acme").await.unwrap().etag;
    operator.plans().set_entitlement(SetEntitlementRequest { etag, ..good }).await.unwrap();
    assert_eq!(assign(&operator, "acme", "gold").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(field(&assign(&operator, "acme", "").await.unwrap_err()), "plan");

    let free = plan(&operator, "free").await;
    let unknown = update(&operator, &Plan { name: "gold".into(), ..free.clone() }, &["price_cents"]).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let stale = Plan { etag: "77".into(), ..free.clone() };
    let refused = update(&operator, &stale, &["price_cents"]).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "ETAG_MISMATCH");
    let premium = Plan { default_for_new_organizations: false, ..plan(&operator, "premium").await };
    let refused = update(&operator, &premium, &["default_for_new_organizations"]).await.unwrap_err();
    assert_eq!(field(&refused), "default_for_new_organizations", "new organizations need a plan");
    assert_eq!(field(&update(&operator, &free, &["name"]).await.unwrap_err()), "update_mask");
    let no_sizes = PlanLimits { project_sizes: Vec::new(), ..free.limits.clone().unwrap() };
    let no_sizes = Plan { limits: Some(no_sizes), ..free.clone() };
    assert_eq!(field(&update(&operator, &no_sizes, &["limits"]).await.unwrap_err()), "limits.project_sizes");
    assert_eq!(plan(&operator, "free").await, free, "nothing of it has changed the plan");
}

#[tokio::test]
async fn an_edited_plan_counts_at_once_for_its_organizations() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    for slug in ["big", "small", "special", "deleted"] {
        operator.create_organization(slug).await;
        assign(&operator, slug, "pro").await.unwrap();
    }
    let request = DeleteOrganizationRequest { organization: "deleted".into() };
    operator.organizations().delete_organization(request).await.unwrap();
    set(&operator, "special", Entitlement::Projects, Kind::Number(5)).await.unwrap();
    for number in 0..3 {
        create(&operator, "big", format!("p{number}")).await.unwrap();
        create(&operator, "special", format!("p{number}")).await.unwrap();
    }

    let refused = set_projects(&operator, "pro", 1).await.unwrap_err();
    assert_eq!(
        violations(&refused),
        [("big:projects".to_owned(), "uses 3; the limit would be 1".to_owned())]
    );
    assert_eq!(plan(&operator, "pro").await.limits.unwrap().projects, 20);
    let lowered = set_projects(&operator, "pro", 3).await.unwrap();
    assert_eq!(lowered.limits.as_ref().unwrap().projects, 3);
    for (slug, expected) in [("big", 3), ("small", 3), ("special", 5), ("acme", 100)] {
        assert_eq!(rows.projects_limit(slug).await, expected, "{slug}");
    }
    assert_eq!(create(&operator, "big", "p3".into()).await.unwrap_err().code(), Code::ResourceExhausted);
    set_projects(&operator, "pro", 4).await.unwrap();
    create(&operator, "big", "p3".into()).await.unwrap();

    // Members of the plan's organizations are counted, too.
    rows.add_members("small", 6).await;
    let before = plan(&operator, "pro").await;
    let limits = PlanLimits { members: 6, ..before.limits.clone().unwrap() };
    let refused =
        update(&operator, &Plan { limits: Some(limits), ..before.clone() }, &["limits.members"]).await;
    assert_eq!(violations(&refused.unwrap_err())[0].0, "small:members");
    let priced =
        update(&operator, &Plan { price_cents: 2900, ..before.clone() }, &["price_cents"]).await.unwrap();
    assert_eq!((priced.price_cents, &priced.limits), (2900, &before.limits));
    assert_ne!(priced.etag, before.etag);
    let shown = entitlements(&operator, "small").await.unwrap();
    assert_eq!(shown.plan.unwrap(), priced);
    assert_eq!(rows.broken_of_all().await, Vec::<String>::new());
}

#[tokio::test]
async fn members_and_private_clusters_are_taken_under_the_organizations_lock() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    assert!(rows.take_private_cluster("acme").await, "premium");
    assign(&operator, "acme", "free").await.unwrap();
    assert!(!rows.take_private_cluster("acme").await, "free");
    rows.add_members("acme", 3).await;
    let (open, used, allowed) = rows.take_member("acme").await;
    assert_eq!((used, allowed), (4, 5));
    // A limit cannot be lowered between the look and the new member.
    let lowering = set(&operator, "acme", Entitlement::Members, Kind::Number(4));
    let after = async {
        wait_for("the lowering to wait", Duration::from_secs(10) * SLACK, async || {
            (rows.waiting_for_an_organization().await == 1).then_some(())
        })
        .await;
        rows.add_members("acme", 1).await;
        open.commit().await.unwrap();
    };
    let (lowered, ()) = tokio::join!(lowering, after);
    assert_eq!(violations(&lowered.unwrap_err())[0].1, "uses 5; the limit would be 4");
    let (open, used, allowed) = rows.take_member("acme").await;
    assert_eq!((used, allowed), (5, 5), "full");
    open.rollback().await.unwrap();
}

#[tokio::test]
async fn what_organizations_of_before_the_plans_use_stays_allowed() {
    let rows = Database::create().await.rows().await;
    rows.apply_migrations("0001", "0020").await;
    for (slug, limit) in [("usual", 100), ("raised", 1000)] {
        rows.add_organization_of_before(slug, limit).await;
    }
    rows.add_members("raised", 120).await;
    rows.apply_migrations("0020", "0021").await;
    assert_eq!(rows.allowed("usual").await, ("premium".into(), 100, 100));
    assert_eq!(rows.allowed("raised").await, ("premium".into(), 1000, 120));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_plans_at_the_same_time_end_and_leave_every_limit_right() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    for slug in ["one", "two", "three"] {
        operator.create_organization(slug).await;
    }
    let connections = connections(&controller, &operator, 8);
    let act = async |number: u64| {
        let api = &connections[usize::try_from(number).unwrap() % 8];
        let organization = ["one", "two", "three"][usize::try_from(number).unwrap() % 3];
        match number % 5 {
            0 => set_projects(api, "pro", 20 + number).await.map(drop),
            1 => assign(api, organization, ["pro", "premium"][usize::try_from(number).unwrap() % 2])
                .await
                .map(drop),
            2 => set(api, organization, Entitlement::Projects, Kind::Number(30 + number)).await.map(drop),
            3 => clear(api, organization, Entitlement::Projects).await.map(drop),
            _ => {
                api.create_organization(&format!("made-{number}")).await;
                create(api, organization, format!("p{number}")).await
            }
        }
    };
    let done = join_all((0..80).map(act)).await;
    for status in done.into_iter().filter_map(Result::err) {
        // An update names the etag that it has read.
        assert_eq!(status.get_details_error_info().unwrap().reason, "ETAG_MISMATCH", "{status:?}");
    }
    assert_eq!(rows.broken_of_all().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_organization_that_is_made_while_the_default_changes_gets_the_new_one() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let change = rows.change_default_plan("pro").await;
    let end = async {
        wait_for("the create to wait", Duration::from_secs(10) * SLACK, async || {
            (rows.waiting_for_locks().await == 1).then_some(())
        })
        .await;
        change.commit().await.unwrap();
    };
    tokio::join!(operator.create_organization("late"), end);
    assert_eq!(rows.allowed("late").await, ("pro".into(), 20, 25));
}
