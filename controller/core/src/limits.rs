//! All limits on what peers may have open, send and keep waiting, in one place, so that a test can check their order.
//! What is above a limit is refused at once; nothing waits for room.

use std::time::Duration;

use crate::{database::CALL_CONNECTIONS, times::Times};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The limits of one replica.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections to the public port at once.
    pub public_connections: usize,
    /// Connections to the public port at once from one address (IPv6: one /64 network). Not for trusted proxies.
    pub public_connections_per_address: usize,
    /// Concurrent calls on a connection to the public port.
    pub streams_per_connection: u32,
    /// Concurrent calls on a connection of a trusted proxy.
    pub streams_per_proxy_connection: u32,
    /// Bytes of all headers of a request.
    pub header_bytes: u32,
    /// Bytes of request bodies that one connection may have buffered and unread.
    pub window_bytes: u32,
    /// Bytes of a request to a method that anyone may call.
    pub open_request_bytes: usize,
    /// Bytes of a request to any other method.
    pub request_bytes: usize,
    /// Bytes of all requests that are being received or decoded, of methods that anyone may call.
    pub open_memory: usize,
    /// The same for all other methods.
    pub request_memory: usize,
    /// Calls of methods that anyone may call, at once.
    pub open_calls: usize,
    /// The same from one address.
    pub open_calls_per_address: usize,
    /// Other calls whose caller is not known yet, at once: their tokens are being looked up.
    pub unknown_calls: usize,
    /// The same from one address.
    pub unknown_calls_per_address: usize,
    /// Streams of methods that anyone may call, at once: they may stay open for long.
    pub open_streams: usize,
    /// The same from one address.
    pub open_streams_per_address: usize,
    /// Longest life of such a stream.
    pub open_stream: Duration,
    /// Calls of one signed-in user at once, streams and waits included.
    pub calls_per_user: usize,
    /// Streams (projects, organizations, nodes) that all users watch at once.
    pub watched: usize,
    /// Streams that one user watches at once.
    pub watched_per_user: usize,
    /// `TailLogs` calls of all users at once.
    pub tails: usize,
    /// The same of one user.
    pub tails_per_user: usize,
    /// `WaitOperation` calls of one user at once.
    pub waits_per_user: usize,
    /// Connections of the pool that watches may use at once.
    pub watch_reads: usize,
    /// Exports of the audit log at once. Each reads page after page.
    pub audit_exports: usize,
    /// The same of one user.
    pub audit_exports_per_user: usize,
    /// Pages of the audit log that are read at once: a filter that finds little reads a whole chain.
    pub audit_lists: usize,
    /// The same of one user.
    pub audit_lists_per_user: usize,

    /// Connections to the node port at once, of nodes with a certificate.
    pub node_connections: usize,
    /// Connections of one node at once: a control session and the one that replaces it, bulk, a renewal.
    pub connections_per_node: usize,
    /// Connections to the node port of which nothing is known yet, at once.
    pub hellos: usize,
    /// The same from one address.
    pub hellos_per_address: usize,
    /// How many of them are only for addresses from which a node of the fleet has dialled.
    pub hellos_of_known: usize,
    /// Handshakes and calls of peers that want to join, at once.
    pub joins: usize,
    /// The same from one address.
    pub joins_per_address: usize,
    /// Connections of hosts that download the agent, at once.
    pub downloads: usize,
    /// The same from one address; the hosts of a site may share one.
    pub downloads_per_address: usize,
    /// Handshakes of peers that say that they are nodes, at once.
    pub node_handshakes: usize,
    /// The same from one address; the hosts of a site may share one.
    pub node_handshakes_per_address: usize,
    /// How many of them are only for addresses from which a node of the fleet has dialled.
    pub node_handshakes_of_known: usize,
    /// Addresses that are remembered because a node of the fleet has dialled from there.
    pub known_addresses: usize,

    /// File descriptors that neither port may use: database, files, logs.
    pub reserved_descriptors: usize,

    /// Time from the start of a connection to the public port to the end of the headers of its first request.
    pub first_request: Duration,
    /// Time without a call after which a connection to the public port is closed.
    pub idle: Duration,
    /// Time for a peer to take the next bytes of a response, and its end.
    pub take: Duration,
    /// Interval of HTTP/2 pings on the public port.
    pub ping: Duration,
    /// Time for a request to arrive; a streaming caller has it for each message that it has begun.
    pub body: Duration,
    /// Time for the TLS hello on the node port.
    pub hello: Duration,
    /// Time without a call after which a connection for joining or renewing is closed.
    pub join_idle: Duration,
    /// Time for a host to take the next [`Self::download_least`] bytes of a download: who is slower has no place.
    pub download_take: Duration,
    /// Bytes of a download that a host has to take in that time.
    pub download_least: u64,
    /// Time for a whole download.
    pub download: Duration,
    /// Bytes a second of all downloads together, so that they leave processor and network to the nodes.
    pub download_rate: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            public_connections: 4096,
            public_connections_per_address: 256,
            streams_per_connection: 128,
            streams_per_proxy_connection: 1024,
            header_bytes: 32 * 1024,
            window_bytes: 64 * 1024,
            open_request_bytes: 16 * KIB,
            request_bytes: 256 * KIB,
            open_memory: 8 * MIB,
            request_memory: 32 * MIB,
            open_calls: 1024,
            open_calls_per_address: 32,
            unknown_calls: 1024,
            unknown_calls_per_address: 256,
            open_streams: 256,
            open_streams_per_address: 4,
            open_stream: s(300),
            calls_per_user: 1536,
            watched: 20_000,
            watched_per_user: 1000,
            tails: 1024,
            tails_per_user: 20,
            waits_per_user: 100,
            watch_reads: 6,
            audit_exports: 4,
            audit_exports_per_user: 2,
            audit_lists: 6,
            audit_lists_per_user: 3,
            node_connections: 40_000,
            connections_per_node: 4,
            hellos: 1024,
            hellos_per_address: 128,
            hellos_of_known: 256,
            joins: 128,
            joins_per_address: 32,
            downloads: 32,
            downloads_per_address: 8,
            node_handshakes: 512,
            node_handshakes_per_address: 128,
            node_handshakes_of_known: 256,
            known_addresses: 65_536,
            reserved_descriptors: 128,
            first_request: s(10),
            idle: s(120),
            take: s(60),
            ping: s(20),
            body: s(10),
            hello: s(2),
            join_idle: s(2),
            download_take: s(20),
            download_least: 2 << 20,
            download: s(900),
            download_rate: 64 << 20,
        }
    }
}

