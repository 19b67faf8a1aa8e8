//! `clusters get`, `nodes list|get|revoke`, `join-token create`: the hosts, for the operator.

use std::time::Duration;

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    CreateJoinTokenRequest, GetClusterRequest, GetNodeRequest, ListNodesRequest, ListNodesResponse, Node,
    NodeResources, RevokeNodeRequest, cluster_service_client::ClusterServiceClient,
};

use super::Context;
use crate::{confirm, error::Error, span, table};

/// Most nodes that one page carries.
const PAGE: i32 = 100;

/// The commands about clusters.
#[derive(Debug, Subcommand)]
pub enum Clusters {
    /// Show one cluster.
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
    List {
        /// Cluster id or name.
        #[arg(long, default_value = "default")]
        cluster: String,
    },
    /// Show one node.
    Get {
        /// Its id.
        node: String,
    },
    /// Lock a node out for good. Its containers keep running; the host can only join anew.
    Revoke {
        /// Its id.
        node: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// The commands about join tokens.
#[derive(Debug, Subcommand)]
pub enum JoinToken {
    /// Make a token; it is shown this once.
    Create(CreateToken),
}

/// Arguments of `join-token create`.
#[derive(Debug, Args)]
pub struct CreateToken {
    /// Cluster id or name.
    #[arg(long, default_value = "default")]
    cluster: String,
    /// How long it works, at most 7d.
    #[arg(long, default_value = "1h", value_parser = span::parse_positive, value_name = "TIME")]
    ttl: Duration,
    /// How many hosts may join with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    max_uses: u32,
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
        Nodes::List { cluster } => list_nodes(context, cluster).await,
        Nodes::Get { node } => get_node(context, node).await,
        Nodes::Revoke { node, yes } => {
            if !yes {
                confirm::type_to_confirm("The node is locked out for good.", &node)?;
            }
            revoke_node(context, node).await
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

async fn list_nodes(context: &Context, cluster: String) -> Result<(), Error> {
    let mut all = ListNodesResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListNodesRequest { cluster: cluster.clone(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ClusterServiceClient::new(channel).list_nodes(request).await
            })
            .await?;
        all.nodes.extend(page.nodes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListNodesResponse", &all, |all| nodes_text(&all.nodes))
}

/// Nodes as a table, with notes below it.
pub fn nodes_text(nodes: &[Node]) -> String {
    let header = ["ID", "NAME", "STATE", "PROJECTS", "CPU", "MEMORY", "DISK", "AGENT", "SEEN"];
    let table = table::rows(header, nodes.iter().map(row).collect(), "no nodes");
    let below: Vec<String> = nodes.iter().flat_map(notes).collect();
    format!("{table}\n{}", below.join("\n"))
}

pub async fn run_join_token(context: &Context, command: JoinToken) -> Result<(), Error> {
    let JoinToken::Create(arguments) = command;
    let request = CreateJoinTokenRequest {
        cluster: arguments.cluster,
        ttl: Some(span::to_proto(arguments.ttl)),
        max_uses: arguments.max_uses,
    };
    let answer = context
        .client
        .call_once(request, |channel, request| async move {
            ClusterServiceClient::new(channel).create_join_token(request).await
        })
        .await?;
    context.output.answer("CreateJoinTokenResponse", &answer, |answer| {
        table::pairs([
            ("token", answer.join_token.clone()),
            ("id", answer.id.clone()),
            ("works until", table::time(answer.expire_time.as_ref())),
            ("uses", answer.max_uses.to_string()),
            ("run on the host", answer.join_command.clone()),
        ])
    })
}

fn row(node: &Node) -> [String; 9] {
    let (used, capacity) = (node.used.unwrap_or_default(), node.capacity.unwrap_or_default());
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

/// Cores in use of cores there are, to a tenth.
fn cores(used: &NodeResources, capacity: &NodeResources) -> String {
    let tenths = |millis: u32| format!("{}.{}", millis / 1_000, millis % 1_000 / 100);
    format!("{}/{}", tenths(used.cpu_millis), tenths(capacity.cpu_millis))
}

/// What an operator should know about a node beyond its row.
fn notes(node: &Node) -> Vec<String> {
    let blocked = node.blocked_slots.iter().map(|slot| format!("{}: blocked {slot}", node.name));
    let unexplained = node
        .unexplained_projects
        .iter()
        .map(|project| format!("{}: runs {project}, which is not placed there", node.name));
    let alarms = node.alarms.iter().map(|alarm| {
        format!("{}: {} at {}: {}", node.name, alarm.reason, table::time(alarm.time.as_ref()), alarm.message)
    });
    alarms.chain(blocked).chain(unexplained).map(|line| crate::output::clean(&line)).collect()
}
