//! `clusters get`, `nodes list|get|revoke`: the hosts, for the operator.

use clap::Subcommand;
use supalove_proto::v1::{
    GetClusterRequest, GetNodeRequest, ListNodesRequest, ListNodesResponse, Node, NodeResources, NodeState,
    RevokeNodeRequest, cluster_service_client::ClusterServiceClient,
};

use super::{Context, repeat, resolve};
use crate::{confirm, error::Error, table, table::joined};

/// Page size.
const PAGE: i32 = 100;

/// The commands about clusters.
#[derive(Debug, Subcommand)]
pub enum Clusters {
    /// Show one cluster.
    #[command(visible_alias = "show")]
    Get {
        /// Its id or name.
        #[arg(default_value = "default")]
        cluster: String,
    },
}

/// The commands about nodes.
#[derive(Debug, Subcommand)]
pub enum Nodes {
    /// List a cluster's nodes.
    #[command(visible_alias = "ls")]
    List {
        /// Cluster id or name.
        #[arg(long, default_value = "default")]
        cluster: String,
        /// Include revoked nodes.
        #[arg(long, short)]
        all: bool,
        /// Print the list again after each change, until Ctrl-C.
        #[arg(long, short)]
        watch: bool,
    },
    /// Show one node.
    #[command(visible_alias = "show")]
    Get {
        /// Its name, its id, or the beginning of its id.
        node: String,
    },
    /// Revoke a node for good. Its containers keep running; the host can only join again under another name.
    Revoke {
        /// Its name, its id, or the beginning of its id.
        node: String,
        /// Skip the confirmation.
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(context: &Context, command: Clusters) -> Result<(), Error> {
    let Clusters::Get { cluster } = command;
    let answer = context
        .client
        .call(GetClusterRequest { cluster }, |channel, request| async move {
            ClusterServiceClient::new(channel).get_cluster(request).await
        })
        .await?;
    context.output.answer("GetClusterResponse", &answer, |answer| {
        let cluster = answer.cluster.clone().unwrap_or_default();
        let kind = table::short(cluster.kind().as_str_name(), "CLUSTER_KIND_").to_ascii_lowercase();
        table::pairs([
            ("name", cluster.name),
            ("id", cluster.id),
            ("kind", kind),
            ("nodes", format!("{} of {} connected", cluster.nodes_connected, cluster.nodes)),
            ("projects", cluster.projects.to_string()),
            ("created", table::time(cluster.create_time.as_ref())),
        ])
    })
}

pub async fn run_nodes(context: &Context, command: Nodes) -> Result<(), Error> {
    match command {
        Nodes::List { cluster, all, watch } => {
            repeat(context, watch, async || list_nodes(context, &cluster, all).await).await
        }
        Nodes::Get { node } => get_node(context, resolve::node(context, &node).await?).await,
        Nodes::Revoke { node, yes } => {
            if !yes {
                confirm::type_to_confirm("The node is locked out for good.", &node)?;
            }
            revoke_node(context, resolve::node(context, &node).await?).await
        }
    }
}

async fn get_node(context: &Context, node_id: String) -> Result<(), Error> {
    let answer = context
        .client
        .call(GetNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).get_node(request).await
        })
        .await?;
    context.output.answer("GetNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

async fn revoke_node(context: &Context, node_id: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(RevokeNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).revoke_node(request).await
        })
        .await?;
    context.output.answer("RevokeNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

fn shown(node: Option<&Node>) -> String {
    let node = node.cloned().unwrap_or_default();
    let text = table::pairs([
        ("id", node.id.clone()),
        ("name", node.name.clone()),
        ("state", table::node_state(node.state()).into()),
        ("projects", node.projects.to_string()),
        ("address", node.advertise_address.clone()),
        ("agent", node.agent_version.clone()),
        ("seen", table::time(node.last_seen_time.as_ref())),
        ("certificate until", table::time(node.certificate_expire_time.as_ref())),
        ("certificate by", node.certificate_ca_sha256.clone()),
        ("revoked", table::time(node.revoke_time.as_ref())),
    ]);
    let notes = notes(&node);
    if notes.is_empty() { text } else { format!("{text}\n{}", notes.join("\n")) }
}

/// Returns all nodes of a cluster, including revoked ones.
pub async fn all_nodes(context: &Context, cluster: &str) -> Result<ListNodesResponse, Error> {
    let mut all = ListNodesResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListNodesRequest { cluster: cluster.to_owned(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ClusterServiceClient::new(channel).list_nodes(request).await
            })
            .await?;
        all.nodes.extend(page.nodes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn list_nodes(context: &Context, cluster: &str, revoked: bool) -> Result<String, Error> {
    let mut all = all_nodes(context, cluster).await?;
    let before = all.nodes.len();
    if !revoked {
        all.nodes.retain(|node| node.state() != NodeState::Revoked);
    }
    let hidden = before - all.nodes.len();
    context.output.render("ListNodesResponse", &all, |all| {
        let table = nodes_text(&all.nodes, context.output.is_wide());
        match hidden {
            0 => table,
            hidden => format!("{}\n({hidden} revoked; --all shows them)", table.trim_end()),
        }
    })
}

/// Formats nodes as a table with notes below it.
pub fn nodes_text(nodes: &[Node], wide: bool) -> String {
    let header = ["ID", "NAME", "STATE", "PROJECTS", "CPU", "MEMORY", "DISK", "AGENT", "SEEN"];
    let more = ["ADDRESS", "ENGINE", "SLOTS", "CERTIFICATE UNTIL"];
    let table = if wide {
        let rows = nodes.iter().map(|node| joined(row(node), wide_row(node))).collect();
        table::rows::<13>(joined(header, more), rows, "no nodes")
    } else {
        table::rows(header, nodes.iter().map(row).collect(), "no nodes")
    };
    let below: Vec<String> = nodes.iter().flat_map(notes).collect();
    format!("{table}\n{}", below.join("\n"))
}

fn row(node: &Node) -> [String; 9] {
    let used = node.used.unwrap_or_default();
    let capacity = node.capacity.unwrap_or_default();
    [
        node.id.clone(),
        node.name.clone(),
        table::node_state(node.state()).into(),
        node.projects.to_string(),
        cores(&used, &capacity),
        format!("{}/{} MiB", used.memory_mib, capacity.memory_mib),
        format!("{}/{} MiB", used.disk_mib, capacity.disk_mib),
        node.agent_version.clone(),
        table::time(node.last_seen_time.as_ref()),
    ]
}

fn wide_row(node: &Node) -> [String; 4] {
    let capacity = node.capacity.unwrap_or_default();
    let used = node.used.unwrap_or_default();
    [
        node.advertise_address.clone(),
        node.engine_version.clone(),
        format!("{}/{}", used.slots, capacity.slots),
        table::time(node.certificate_expire_time.as_ref()),
    ]
}

/// Formats reserved and available cores, to a tenth.
fn cores(used: &NodeResources, capacity: &NodeResources) -> String {
    let tenths = |millis: u32| format!("{}.{}", millis / 1_000, millis % 1_000 / 100);
    format!("{}/{}", tenths(used.cpu_millis), tenths(capacity.cpu_millis))
}

/// Returns notes on problems of a node.
fn notes(node: &Node) -> Vec<String> {
    let blocked = node.blocked_slots.iter().map(|slot| format!("{}: blocked {slot}", node.name));
    let unexplained = node
        .unexplained_projects
        .iter()
        .map(|project| format!("{}: runs {project}, which is not placed there", node.name));
    let alarms = node.alarms.iter().map(|alarm| {
        let reason = table::short(alarm.reason().as_str_name(), "NODE_ALARM_REASON_");
        format!("{}: {reason} at {}: {}", node.name, table::time(alarm.time.as_ref()), alarm.message)
    });
    let conditions = node.conditions.iter().map(|one| {
        let since = table::time(one.since.as_ref());
        format!("{}: {} since {since}: {}", node.name, one.reason, one.message)
    });
    conditions
        .chain(alarms)
        .chain(blocked)
        .chain(unexplained)
        .map(|line| crate::output::clean(&line))
        .collect()
}
