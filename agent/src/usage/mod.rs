//! What the projects of this host use. In: the kernel's counters of each container, and the sizes of volumes. Out: records in a
//! spool on disk, which the controller takes over the control session.
//!
//! A record has cumulative counters with the identity of the run that they belong to. So the agent computes no differences and
//! remembers nothing but the spool: a record that is sent twice, dropped, or missing because the agent was down changes nothing
//! of what is counted in the end.

mod cgroup;
mod clock;
#[cfg(test)]
mod fuzz;
mod sampler;
mod spool;

pub use self::clock::Clock;
pub use self::sampler::run;
pub use self::spool::Spool;
