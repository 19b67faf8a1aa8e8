//! The example of the README, as it stands there.

include!(concat!(env!("OUT_DIR"), "/readme.rs"));
