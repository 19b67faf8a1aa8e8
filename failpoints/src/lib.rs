//! Failpoints: named places in controller and agent at which a test can end the process, as `kill -9` would.
//!
//! [`POINTS`] lists them all. A program passes one with [`failpoint!`]. A name that is not in the list does not
//! compile, and a test fails for a listed name that no program passes. Without the feature `armed` the macro compiles
//! to nothing, not even the name.

#[cfg(feature = "armed")]
mod armed;
mod points;

#[cfg(feature = "armed")]
pub use armed::pass;
pub use points::{POINTS, Point, Side, is_listed};

/// Environment variable with the directory through which a test and a program communicate, see [`ARMED`].
pub const DIRECTORY: &str = "SUPALOVE_FAILPOINTS";
/// File in it that names the point to die at: `name count spared`. The process dies when it passes the point for the
/// count-th time for any project except the spared one ("-" spares none). With a fourth word, `panic`, not the
/// process dies but the task that passes the point panics. The program reads the file again at every point.
pub const ARMED: &str = "armed";
/// The program renames the file to this just before it dies, so that it does not die again after its restart.
pub const FIRED: &str = "fired";
/// File in it to which the program appends a line `name project` for each passed point.
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

/// Run-time part of [`failpoint!`].
#[cfg(feature = "armed")]
#[doc(hidden)]
#[macro_export]
macro_rules! at {
    ($name:literal, $project:expr) => {
        $crate::pass($name, $project)
    };
}

/// Run-time part of [`failpoint!`]: nothing.
#[cfg(not(feature = "armed"))]
#[doc(hidden)]
#[macro_export]
macro_rules! at {
    ($name:literal, $project:expr) => {
        let _ = &$project;
    };
}
