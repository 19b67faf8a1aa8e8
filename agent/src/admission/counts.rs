//! Counts every list of a request before anything else is checked: an empty message costs two bytes, so a request within
//! the size limit can still hold millions.

use supalove_proto::node::v1::{ServiceSpec, StackSpec};
use supalove_spec::limits;

use super::Violations;

/// Adds a violation for every list that is too long; returns true if none is.
pub(super) fn check(spec: &StackSpec, found: &mut Violations) -> bool {
    let mut within = |holds: bool, field: String, description: String| {
        found.check(holds, field, description);
        holds
    };
    let services = spec.services.len();
    let volumes = spec.volumes.len();
    let few = within(
        (1..=limits::SERVICES).contains(&services),
        "spec.services".into(),
        format!("must hold 1 to {} services", limits::SERVICES),
    ) & within(
        volumes <= limits::VOLUMES,
        "spec.volumes".into(),
        format!("must hold at most {} volumes", limits::VOLUMES),
    );
    if !few {
        return false;
    }
    let mut all = true;
    for (index, service) in spec.services.iter().enumerate() {
        for (list, length, most) in lists(service) {
            let field = format!("spec.services[{index}].{list}");
            all &= within(length <= most, field, format!("must hold at most {most}"));
        }
    }
    let files =
        spec.services.iter().flat_map(|service| &service.config_mounts).flat_map(|mount| &mount.files);
    let (count, bytes) = files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.content.len()));
    all & within(
        count <= limits::FILES && bytes <= limits::FILE_BYTES,
        "spec.services.config_mounts".into(),
        format!(
            "must hold at most {} files and {} MiB in all services together",
            limits::FILES,
            limits::FILE_BYTES / (1024 * 1024)
        ),
    )
}

fn lists(service: &ServiceSpec) -> [(&'static str, usize, usize); 10] {
    let security = service.security.as_ref();
    [
        ("env", service.env.len(), limits::ENV),
        ("aliases", service.aliases.len(), limits::PER_SERVICE),
        ("ports", service.ports.len(), limits::PER_SERVICE),
        ("volume_mounts", service.volume_mounts.len(), limits::PER_SERVICE),
        ("config_mounts", service.config_mounts.len(), limits::PER_SERVICE),
        ("start_sql", service.start_sql.len(), limits::START_SQL),
        ("reload_sql", service.reload_sql.len(), limits::START_SQL),
        ("depends_on", service.depends_on.len(), limits::PER_SERVICE),
        ("security.tmpfs", security.map_or(0, |security| security.tmpfs.len()), limits::PER_SERVICE),
        (
            "security.add_capabilities",
            security.map_or(0, |security| security.add_capabilities.len()),
            limits::PER_SERVICE,
        ),
    ]
}
