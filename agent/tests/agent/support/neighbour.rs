//! A machine next door: a network namespace with a link to this host, which it uses as its router.

use std::process::{Command, Stdio};

/// Taken down when dropped.
pub struct Neighbour {
    name: String,
    /// This host's address on the link.
    pub host: String,
    /// Its own.
    pub address: String,
}

impl Neighbour {
    /// `number` keeps tests apart.
    pub fn new(number: u8) -> Self {
        let name = format!("supalove-next{number}");
        let host = format!("10.215.{number}.1");
        let address = format!("10.215.{number}.2");
        let here = format!("nexthost{number}");
        let there = format!("nextdoor{number}");
        // What a test that was killed left behind.
        let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        let neighbour = Self { name: name.clone(), host, address };
        let host = &neighbour.host;
        for words in [
            format!("netns add {name}"),
            format!("link add {here} type veth peer name {there} netns {name}"),
            format!("addr add {host}/30 dev {here}"),
            format!("link set {here} up"),
            format!("-n {name} addr add {}/30 dev {there}", neighbour.address),
            format!("-n {name} link set {there} up"),
            format!("-n {name} route add default via {host}"),
        ] {
            let status =
                Command::new("ip").args(words.split(' ')).status().expect("the program ip is needed");
            assert!(status.success(), "ip {words}");
        }
        neighbour
    }

    /// True if a TCP connection from there comes about.
    pub fn reaches(&self, host: &str, port: u16) -> bool {
        let script = format!("exec 3<>/dev/tcp/{host}/{port}");
        let mut connect = Command::new("ip");
        connect.args(["netns", "exec", &self.name, "timeout", "2", "bash", "-c", &script]);
        connect.stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
