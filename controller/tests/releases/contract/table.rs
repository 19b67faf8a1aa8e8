//! The words that the table is written in.

use super::{auth_api, functions_gateway, postgres, realtime_storage};

/// What one service must be.
pub struct Contract {
    /// Its name.
    pub service: &'static str,
    /// §1: the image, exactly.
    pub image: &'static str,
    /// Command line: by its name in `Launch`.
    pub launch: &'static str,
    /// §2: names on the project's network that clients and users know.
    pub aliases: &'static [&'static str],
    /// §2: port inside and its name outside, if it is published at all.
    pub port: Option<(u32, &'static str, &'static str)>,
    /// §13: where volumes are mounted.
    pub volumes: &'static [&'static str],
    /// Variables.
    pub variables: &'static [Variable],
    /// Files that must be there.
    pub files: &'static [File],
    /// §12: how it is known to be ready.
    pub probe: Probe,
    /// §12: what must be healthy before.
    pub depends_on: &'static [&'static str],
    /// Users it may run as; "" is the image's own.
    pub users: &'static [&'static str],
    /// Capabilities that it must have, and those that it may have besides.
    pub capabilities: (&'static [&'static str], &'static [&'static str]),
    /// Whether setuid programs must work.
    pub new_privileges: bool,
    /// Signals that end it; "" is the image's own.
    pub stop_signals: &'static [&'static str],
    /// Seconds it must be given to end.
    pub least_grace: u32,
    /// §14: MiB below which a limit is risky.
    pub least_memory_mib: u32,
}

/// One variable, or one that has several names.
pub struct Variable {
    /// Section of the contract.
    pub section: &'static str,
    /// Names; the image takes the first that is set.
    pub names: &'static [&'static str],
    /// What it must be.
    pub need: Need,
}

/// What a variable must be. Texts hold `{name}` for a secret of the project, `{ref}` for its id and `{public}` for the
/// gateway's public origin.
pub enum Need {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Not set, or one of these: the image's default is the same or harmless.
    UnsetOr(&'static [&'static str]),
    /// Passes the check; the text says which.
    Fits(&'static str, fn(&str) -> bool),
    /// Not set, or passes the check.
    UnsetOrFits(&'static str, fn(&str) -> bool),
    /// A database URL: role, and the secret that is its password.
    Login(&'static str, &'static str),
    /// Must not be set.
    Unset,
}

/// A file in the container.
pub struct File {
    /// Section of the contract.
    pub section: &'static str,
    /// Absolute path in the container.
    pub path: &'static str,
    /// Who reads it, as far as the contract knows the uid: `None` = an unknown uid, so everyone must be able to.
    pub reader: Option<u32>,
    /// It holds secrets: nobody but the reader.
    pub secret: bool,
    /// Mounted alone, because the folder has files of the image.
    pub alone: bool,
    /// Texts that must be in it.
    pub has: &'static [&'static str],
    /// Texts that must not be in it.
    pub lacks: &'static [&'static str],
}

/// When a service is ready.
pub enum Probe {
    /// Port, paths that will do, the bearer's secret ("" = none), seconds that a first start must be given.
    Http(u32, &'static [&'static str], &'static str, u32),
    /// Role, the secret that is its password, seconds.
    Postgres(&'static str, &'static str, u32),
}

/// A variable that must be this.
pub const fn is(
    section: &'static str,
    name: &'static [&'static str],
    one_of: &'static [&'static str],
) -> Variable {
    Variable { section, names: name, need: Need::OneOf(one_of) }
}

/// A variable that may be left out.
pub const fn if_set(
    section: &'static str,
    name: &'static [&'static str],
    one_of: &'static [&'static str],
) -> Variable {
    Variable { section, names: name, need: Need::UnsetOr(one_of) }
}

/// A variable that must not be there.
pub const fn unset(section: &'static str, name: &'static [&'static str]) -> Variable {
    Variable { section, names: name, need: Need::Unset }
}

/// A variable with a form.
pub const fn fits(
    section: &'static str,
    name: &'static [&'static str],
    what: &'static str,
    check: fn(&str) -> bool,
) -> Variable {
    Variable { section, names: name, need: Need::Fits(what, check) }
}

/// The table.
pub fn contracts() -> [Contract; 7] {
    [
        postgres::POSTGRES,
        auth_api::AUTH,
        auth_api::API,
        realtime_storage::REALTIME,
        realtime_storage::STORAGE,
        functions_gateway::FUNCTIONS,
        functions_gateway::GATEWAY,
    ]
}

/// An absolute URL of the public side; the origin itself is known where the project lies.
pub fn is_url(text: &str) -> bool {
    text.starts_with("${placement.api_url}") || text.starts_with("https://") || text.starts_with("http://")
}

/// A whole number above 0.
pub fn is_positive(text: &str) -> bool {
    text.parse::<u64>().is_ok_and(|number| number > 0)
}

/// Something.
pub fn is_something(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\u{1}')
}
