//! Things that break: a host, a project, what lies between the control plane and its nodes.

mod control;
mod grey;
mod host;
mod project;
mod restores;
mod volumes;
