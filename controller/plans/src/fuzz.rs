//! Fuzz target of the operator's requests: what is taken is bounded and of the right kind, what is refused names a field.

use prost::Message as _;
use supalove_core::{
    error::{Error, Result},
    wire::Changes,
};
use supalove_fuzz::{Samples, Verdict, bytes};
use supalove_proto::v1::{self as pb, entitlement_value::Kind};

use crate::{
    Entitlement, PROJECT_SIZES, ProjectSize, Value,
    api::wire::{self, tests::plan},
};

fn update(body: &pb::UpdatePlanRequest) -> Result<()> {
    let fields = Changes::parse(body.update_mask.as_ref(), wire::FIELDS)?;
    let mut plan = plan();
    wire::edit(&mut plan, body, &fields)?;
    assert!(plan.price_cents >= 0 && !plan.display_name.is_empty());
    let bounded = |entitlement: Entitlement| match plan.limits.value(entitlement) {
        Value::Number(number) => (0..=1_000_000_000_000_000).contains(&number),
        Value::Allowed(_) => true,
        Value::Sizes(sizes) => {
            let order = |size: &String| PROJECT_SIZES.iter().position(|known| known == size).unwrap();
            !sizes.is_empty() && sizes.iter().map(order).is_sorted_by(|one, next| one < next)
        }
    };
    assert!(Entitlement::ALL.iter().copied().all(bounded), "{plan:?}");
    assert!(plan.limits.members >= 1);
    Ok(())
}

fn set(body: &pb::SetEntitlementRequest) -> Result<()> {
    let entitlement = wire::entitlement(body.entitlement())?;
    let value = wire::value(entitlement, body.value.as_ref())?;
    let reason = wire::reason(&body.reason)?;
    assert!((1..=200).contains(&reason.chars().count()) && !reason.contains(char::is_control));
    // Only a value of the right kind passes.
    plan().limits.set(entitlement, value, "value").unwrap();
    Ok(())
}

fn resize(body: &pb::UpdateProjectSizeRequest) -> Result<()> {
    let fields = Changes::parse(body.update_mask.as_ref(), wire::SIZE_FIELDS)?;
    let mut size = ProjectSize {
        name: "nano".into(),
        cpu_millis: 150,
        memory_mib: 256,
        disk_mib: 1024,
        connections: 60,
    };
    wire::edit_size(&mut size, body, &fields)?;
    assert!((10..=1_000_000).contains(&size.cpu_millis) && (32..=16_000_000).contains(&size.memory_mib));
    assert!((128..=64_000_000).contains(&size.disk_mib) && (10..=5_000).contains(&size.connections));
    Ok(())
}

#[test]
fn requests_of_the_operator() {
    let limits = pb::Plan::from(plan()).limits;
    let mask = |paths: &[&str]| {
        Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
    };
    let updated = pb::UpdatePlanRequest { display_name: "Pro".into(), limits, ..Default::default() };
    let sizes = Kind::Sizes(pb::ProjectSizes { names: vec!["nano".into(), "large".into()] });
    let overridden = |entitlement: pb::Entitlement, kind| pb::SetEntitlementRequest {
        entitlement: entitlement.into(),
        value: Some(pb::EntitlementValue { kind: Some(kind) }),
        reason: "a pilot".into(),
        ..Default::default()
    };
    let first = |which: u8, message: Vec<u8>| [vec![which], message].concat();
    let samples = [
        first(0, updated.encode_to_vec()),
        first(
            0,
            pb::UpdatePlanRequest {
                update_mask: mask(&["limits.members", "limits.project_sizes"]),
                ..updated
            }
            .encode_to_vec(),
        ),
        first(1, overridden(pb::Entitlement::Members, Kind::Number(7)).encode_to_vec()),
        first(1, overridden(pb::Entitlement::PrivateClusters, Kind::Allowed(true)).encode_to_vec()),
        first(1, overridden(pb::Entitlement::ProjectSizes, sizes).encode_to_vec()),
        first(
            2,
            pb::UpdateProjectSizeRequest {
                size: "small".into(),
                cpu_millis: 500,
                memory_mib: 1024,
                disk_mib: 4096,
                connections: 90,
                ..Default::default()
            }
            .encode_to_vec(),
        ),
    ];
    let words: [&[u8]; 3] = [b"limits.projects", b"micro", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"];
    bytes("plans and entitlements", &Samples::new(samples).words(words), |input| {
        let Some((which, body)) = input.split_first() else { return Verdict::Refused };
        let done = match which % 3 {
            0 => pb::UpdatePlanRequest::decode(body).ok().map(|body| update(&body)),
            2 => pb::UpdateProjectSizeRequest::decode(body).ok().map(|body| resize(&body)),
            _ => pb::SetEntitlementRequest::decode(body).ok().map(|body| set(&body)),
        };
        let Some(done) = done else { return Verdict::Refused };
        if let Err(error) = &done {
            assert!(
                matches!(error, Error::Invalid(fields) if fields.iter().all(|one| !one.field.is_empty())),
                "{error:?}"
            );
        }
        Verdict::from_result(&done)
    });
}
