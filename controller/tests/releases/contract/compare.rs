//! Table × rendered release → the rows that are not met, in words.

use std::collections::BTreeSet;

use supalove_proto::node::v1::{Capability, ServiceSpec, probe::Check};

use super::{
    rendered::{Project, files},
    table::{Contract, File, Need, Probe, Variable, contracts},
};

/// All rows that are not met.
pub fn problems(project: &Project) -> Vec<String> {
    contracts().iter().flat_map(|contract| problems_of(project, contract)).collect()
}

/// Those of one service.
pub fn problems_of(project: &Project, contract: &Contract) -> Vec<String> {
    let service = project.service(contract.service);
    let mut report = Report { service: contract.service, lines: Vec::new() };
    for row in contract.variables {
        variable(&mut report, project, service, row);
    }
    for row in contract.files {
        file(&mut report, project, service, row);
    }
    parts(&mut report, contract, service);
    probe(&mut report, project, contract, service);
    security(&mut report, contract, service);
    report.lines
}

struct Report {
    service: &'static str,
    lines: Vec<String>,
}

impl Report {
    fn check(&mut self, holds: bool, what: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.lines.push(format!("{} {what}: {}", self.service, message()));
        }
    }
}

fn variable(report: &mut Report, project: &Project, service: &ServiceSpec, row: &Variable) {
    let find = |name: &&str| service.env.iter().find(|one| one.name == *name);
    let value = row.names.iter().find_map(find).map(|one| one.value.as_str());
    let what = format!("{} ({})", row.names[0], row.section);
    let one_of = |list: &[&str]| value.is_some_and(|value| list.iter().any(|one| project.fill(one) == value));
    let (holds, wanted) = match &row.need {
        Need::OneOf(list) => (one_of(list), format!("one of {list:?}")),
        Need::UnsetOr(list) => (value.is_none() || one_of(list), format!("unset or one of {list:?}")),
        Need::Fits(what, fits) => (value.is_some_and(fits), (*what).to_owned()),
        Need::UnsetOrFits(what, fits) => (value.is_none_or(fits), format!("unset or {what}")),
        Need::Login(role, password) => {
            let url = project.fill(&format!("://{role}:{{{password}}}@db:5432/postgres"));
            let rest = value.and_then(|value| value.strip_prefix("postgres")).unwrap_or_default();
            let rest = rest.strip_prefix("ql").unwrap_or(rest);
            let rest = rest.split('?').next().unwrap_or_default();
            (rest == url, format!("a URL of {role} with {password} at db:5432/postgres"))
        }
        Need::Unset => (value.is_none(), "unset".to_owned()),
    };
    // Values may be secret, also in a test's output.
    report.check(holds, &what, || {
        format!("must be {wanted}, is {}", if value.is_some() { "something else" } else { "unset" })
    });
}

fn file(report: &mut Report, project: &Project, service: &ServiceSpec, row: &File) {
    let what = format!("file {} ({})", row.path, row.section);
    let Some((mount, file, _)) = files(service).find(|(_, _, path)| path == row.path) else {
        return report.check(false, &what, || "is missing".to_owned());
    };
    report.check(mount.single_file || !row.alone, &what, || "hides the image's own files".to_owned());
    match row.reader {
        None if row.secret => {}
        None => report.check(file.mode & 0o004 != 0, &what, || {
            format!("mode {:o}: the image's user has no known uid and cannot read it", file.mode)
        }),
        Some(uid) => report.check(file.uid == uid && file.mode & 0o400 != 0, &what, || {
            format!("uid {} mode {:o}: {uid} cannot read it", file.uid, file.mode)
        }),
    }
    report.check(!row.secret || file.mode.trailing_zeros() >= 6, &what, || {
        format!("mode {:o}: holds secrets, others can read it", file.mode)
    });
    let content = String::from_utf8_lossy(&file.content).to_lowercase();
    for text in row.has {
        report.check(content.contains(&text.to_lowercase()), &what, || format!("lacks {text:?}"));
    }
    for text in row.lacks {
        report
            .check(!content.contains(&project.fill(text).to_lowercase()), &what, || format!("has {text:?}"));
    }
}