impl Limits {
    /// Lowers the numbers of connections so that all of them fit below the limit of file descriptors: neither port can take
    /// those of the other, of the database or of files. With few descriptors half are for the node port.
    #[must_use]
    pub fn within(mut self, descriptors: usize) -> Self {
        let free = descriptors.saturating_sub(self.reserved_descriptors).max(8);
        self.hellos = self.hellos.min(free / 8);
        let node_share = free / 2 - self.hellos;
        let wanted_for_public = self.public_connections.min(free / 2);
        self.node_connections =
            self.node_connections.min((free - self.hellos - wanted_for_public).max(node_share));
        self.public_connections = self.public_connections.min(free - self.hellos - self.node_connections);
        self.hellos_of_known = self.hellos_of_known.min(self.hellos / 4);
        self.joins = self.joins.min(self.hellos / 2);
        self.joins_per_address = self.joins_per_address.min((self.joins / 4).max(1));
        self.downloads = self.downloads.min((self.hellos / 8).max(1));
        self.downloads_per_address = self.downloads_per_address.min((self.downloads / 4).max(1));
        self.hellos_per_address = self.hellos_per_address.min((self.hellos / 4).max(1));
        self.public_connections_per_address =
            self.public_connections_per_address.min((self.public_connections / 2).max(1));
        self
    }

