//! The packet rules of all projects of this node as one script. In: a set of refs. Out: text for `nft -f -`. No I/O.
//!
//! A project's containers may talk to each other and to the outside. They may not reach link-local addresses (where
//! clouds keep host credentials), the host's own ports, other projects' networks, or other projects' published ports.
//! The chains run before Docker's own: after an accept here Docker can still drop the packet; a drop here is final.
//!
//! A packet to another project's published port is rewritten to that project's container before the forward hook
//! sees it, or ends at the host's proxy process in the input hook. Both ways end in a drop.
//!
//! From outside, a project is reachable through its published ports only. Docker alone would also accept what a neighbour
//! host routes to a container's own address, even if the port is bound to loopback.
//!
//! Established connections pass without a check only if the other side opened them. A project that opened a connection
//! while the rules were missing (a reloaded host firewall) must not keep it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ipnet::Ipv4Net;

use crate::docker::labels;

/// Below Docker's chains, which sit at `filter`.
const PRIORITY: &str = "filter - 10";

/// Packets of connections that the other side opened, and errors about them.
const ANSWERS: &str = "ct direction reply ct state established,related";

/// The name of this node's table.
pub fn table_name(node_short: &str) -> String {
    format!("supalove_{node_short}")
}

/// A script that replaces the table in one transaction; with no project, it removes the table.
pub fn render(table: &str, range: Ipv4Net, projects: &BTreeSet<String>) -> String {
    // Declaring before deleting makes the deletion succeed whether the table exists or not.
    let mut script = format!("table inet {table}\ndelete table inet {table}\n");
    if !projects.is_empty() {
        table_body(&mut script, table, range, projects);
    }
    script
}

/// Projects that have a chain in a table, as the kernel lists it.
pub fn projects_in(listing: &str) -> BTreeSet<String> {
    let chain =
        |line: &str| Some(line.trim().strip_prefix("chain p_")?.trim_end_matches('{').trim().to_owned());
    listing.lines().filter_map(chain).collect()
}

fn table_body(script: &mut String, table: &str, range: Ipv4Net, projects: &BTreeSet<String>) {
    let list = |entry: &dyn Fn(&str, &str) -> String| {
        let entries = projects.iter().map(|name| entry(name, &labels::bridge_name(name)));
        entries.collect::<Vec<_>>().join(", ")
    };
    let forward = list(&|name, bridge| format!("\"{bridge}\" : jump p_{name}"));
    let bridges = list(&|_, bridge| format!("\"{bridge}\""));
    // Writing to a String cannot fail.
    let _ = write!(
        script,
        "table inet {table} {{\n\
         \tchain forward {{\n\
         \t\ttype filter hook forward priority {PRIORITY}; policy accept;\n\
         \t\tiifname vmap {{ {forward} }}\n\
         \t\toifname {{ {bridges} }} jump entry\n\
         \t}}\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority {PRIORITY}; policy accept;\n\
         \t\tiifname {{ {bridges} }} jump host\n\
         \t}}\n\
         \tchain entry {{\n\
         \t\tct status dnat accept\n\
         \t\t{ANSWERS} accept\n\
         \t\tdrop\n\
         \t}}\n\
         \tchain host {{\n\
         \t\t{ANSWERS} accept\n\
         \t\tdrop\n\
         \t}}\n"
    );
    for project in projects {
        project_chain(script, range, project);
    }
    script.push_str("}\n");
}

fn project_chain(script: &mut String, range: Ipv4Net, project: &str) {
    let bridge = labels::bridge_name(project);
    let prefix = labels::BRIDGE_PREFIX;
    let _ = write!(
        script,
        "\tchain p_{project} {{\n\
         \t\t{ANSWERS} accept\n\
         \t\toifname \"{bridge}\" accept\n\
         \t\tip daddr 169.254.0.0/16 drop\n\
         \t\tip6 daddr fe80::/10 drop\n\
         \t\toifname \"{prefix}*\" drop\n\
         \t\tip daddr {range} drop\n\
         \t}}\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "abcdefghijklmnopqrst";
    const TWO: &str = "bcdefghijklmnopqrstu";

    fn projects(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn golden() {
        let range = "10.213.0.0/16".parse().unwrap();
        let script = render("supalove_0a1b2c3d", range, &projects(&[TWO, ONE]));
        assert_eq!(script, include_str!("golden.nft"));
        assert_eq!(projects_in(&script), projects(&[ONE, TWO]));
    }

    #[test]
    fn without_projects_the_table_goes() {
        let script = render("supalove_0a1b2c3d", "10.213.0.0/16".parse().unwrap(), &projects(&[]));
        assert_eq!(script, "table inet supalove_0a1b2c3d\ndelete table inet supalove_0a1b2c3d\n");
    }
}
