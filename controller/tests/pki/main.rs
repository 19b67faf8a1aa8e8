//! The fleet's certificates: renewed, recovered, revoked, replaced, held by two.

mod duplicates;
mod recovery;
mod renewal;
mod revocation;
mod rotation;