    /// Says which limit contradicts another one; `None` if they fit together.
    pub fn contradiction(&self, times: &Times) -> Option<&'static str> {
        let ordered = [
            (
                self.public_connections_per_address <= self.public_connections,
                "connections per address, and in all",
            ),
            (
                self.streams_per_connection <= self.streams_per_proxy_connection,
                "streams, and those of a proxy",
            ),
            (self.open_request_bytes <= self.request_bytes, "bytes of an open request, and of any other"),
            (
                self.open_request_bytes * self.open_calls_per_address * 4 <= self.open_memory,
                "one address' open requests, and the memory for them",
            ),
            (
                self.request_bytes * 4 <= self.request_memory,
                "bytes of a request, and the memory for requests",
            ),
            (self.open_calls_per_address * 2 <= self.open_calls, "open calls per address, and in all"),
            (
                self.unknown_calls_per_address * 2 <= self.unknown_calls,
                "calls per address whose caller is not known yet, and in all",
            ),
            (self.open_streams_per_address * 2 <= self.open_streams, "open streams per address, and in all"),
            (times.keep_alive < self.open_stream, "keep-alives, and the life of an open stream"),
            (self.watched_per_user <= self.watched, "watched streams per user, and in all"),
            (self.tails_per_user < supalove_spec::limits::LOG_READERS, "tails per user, and per node"),
            (supalove_spec::limits::LOG_READERS <= self.tails, "tails per node, and in all"),
            // Whoever watches, reads and waits as much as allowed can still call.
            (
                self.watched_per_user + self.tails_per_user + self.waits_per_user + 256
                    <= self.calls_per_user,
                "watched streams, tails, waits, and calls per user",
            ),
            (self.audit_exports_per_user * 2 <= self.audit_exports, "audit exports per user, and in all"),
            (self.audit_lists_per_user * 2 <= self.audit_lists, "audit lists per user, and in all"),
            // With watches they leave a third of the pool to all other calls.
            (
                (self.watch_reads + self.audit_exports + self.audit_lists) * 3
                    <= CALL_CONNECTIONS as usize * 2,
                "watches and audit reads, and the pool",
            ),
            (
                self.hellos_per_address * 2 <= self.hellos.saturating_sub(self.hellos_of_known),
                "hellos per address, and in all",
            ),
            (self.joins_per_address * 2 <= self.joins, "joins per address, and in all"),
            (self.joins < self.hellos, "joins, and hellos"),
            (self.downloads_per_address * 2 <= self.downloads, "downloads per address, and in all"),
            (self.downloads < self.hellos, "downloads, and hellos"),
            (
                self.node_handshakes_per_address * 2
                    <= self.node_handshakes.saturating_sub(self.node_handshakes_of_known),
                "node handshakes per address, and in all",
            ),
            (self.first_request < self.idle, "the first request, and the idle time"),
            (self.ping * 2 < self.idle, "pings, and the idle time"),
            (times.keep_alive < self.idle, "keep-alives of a watch, and the idle time"),
            (times.keep_alive < self.take, "keep-alives of a watch, and the time to take one"),
            (self.body < times.call, "the time of a body, and of its call"),
            (self.hello < times.handshake, "the hello, and the handshake"),
            (self.join_idle < times.enrolment, "an idle join connection, and its longest life"),
            (self.download_take < self.download, "the time to take a part of a download, and the whole"),
            (
                self.download_least * self.downloads as u64
                    <= self.download_rate * self.download_take.as_secs(),
                "the least rate of downloads, and that of all together",
            ),
        ];
        ordered.into_iter().find(|(fits, _)| !fits).map(|(_, what)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_in_the_order_that_the_ports_need() {
        assert_eq!(Limits::default().contradiction(&Times::default()), None);
        let wrong = Limits { joins: 5000, ..Limits::default() };
        assert_eq!(wrong.contradiction(&Times::default()), Some("joins, and hellos"));
    }

    #[test]
    fn both_ports_fit_below_the_limit_of_descriptors() {
        for descriptors in [128, 256, 1024, 4096, 65_536, 1 << 20] {
            let limits = Limits::default().within(descriptors);
            let all = limits.public_connections + limits.node_connections + limits.hellos;
            let free = descriptors.saturating_sub(limits.reserved_descriptors).max(8);
            assert!(all <= free, "{descriptors}: {limits:?}");
            assert!(limits.public_connections > 0 && limits.hellos > 0, "{descriptors}: {limits:?}");
            if descriptors >= 256 {
                assert_eq!(limits.contradiction(&Times::default()), None, "{descriptors}: {limits:?}");
            }
            assert!(
                limits.node_connections + limits.hellos >= free / 2 - 1 || limits.node_connections == 40_000
            );
        }
        let plenty = Limits::default().within(65_536);
        assert_eq!((plenty.public_connections, plenty.node_connections, plenty.hellos), (4096, 40_000, 1024));
    }
}
