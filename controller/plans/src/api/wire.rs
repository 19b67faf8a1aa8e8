//! Between the messages of the service and the room's own types.

use supalove_core::{
    error::{Error, Result},
    wire::{Changes, display_text, timestamp},
};
use supalove_proto::v1::{self as pb, entitlement_value::Kind};
use supalove_spec::{limits::REASON_CHARS, text::is_plain};

use crate::{
    entitlement::{Entitlement, SizeAction, Value, number, sizes},
    sizes::{Listed, ProjectSize},
    store::{Entitlements, Override, Plan},
};

/// What an update of a plan may change.
pub const FIELDS: &[&str] = &[
    "display_name",
    "price_cents",
    "default_for_new_organizations",
    "at_size_limit",
    "limits",
    "limits.projects",
    "limits.database_mib",
    "limits.storage_mib",
    "limits.function_invocations",
    "limits.members",
    "limits.project_sizes",
    "limits.private_clusters",
    "limits.backup_days",
    "limits.log_days",
];

/// What an update of a size may change.
pub const SIZE_FIELDS: &[&str] = &["cpu_millis", "memory_mib", "disk_mib", "connections"];

/// Writes the fields that a request changes into a size. The bounds are those of the table, and far within what agents admit.
pub fn edit_size(
    size: &mut ProjectSize,
    body: &pb::UpdateProjectSizeRequest,
    fields: &Changes<'_>,
) -> Result<()> {
    for (name, value, given, least, most) in [
        ("cpu_millis", &mut size.cpu_millis, body.cpu_millis, 10, 1_000_000),
        ("memory_mib", &mut size.memory_mib, body.memory_mib, 32, 16_000_000),
        ("disk_mib", &mut size.disk_mib, body.disk_mib, 128, 64_000_000),
        ("connections", &mut size.connections, body.connections, 10, 5_000),
    ] {
        if !fields.field(name) {
            continue;
        }
        let valid = i32::try_from(given).ok().filter(|given| (least..=most).contains(given));
        *value = valid.ok_or_else(|| Error::field(name, format!("must be between {least} and {most}")))?;
    }
    Ok(())
}

/// Writes the fields that a request changes into a plan.
pub fn edit(plan: &mut Plan, body: &pb::UpdatePlanRequest, fields: &Changes<'_>) -> Result<()> {
    if fields.field("display_name") {
        plan.display_name = display_text("display_name", &body.display_name)?;
    }
    if fields.field("price_cents") {
        plan.price_cents = i64::try_from(body.price_cents)
            .map_err(|_| Error::field("price_cents", format!("must be at most {}", i64::MAX)))?;
    }
    if fields.field("default_for_new_organizations") {
        plan.is_default = body.default_for_new_organizations;
    }
    if fields.field("at_size_limit") {
        match body.at_size_limit() {
            pb::SizeAction::Notify => plan.at_size_limit = SizeAction::Notify,
            pb::SizeAction::ReadOnly => plan.at_size_limit = SizeAction::ReadOnly,
            // Of a caller that changes everything it knows.
            pb::SizeAction::Unspecified
                if body.update_mask.as_ref().is_none_or(|mask| mask.paths.is_empty()) => {}
            pb::SizeAction::Unspecified => {
                return Err(Error::field("at_size_limit", "must be NOTIFY or READ_ONLY"));
            }
        }
    }
    let given = body.limits.clone().unwrap_or_default();
    let asked = |name: &str| fields.field("limits") || fields.field(name);
    if body.limits.is_none()
        && FIELDS.iter().filter(|name| name.starts_with("limits")).any(|name| asked(name))
    {
        return Err(Error::field("limits", "must be set if the update changes a limit"));
    }
    let limits = &mut plan.limits;
    for (name, entitlement, number_of, given) in [
        ("limits.projects", Entitlement::Projects, &mut limits.projects, given.projects),
        ("limits.database_mib", Entitlement::DatabaseSize, &mut limits.database_mib, given.database_mib),
        ("limits.storage_mib", Entitlement::StorageSize, &mut limits.storage_mib, given.storage_mib),
        (
            "limits.function_invocations",
            Entitlement::FunctionInvocations,
            &mut limits.function_invocations,
            given.function_invocations,
        ),
        ("limits.members", Entitlement::Members, &mut limits.members, given.members),
        ("limits.backup_days", Entitlement::BackupDays, &mut limits.backup_days, given.backup_days),
        ("limits.log_days", Entitlement::LogDays, &mut limits.log_days, given.log_days),
    ] {
        if asked(name) {
            *number_of = number(entitlement, name, given)?;
        }
    }
    if asked("limits.project_sizes") {
        limits.project_sizes = sizes("limits.project_sizes", &given.project_sizes)?;
    }
    if asked("limits.private_clusters") {
        limits.private_clusters = given.private_clusters;
    }
    Ok(())
}

