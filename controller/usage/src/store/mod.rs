//! The room's SQL, a file for each of its parts.

pub mod counts;
pub mod intake;
pub mod limits;
pub mod read;
pub mod roll_up;
