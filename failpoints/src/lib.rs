//! Failpoints: named places in controller and agent at which a test can end the process, as `kill -9` would.
//!
//! [`POINTS`] lists them all. A program passes one with [`failpoint!`]; a name that is not in the list does not compile,
//! and a test fails for a name of the list that is nowhere in the program. Without the feature `armed` the macro leaves
//! nothing in the program, not even the name.

#[cfg(feature = "armed")]
mod armed;
mod points;

#[cfg(feature = "armed")]
pub use armed::pass;
pub use points::{POINTS, Point, Side, is_listed};

/// Environment variable with the directory through which a test and a program talk, see [`ARMED`].
pub const DIRECTORY: &str = "SUPALOVE_FAILPOINTS";
/// File in it that names the point to die at: `name count spared`. The process dies when it passes the point for the
/// count-th time on behalf of any project but the spared one ("-" spares none). With a fourth word, `panic`, not the
/// process dies but the task that passes the point panics. The file is read again at every point.
pub const ARMED: &str = "armed";
/// What that file is renamed to just before the process dies, so that it does not die again after its restart.
pub const FIRED: &str = "fired";
/// File in it that gets a line `name project` for each point that is passed.
pub const PASSED: &str = "passed";

/// Marks a place: `failpoint!("agent.network.created", project_ref)`, or without a project where there is none.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint!($name, "")
    };
    ($name:literal, $project:expr) => {{
        const { assert!($crate::is_listed($name), "not in the list of failpoints") };
        $crate::at!($name, $project);
    }};
}

/// What [`failpoint!`] does at run time.
#[cfg(feature = "armed")]
#[doc(hidden)]
#[macro_export]
macro_rules! at {
    ($name:literal, $project:expr) => {
        $crate::pass($name, $project)
    };
}

/// What [`failpoint!`] does at run time: nothing.
#[cfg(not(feature = "armed"))]
#[doc(hidden)]
#[macro_export]
macro_rules! at {
    ($name:literal, $project:expr) => {
        let _ = &$project;
    };
}
