//! How much a spec may hold. Far above what a release needs, far below what would hurt a host.

/// Services of a stack.
pub const SERVICES: usize = 32;
/// Volumes of a stack.
pub const VOLUMES: usize = 32;
/// Environment variables of a service.
pub const ENV: usize = 512;
/// Bytes of one environment value; Linux takes no argument or variable above 128 KiB.
pub const ENV_VALUE: usize = 120 * 1024;
/// Mounts, ports, aliases, tmpfs of a service, each.
pub const PER_SERVICE: usize = 32;
/// Files of a stack.
pub const FILES: usize = 4096;
/// Bytes of all files of a stack.
pub const FILE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of an ApplyStack message on the wire.
pub const MESSAGE_BYTES: usize = 24 * 1024 * 1024;
/// Violations reported at once.
pub const VIOLATIONS: usize = 20;
