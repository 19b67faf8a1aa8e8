//! Maximum sizes of specifications, reports and messages: far above the needs of a release, and far below the sizes
//! that would harm a host or a controller.

/// Services of a stack.
pub const SERVICES: usize = 32;

/// Thousandths of a core that a container may use.
pub const CPU_MILLIS: u32 = 1_024_000;

/// MiB of memory that a container may use.
pub const MEMORY_MIB: u32 = 16_777_216;
/// Volumes of a stack.
pub const VOLUMES: usize = 32;
/// Characters of the name of a service or a volume.
pub const NAME_CHARS: usize = 32;
/// Environment variables of a service.
pub const ENV: usize = 512;
/// Bytes of one environment value; Linux rejects an argument or variable above 128 KiB.
pub const ENV_VALUE: usize = 120 * 1024;
/// Mounts, ports, aliases, tmpfs of a service, each.
pub const PER_SERVICE: usize = 32;
/// SQL files that a service runs at each start.
pub const START_SQL: usize = 8;
/// Files of a stack.
pub const FILES: usize = 4096;
/// Bytes of all files of a stack.
pub const FILE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of one message between controller and agent, either way: a stack with all its files, and its environment.
pub const MESSAGE_BYTES: usize = 24 * 1024 * 1024;
/// Bytes of one message on a join or renewal connection: a certificate request, or a certificate with the fleet's
/// roots.
pub const SHORT_MESSAGE_BYTES: usize = 64 * 1024;
/// Violations reported at once.
pub const VIOLATIONS: usize = 20;
/// Stored lines of a log tail in a report.
pub const LOG_TAIL_LINES: usize = 50;
/// Stored characters of a reported text.
pub const REPORT_CHARS: usize = 4096;
/// Characters of each text that a node reports about itself: boot id, run id, versions.
pub const NODE_TEXT_CHARS: usize = 128;
/// Characters of the reason of a blocked slot.
pub const REASON_CHARS: usize = 200;
/// Conditions of a node in one report.
pub const CONDITIONS: usize = 32;
/// Readers of logs of one node at once: stalled ones together leave a part of the bulk connection's window free.
pub const LOG_READERS: usize = 48;
/// Last lines of a log that one call may ask for, of each service.
pub const LOG_LINES: u32 = 10_000;
/// Bytes of an image's manifest.
pub const IMAGE_MANIFEST_BYTES: usize = 128 * 1024;
/// Bytes of an image's configuration.
pub const IMAGE_CONFIG_BYTES: u64 = 1024 * 1024;
/// Layers of an image: more than the engine's storage drivers stack.
pub const IMAGE_LAYERS: usize = 128;
/// Bytes of one layer of an image.
pub const IMAGE_LAYER_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Bytes of a layer in one message, to the controller and to an agent.
pub const IMAGE_CHUNK_BYTES: usize = 128 * 1024;
/// Images that one node fetches from the controller at once: stalled ones together leave most of the bulk connection's window
/// free.
pub const IMAGE_FETCHES: usize = 4;
/// Characters of a display name.
pub const DISPLAY_CHARS: usize = 80;

// A message has space for the maximum of files, and a third of it for everything else.
const _: () = assert!(FILE_BYTES + MESSAGE_BYTES / 3 <= MESSAGE_BYTES);
const _: () = assert!(ENV_VALUE < 128 * 1024);
const _: () = assert!(IMAGE_CHUNK_BYTES < MESSAGE_BYTES && IMAGE_MANIFEST_BYTES < MESSAGE_BYTES);