/// Reads what is limited.
pub fn entitlement(wire: pb::Entitlement) -> Result<Entitlement> {
    match wire {
        pb::Entitlement::Unspecified => {
            let names: Vec<_> = Entitlement::ALL.iter().map(|one| one.as_sql()).collect();
            Err(Error::field("entitlement", format!("must be one of {}", names.join(", "))))
        }
        pb::Entitlement::Projects => Ok(Entitlement::Projects),
        pb::Entitlement::DatabaseSize => Ok(Entitlement::DatabaseSize),
        pb::Entitlement::StorageSize => Ok(Entitlement::StorageSize),
        pb::Entitlement::FunctionInvocations => Ok(Entitlement::FunctionInvocations),
        pb::Entitlement::Members => Ok(Entitlement::Members),
        pb::Entitlement::ProjectSizes => Ok(Entitlement::ProjectSizes),
        pb::Entitlement::PrivateClusters => Ok(Entitlement::PrivateClusters),
        pb::Entitlement::BackupDays => Ok(Entitlement::BackupDays),
        pb::Entitlement::LogDays => Ok(Entitlement::LogDays),
    }
}

pub fn wire_entitlement(entitlement: Entitlement) -> pb::Entitlement {
    match entitlement {
        Entitlement::Projects => pb::Entitlement::Projects,
        Entitlement::DatabaseSize => pb::Entitlement::DatabaseSize,
        Entitlement::StorageSize => pb::Entitlement::StorageSize,
        Entitlement::FunctionInvocations => pb::Entitlement::FunctionInvocations,
        Entitlement::Members => pb::Entitlement::Members,
        Entitlement::ProjectSizes => pb::Entitlement::ProjectSizes,
        Entitlement::PrivateClusters => pb::Entitlement::PrivateClusters,
        Entitlement::BackupDays => pb::Entitlement::BackupDays,
        Entitlement::LogDays => pb::Entitlement::LogDays,
    }
}

/// Reads a limit of this entitlement.
pub fn value(entitlement: Entitlement, given: Option<&pb::EntitlementValue>) -> Result<Value> {
    let wrong = |kind| Err(Error::field("value", format!("must be {kind} for {}", entitlement.as_sql())));
    let given = given.and_then(|value| value.kind.as_ref());
    match (entitlement, given) {
        (Entitlement::ProjectSizes, Some(Kind::Sizes(given))) => {
            Ok(Value::Sizes(sizes("value.sizes.names", &given.names)?))
        }
        (Entitlement::ProjectSizes, _) => wrong("sizes"),
        (Entitlement::PrivateClusters, Some(Kind::Allowed(allowed))) => Ok(Value::Allowed(*allowed)),
        (Entitlement::PrivateClusters, _) => wrong("allowed (yes or no)"),
        (_, Some(Kind::Number(given))) => Ok(Value::Number(number(entitlement, "value.number", *given)?)),
        _ => wrong("a number"),
    }
}

/// Checks why an operator does it.
pub fn reason(text: &str) -> Result<&str> {
    let text = text.trim();
    if text.is_empty() || !is_plain(text, REASON_CHARS) {
        return Err(Error::field(
            "reason",
            format!("must say why, in 1 to {REASON_CHARS} visible characters"),
        ));
    }
    Ok(text)
}

/// A limit, for the audit log.
pub fn in_words(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Allowed(allowed) => if *allowed { "allowed" } else { "not allowed" }.to_owned(),
        Value::Sizes(sizes) => sizes.join(","),
    }
}

