//! `clusters get`, `nodes list|get|revoke`: the hosts. `fleet.rs` and `leftovers.rs` have the other commands about them.

use clap::Subcommand;
use prost_types::Timestamp;
use supalove_proto::v1::{
    GetClusterRequest, GetNodeRequest, ListNodesRequest, ListNodesResponse, Node, NodeResources, NodeState,
    RevokeNodeRequest, cluster_service_client::ClusterServiceClient,
};

use super::{
    Context, fleet, leftovers,
    registries::{self, Registries},
    repeat, resolve,
};
use crate::{confirm, error::Error, table, table::joined};

/// Page size.
const PAGE: i32 = 100;

/// The commands about clusters.
#[derive(Debug, Subcommand)]
pub enum Clusters {
    /// Create a cluster: a private one of an organization, or a shared one (operator).
    Create(fleet::Create),
    /// List the clusters that you may see.
    #[command(visible_alias = "ls")]
    List {
        /// Only private clusters of this organization.
        #[arg(long, short = 'g')]
        organization: Option<String>,
    },
    /// Change a cluster.
    Update(fleet::Update),
    /// Delete a cluster that has neither nodes nor projects.
    #[command(visible_alias = "rm")]
    Delete {
        /// Its id or name.
        cluster: String,
        /// Skip the confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Say where a new project would be placed, or why on no node.
    Explain(fleet::Explain),
    /// Credentials with which the nodes pull images from private registries.
    #[command(subcommand)]
    Registries(Registries),
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
    /// Show one node with what is reserved on it.
    Describe {
        /// Its name, its id, or the beginning of its id.
        node: String,
    },
    /// Keep new projects away from a node. Those on it stay.
    Cordon {
        /// Its name, its id, or the beginning of its id.
        node: String,
    },
    /// Cordon a node and let no stopped project start there, so that it becomes empty. `nodes uncordon` ends that.
    Drain {
        /// Its name, its id, or the beginning of its id.
        node: String,
    },
    /// Let a cordoned or draining node take new projects again.
    Uncordon {
        /// Its name, its id, or the beginning of its id.
        node: String,
    },
    /// Rename a node.
    Rename {
        /// Its name, its id, or the beginning of its id.
        node: String,
        /// New name: a host name.
        name: String,
    },
    /// Replace the labels of a node; none = remove all.
    Label {
        /// Its name, its id, or the beginning of its id.
        node: String,
        /// Labels, as KEY=VALUE.
        #[arg(value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Revoke a node on which no project stands.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name, its id, or the beginning of its id.
        node: String,
        /// Ref of a project that stands there and is given up; name all of them.
        #[arg(long, value_name = "REF")]
        abandon: Vec<String>,
        /// Skip the confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Give up a node that never comes back: its projects end for good, and their databases are lost.
    Forget {
        /// Its name, its id, or the beginning of its id.
        node: String,
        /// Ref of a project that stands there and is lost; name all of them.
        #[arg(long, value_name = "REF")]
        lost: Vec<String>,
        /// Skip the confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// List what is wrong with the nodes that you may see.
    Alarms {
        /// Only of this cluster: its id or name.
        #[arg(long, default_value = "")]
        cluster: String,
    },
    /// List what a node has of projects that no placement puts there, and what may be done about each.
    Leftovers {
        /// Its name, its id, or the beginning of its id.
        node: String,
    },
    /// Place a project where its leftover is, with the data there.
    Adopt {
        /// Name of the node, its id, or the beginning of its id.
        node: String,
        /// The project's ref.
        #[arg(value_name = "REF")]
        project: String,
    },
    /// Delete a leftover for good, with its data.
    DeleteLeftover {
        /// Name of the node, its id, or the beginning of its id.
        node: String,
        /// The project's ref.
        #[arg(value_name = "REF")]
        project: String,
        /// Skip the confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Revoke a node for good, whatever stands on it. Its containers keep running; the host can only join again under another name.
    Revoke {
        /// Its name, its id, or the beginning of its id.
        node: String,
        /// Skip the confirmation.
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(context: &Context, command: Clusters) -> Result<(), Error> {
    let cluster = match command {
        Clusters::Get { cluster } => cluster,
        Clusters::Create(arguments) => return fleet::create(context, arguments).await,
        Clusters::List { organization } => return fleet::list(context, organization.as_deref()).await,
        Clusters::Update(arguments) => return fleet::update(context, arguments).await,
        Clusters::Delete { cluster, yes } => return fleet::delete(context, cluster, yes).await,
        Clusters::Explain(arguments) => return fleet::explain(context, arguments).await,
        Clusters::Registries(command) => return registries::run(context, command).await,
    };
    let answer = context
        .client
        .call(GetClusterRequest { cluster }, |channel, request| async move {
            ClusterServiceClient::new(channel).get_cluster(request).await
        })
        .await?;
    context.output.answer("GetClusterResponse", &answer, |answer| fleet::one(answer.cluster.as_ref()))
}

pub async fn run_nodes(context: &Context, command: Nodes) -> Result<(), Error> {
    match command {
        Nodes::List { cluster, all, watch } => {
            repeat(context, watch, async || list_nodes(context, &cluster, all).await).await
        }
        Nodes::Get { node } => get_node(context, resolve::node(context, &node).await?).await,
        Nodes::Describe { node } => fleet::describe(context, &node).await,
        Nodes::Cordon { node } => fleet::cordon(context, &node).await,
        Nodes::Drain { node } => fleet::drain(context, &node).await,
        Nodes::Forget { node, lost, yes } => fleet::forget(context, &node, lost, yes).await,
        Nodes::Alarms { cluster } => fleet::alarms(context, &cluster).await,
        Nodes::Leftovers { node } => leftovers::list(context, &node).await,
        Nodes::Adopt { node, project } => leftovers::adopt(context, &node, project).await,
        Nodes::DeleteLeftover { node, project, yes } => leftovers::delete(context, &node, project, yes).await,
        Nodes::Uncordon { node } => fleet::uncordon(context, &node).await,
        Nodes::Rename { node, name } => fleet::rename(context, &node, name).await,
        Nodes::Label { node, labels } => fleet::label(context, &node, &labels).await,
        Nodes::Remove { node, abandon, yes } => fleet::remove(context, &node, abandon, yes).await,
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

/// Formats one node.
pub fn shown(node: Option<&Node>) -> String {
    let node = node.cloned().unwrap_or_default();
    let text = table::pairs([
        ("id", node.id.clone()),
        ("name", node.name.clone()),
        ("state", table::node_state(&node).into()),
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
        table::node_state(node).into(),
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
    let told = |reason: &str, since: Option<&Timestamp>, message: &str| {
        let since = since.map(|since| format!(" since {}", table::time(Some(since)))).unwrap_or_default();
        format!("{}: {reason}{since}: {message}", node.name)
    };
    let alarms = node.alarms.iter().map(|alarm| {
        let reason = table::short(alarm.reason().as_str_name(), "NODE_ALARM_REASON_");
        told(reason, alarm.time.as_ref(), &alarm.message)
    });
    let conditions = node.conditions.iter().map(|one| told(&one.reason, one.since.as_ref(), &one.message));
    conditions.chain(alarms).chain(blocked).map(|line| crate::output::clean(&line)).collect()
}
