//! Judges what a controller sends before any of it is stored. In: an ApplyStack request and the host's settings. Out:
//! nothing, or every field that is wrong. No I/O.

mod counts;
#[cfg(test)]
mod fuzz;
mod placement;
mod service;
mod tokens;
mod validate;

pub use self::tokens::{TokenError, substitute, substitute_text};
pub use self::validate::{Violation, Violations, validate};

use supalove_proto::node::v1::{Launch, ServiceSpec, probe};

/// True for the launches of a PostgreSQL server.
pub fn is_postgres(launch: Launch) -> bool {
    matches!(launch, Launch::Postgres | Launch::PostgresTls)
}

/// True for the service that holds the project's data: it is never restarted because of a probe alone.
pub fn is_database(service: &ServiceSpec) -> bool {
    let check = service.probe.as_ref().and_then(|probe| probe.check.as_ref());
    is_postgres(service.launch()) || matches!(check, Some(probe::Check::Postgres(_)))
}