fn parts(report: &mut Report, contract: &Contract, service: &ServiceSpec) {
    report
        .check(service.image == contract.image, "image (§1)", || format!("{} is not exact", service.image));
    let launch = service.launch().as_str_name();
    report.check(launch == contract.launch, "launch", || {
        format!("is {launch}, the contract wants {}", contract.launch)
    });
    for alias in contract.aliases {
        let known = service.aliases.iter().any(|one| one == alias);
        report.check(known, "aliases (§2)", || format!("{alias} is missing"));
    }
    if contract.aliases.is_empty() {
        let name = service.name == contract.service;
        // Its own name is the official one; any other would be a name that nobody asked for.
        report
            .check(name && service.aliases.is_empty(), "aliases (§2)", || format!("{:?}", service.aliases));
    }
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| (port.container_port, port.named_port().as_str_name(), port.exposure().as_str_name()))
        .collect();
    let expected: Vec<_> = contract.port.into_iter().collect();
    report.check(ports == expected, "ports (§2)", || format!("{ports:?}, not {expected:?}"));
    let mut volumes: Vec<&str> = service.volume_mounts.iter().map(|one| one.path.as_str()).collect();
    volumes.sort_unstable();
    let writable = service.volume_mounts.iter().all(|one| !one.read_only);
    report.check(volumes == contract.volumes && writable, "volumes (§13)", || format!("{volumes:?}"));
    let depends_on: Vec<&str> = service.depends_on.iter().map(String::as_str).collect();
    report.check(depends_on == contract.depends_on, "depends_on (§12)", || format!("{depends_on:?}"));
    let stop = contract.stop_signals.contains(&service.stop_signal.as_str());
    report.check(stop && service.stop_grace_seconds >= contract.least_grace, "stop", || {
        format!("{} within {} s", service.stop_signal, service.stop_grace_seconds)
    });
    let memory = service.limits.as_ref().map_or(0, |limits| limits.memory_mib);
    report.check(memory >= contract.least_memory_mib, "memory (§14)", || format!("{memory} MiB"));
}

fn probe(report: &mut Report, project: &Project, contract: &Contract, service: &ServiceSpec) {
    let Some(probe) = &service.probe else {
        return report.check(false, "probe", || "is missing".to_owned());
    };
    let (holds, seconds) = match (&contract.probe, &probe.check) {
        (Probe::Http(port, paths, bearer, seconds), Some(Check::Http(http))) => {
            let bearer = if bearer.is_empty() { String::new() } else { project.secrets[bearer].clone() };
            let asked = paths.contains(&http.path.as_str()) && http.port == *port;
            (asked && http.bearer == bearer, *seconds)
        }
        (Probe::Postgres(role, password, seconds), Some(Check::Postgres(login))) => {
            let asked = login.port == 5432 && login.user == *role && login.database == "postgres";
            (asked && login.password == project.secrets[password], *seconds)
        }
        (Probe::Http(.., seconds) | Probe::Postgres(.., seconds), _) => (false, *seconds),
    };
    report.check(holds, "probe (§12)", || "asks for something else".to_owned());
    let given = probe.ready_within_seconds;
    report.check(given >= seconds, "probe (§12)", || format!("gives up after {given} s, not {seconds} s"));
}

fn security(report: &mut Report, contract: &Contract, service: &ServiceSpec) {
    let security = service.security.clone().unwrap_or_default();
    report.check(contract.users.contains(&security.user.as_str()), "user (§2)", || security.user.clone());
    let given: BTreeSet<&str> = security
        .add_capabilities
        .iter()
        .map(|one| Capability::try_from(*one).map_or("unknown", |one| one.as_str_name()))
        .map(|name| name.trim_start_matches("CAPABILITY_"))
        .collect();
    let (needed, allowed) = contract.capabilities;
    let missing: Vec<_> = needed.iter().filter(|one| !given.contains(*one)).collect();
    let beyond: Vec<_> = given.iter().filter(|one| !needed.contains(one) && !allowed.contains(one)).collect();
    report.check(missing.is_empty() && beyond.is_empty(), "capabilities", || {
        format!("{missing:?} are missing, {beyond:?} are not asked for")
    });
    report.check(security.allow_new_privileges == contract.new_privileges, "new privileges", || {
        format!("{}, not {}", security.allow_new_privileges, contract.new_privileges)
    });
}