pub fn wire_value(value: Value) -> pb::EntitlementValue {
    let kind = match value {
        Value::Number(number) => Kind::Number(number.unsigned_abs()),
        Value::Allowed(allowed) => Kind::Allowed(allowed),
        Value::Sizes(names) => Kind::Sizes(pb::ProjectSizes { names }),
    };
    pb::EntitlementValue { kind: Some(kind) }
}

/// Writes what an organization may use.
pub fn entitlements(held: &Entitlements) -> Result<pb::Entitlements> {
    let limits = held.limits()?;
    let one = |entitlement: Entitlement| pb::OrganizationEntitlement {
        entitlement: wire_entitlement(entitlement).into(),
        limit: Some(wire_value(limits.value(entitlement))),
        plan_limit: Some(wire_value(held.plan.limits.value(entitlement))),
        r#override: held.overridden(entitlement).map(wire_override),
        used: held.used.of(entitlement).map(i64::unsigned_abs),
    };
    Ok(pb::Entitlements {
        organization: held.organization.clone(),
        plan: Some(held.plan.clone().into()),
        plan_reason: held.reason.clone(),
        assigned_by: held.assigned_by.map(|user| user.to_string()).unwrap_or_default(),
        assign_time: Some(timestamp(held.assigned_at)),
        entitlements: Entitlement::ALL.iter().copied().map(one).collect(),
        etag: held.revision.to_string(),
    })
}

fn wire_override(one: &Override) -> pb::EntitlementOverride {
    pb::EntitlementOverride {
        reason: one.reason.clone(),
        set_by: one.set_by.map(|user| user.to_string()).unwrap_or_default(),
        set_time: Some(timestamp(one.set_at)),
    }
}

pub fn wire_size_action(action: SizeAction) -> pb::SizeAction {
    match action {
        SizeAction::Notify => pb::SizeAction::Notify,
        SizeAction::ReadOnly => pb::SizeAction::ReadOnly,
    }
}

impl From<Plan> for pb::Plan {
    fn from(plan: Plan) -> Self {
        let limits = plan.limits;
        Self {
            name: plan.name,
            display_name: plan.display_name,
            price_cents: plan.price_cents.unsigned_abs(),
            limits: Some(pb::PlanLimits {
                projects: limits.projects.unsigned_abs(),
                database_mib: limits.database_mib.unsigned_abs(),
                storage_mib: limits.storage_mib.unsigned_abs(),
                function_invocations: limits.function_invocations.unsigned_abs(),
                members: limits.members.unsigned_abs(),
                project_sizes: limits.project_sizes,
                private_clusters: limits.private_clusters,
                backup_days: limits.backup_days.unsigned_abs(),
                log_days: limits.log_days.unsigned_abs(),
            }),
            default_for_new_organizations: plan.is_default,
            at_size_limit: wire_size_action(plan.at_size_limit).into(),
            update_time: Some(timestamp(plan.updated_at)),
            etag: plan.revision.to_string(),
        }
    }
}

