//! The release `supabase-2025.12` against the researched contract of its images (the design's `stack-contract.md`, of
//! which each row names its section). The table was written from that text, not from the release.

mod auth_api;
mod compare;
mod functions_gateway;
mod postgres;
mod realtime_storage;
mod rendered;
mod table;
mod whole;

use compare::{problems, problems_of};
use rendered::Project;
use table::{Need, contracts};

#[test]
fn every_service_is_what_its_image_asks_for() {
    let found = problems(&Project::render());
    assert!(found.is_empty(), "{} rows are not met:\n{}", found.len(), found.join("\n"));
}

#[test]
fn there_are_the_seven_services_and_no_other() {
    let project = Project::render();
    let mut services: Vec<&str> = project.spec.services.iter().map(|one| one.name.as_str()).collect();
    services.sort_unstable();
    let mut expected: Vec<&str> = contracts().iter().map(|one| one.service).collect();
    expected.sort_unstable();
    assert_eq!(services, expected);
}

/// The comparison itself: it sees a variable that is missing, one that must not be there, and one that is wrong.
#[test]
fn each_row_of_the_table_can_fail() {
    for contract in contracts() {
        for row in contract.variables {
            for (what, value) in [("unset", None), ("wrong", Some("\u{1}wrong"))] {
                let mut project = Project::render();
                project.set(contract.service, row.names, value);
                let found = problems_of(&project, &contract);
                let seen = found.iter().any(|line| line.contains(row.names[0]));
                assert_eq!(seen, must_be_seen(&row.need, value), "{} {what}: {found:#?}", row.names[0]);
            }
        }
    }
}

/// Whether a row must object to a variable that is not set, or set to nonsense.
fn must_be_seen(need: &Need, value: Option<&str>) -> bool {
    match need {
        Need::Unset | Need::UnsetOr(_) | Need::UnsetOrFits(..) => value.is_some(),
        Need::OneOf(_) | Need::Fits(..) | Need::Login(..) => true,
    }
}

/// The comparison of what is no variable: each part of a service, spoilt, is reported.
#[test]
fn every_other_part_of_a_service_can_fail() {
    type Spoil = fn(&mut supalove_proto::node::v1::ServiceSpec);
    let spoils: [(&str, Spoil); 9] = [
        ("image", |service| service.image.push_str("-other")),
        ("launch", |service| service.launch = 0),
        ("aliases", |service| service.aliases = vec!["other".into()]),
        ("ports", |service| service.ports.push(supalove_proto::node::v1::PublishedPort::default())),
        ("volumes", |service| {
            service
                .volume_mounts
                .push(supalove_proto::node::v1::VolumeMount { path: "/other".into(), ..Default::default() });
        }),
        ("probe", |service| service.probe.as_mut().unwrap().ready_within_seconds = 1),
        ("depends_on", |service| service.depends_on = vec!["gateway".into()]),
        ("capabilities", |service| service.security.as_mut().unwrap().add_capabilities.push(6)),
        ("stop", |service| service.stop_signal = "SIGKILL".into()),
    ];
    for contract in contracts() {
        for (part, spoil) in spoils {
            let mut project = Project::render();
            spoil(project.service_mut(contract.service));
            let found = problems_of(&project, &contract);
            let start = format!("{} {part}", contract.service);
            assert!(found.iter().any(|line| line.contains(&start)), "{start}: {found:#?}");
        }
    }
}