impl From<Listed> for pb::ProjectSize {
    fn from(listed: Listed) -> Self {
        let size = listed.size;
        Self {
            name: size.name,
            cpu_millis: size.cpu_millis.unsigned_abs(),
            memory_mib: size.memory_mib.unsigned_abs(),
            disk_mib: size.disk_mib.unsigned_abs(),
            connections: size.connections.unsigned_abs(),
            plans: listed.plans,
            update_time: Some(timestamp(listed.updated_at)),
            etag: listed.revision.to_string(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use supalove_core::wire::timestamp;

    use super::*;
    use crate::entitlement::tests::limits;

    pub fn plan() -> Plan {
        Plan {
            name: "pro".into(),
            display_name: "Pro".into(),
            price_cents: 2500,
            limits: limits(),
            at_size_limit: SizeAction::Notify,
            is_default: false,
            revision: 3,
            updated_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    fn edited(body: &pb::UpdatePlanRequest, paths: &[&str]) -> Result<Plan> {
        let mask = pb_mask(paths);
        let mut plan = plan();
        let body = pb::UpdatePlanRequest { update_mask: Some(mask.clone()), ..body.clone() };
        edit(&mut plan, &body, &Changes::parse(Some(&mask), FIELDS)?)?;
        Ok(plan)
    }

    fn pb_mask(paths: &[&str]) -> prost_types::FieldMask {
        prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
    }

    #[test]
    fn an_update_changes_what_its_mask_names() {
        let wire = pb::Plan::from(plan());
        assert_eq!(wire.update_time, Some(timestamp(chrono::DateTime::UNIX_EPOCH)));
        let body = pb::UpdatePlanRequest {
            plan: "pro".into(),
            display_name: "Professional".into(),
            price_cents: 3000,
            limits: Some(pb::PlanLimits { projects: 30, members: 1, ..wire.limits.clone().unwrap() }),
            ..Default::default()
        };
        let one = edited(&body, &["limits.projects"]).unwrap();
        assert_eq!(one, Plan { limits: crate::Limits { projects: 30, ..limits() }, ..plan() });
        let all = edited(&body, &[]).unwrap();
        assert_eq!((all.display_name.as_str(), all.price_cents), ("Professional", 3000));
        assert_eq!((all.limits.projects, all.limits.members), (30, 1));
        let priced =
            edited(&pb::UpdatePlanRequest { limits: None, ..body.clone() }, &["price_cents"]).unwrap();
        assert_eq!(priced, Plan { price_cents: 3000, ..plan() });
        assert!(
            edited(&pb::UpdatePlanRequest { limits: None, ..body.clone() }, &["limits.projects"]).is_err()
        );
        assert!(edited(&body, &["name"]).is_err(), "the name stays");
        assert_eq!(all.at_size_limit, SizeAction::Notify, "an older caller does not know it");
        let read_only =
            pb::UpdatePlanRequest { at_size_limit: pb::SizeAction::ReadOnly.into(), ..body.clone() };
        assert_eq!(edited(&read_only, &["at_size_limit"]).unwrap().at_size_limit, SizeAction::ReadOnly);
        let unknown = edited(&body, &["at_size_limit"]).unwrap_err().to_string();
        assert!(unknown.contains("NOTIFY or READ_ONLY"), "{unknown}");
        let none = pb::UpdatePlanRequest { limits: Some(pb::PlanLimits::default()), ..body };
        let refused = edited(&none, &["limits"]).unwrap_err().to_string();
        assert!(refused.contains("limits.members"), "{refused}");
    }

    #[test]
    fn values_and_reasons_of_callers_are_checked() {
        let number = pb::EntitlementValue { kind: Some(Kind::Number(7)) };
        assert_eq!(value(Entitlement::Projects, Some(&number)).unwrap(), Value::Number(7));
        for (entitlement, given) in [
            (Entitlement::ProjectSizes, Some(&number)),
            (Entitlement::PrivateClusters, Some(&number)),
            (Entitlement::Members, None),
        ] {
            assert!(value(entitlement, given).is_err(), "{entitlement:?}");
        }
        assert_eq!(reason(" pays by invoice ").unwrap(), "pays by invoice");
        for wrong in ["", "  ", "a\nb", &"x".repeat(201)] {
            assert!(reason(wrong).is_err(), "{wrong:?}");
        }
        for one in Entitlement::ALL.iter().copied() {
            assert_eq!(entitlement(wire_entitlement(one)).unwrap(), one);
        }
        assert!(entitlement(pb::Entitlement::Unspecified).is_err());
    }

    #[test]
    fn an_update_of_a_size_is_within_bounds_and_changes_what_its_mask_names() {
        let micro = ProjectSize {
            name: "micro".into(),
            cpu_millis: 250,
            memory_mib: 512,
            disk_mib: 2048,
            connections: 60,
        };
        let body = pb::UpdateProjectSizeRequest { cpu_millis: 300, memory_mib: 1, ..Default::default() };
        let edited = |paths: &[&str]| {
            let mask = pb_mask(paths);
            let mut size = micro.clone();
            edit_size(&mut size, &body, &Changes::parse(Some(&mask), SIZE_FIELDS)?).map(|()| size)
        };
        assert_eq!(edited(&["cpu_millis"]).unwrap(), ProjectSize { cpu_millis: 300, ..micro.clone() });
        for (path, field) in
            [("memory_mib", "memory_mib"), ("disk_mib", "disk_mib"), ("connections", "connections")]
        {
            let refused = edited(&[path]).unwrap_err().to_string();
            assert!(refused.contains(field), "{refused}");
        }
        assert!(edited(&["name"]).is_err(), "the name stays");
    }
}
