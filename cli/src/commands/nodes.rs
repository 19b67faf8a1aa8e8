//! `nodes`: the hosts that an agent has joined, and what operators do with them.

pub mod text;

use clap::Subcommand;
use prost_types::FieldMask;
use supalove_proto::v1::{
    CordonNodeRequest, DrainNodeRequest, ForgetNodeRequest, GetNodeRequest, ListAlarmsRequest,
    ListAlarmsResponse, ListNodesRequest, ListNodesResponse, NodeState, RemoveNodeRequest, RevokeNodeRequest,
    UncordonNodeRequest, UpdateNodeRequest, cluster_service_client::ClusterServiceClient,
};

use self::text::{described, shown, standing_text};
use super::{Context, capacity::labels, leftovers, repeat, resolve};
use crate::{confirm, error::Error, table};

/// Page size.
const PAGE: i32 = 100;

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

pub async fn run(context: &Context, command: Nodes) -> Result<(), Error> {
    match command {
        Nodes::List { cluster, all, watch } => {
            repeat(context, watch, async || list(context, &cluster, all).await).await
        }
        Nodes::Get { node } => get(context, resolve::node(context, &node).await?).await,
        Nodes::Describe { node } => describe(context, &node).await,
        Nodes::Cordon { node } => cordon(context, &node).await,
        Nodes::Drain { node } => drain(context, &node).await,
        Nodes::Forget { node, lost, yes } => forget(context, &node, lost, yes).await,
        Nodes::Alarms { cluster } => alarms(context, &cluster).await,
        Nodes::Leftovers { node } => leftovers::list(context, &node).await,
        Nodes::Adopt { node, project } => leftovers::adopt(context, &node, project).await,
        Nodes::DeleteLeftover { node, project, yes } => leftovers::delete(context, &node, project, yes).await,
        Nodes::Uncordon { node } => uncordon(context, &node).await,
        Nodes::Rename { node, name } => rename(context, &node, name).await,
        Nodes::Label { node, labels } => label(context, &node, &labels).await,
        Nodes::Remove { node, abandon, yes } => remove(context, &node, abandon, yes).await,
        Nodes::Revoke { node, yes } => {
            if !yes {
                confirm::type_to_confirm("The node is locked out for good.", &node)?;
            }
            revoke(context, resolve::node(context, &node).await?).await
        }
    }
}

/// Returns all nodes of a cluster, including revoked ones.
pub async fn all(context: &Context, cluster: &str) -> Result<ListNodesResponse, Error> {
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

async fn list(context: &Context, cluster: &str, revoked: bool) -> Result<String, Error> {
    let mut all = all(context, cluster).await?;
    let before = all.nodes.len();
    if !revoked {
        all.nodes.retain(|node| node.state() != NodeState::Revoked);
    }
    let hidden = before - all.nodes.len();
    context.output.render("ListNodesResponse", &all, |all| {
        let table = text::table_of(&all.nodes, context.output.is_wide());
        match hidden {
            0 => table,
            hidden => format!("{}\n({hidden} revoked; --all shows them)", table.trim_end()),
        }
    })
}

async fn get(context: &Context, node_id: String) -> Result<(), Error> {
    let answer = context
        .client
        .call(GetNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).get_node(request).await
        })
        .await?;
    context.output.answer("GetNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

async fn revoke(context: &Context, node_id: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(RevokeNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).revoke_node(request).await
        })
        .await?;
    context.output.answer("RevokeNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

async fn cordon(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let answer = context
        .client
        .call(CordonNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).cordon_node(request).await
        })
        .await?;
    context.output.answer("CordonNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

async fn drain(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let answer = context
        .client
        .call(DrainNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).drain_node(request).await
        })
        .await?;
    context.output.answer("DrainNodeResponse", &answer, |answer| {
        let standing: String = answer.projects.iter().map(standing_text).collect();
        let summary = match answer.projects.len() {
            0 => "it is empty: `supalove nodes remove` takes it out".to_owned(),
            count => format!(
                "{count} projects stand on it until they are deleted; a stopped one starts again when the drain has ended:{standing}"
            ),
        };
        format!("{}\n{summary}", shown(answer.node.as_ref()))
    })
}

async fn forget(context: &Context, node: &str, lost: Vec<String>, yes: bool) -> Result<(), Error> {
    if !yes {
        let question =
            "The node is locked out for good, and the projects on it end: their databases are lost.";
        confirm::type_to_confirm(question, node)?;
    }
    let request = ForgetNodeRequest { node_id: resolve::node(context, node).await?, lost_projects: lost };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ClusterServiceClient::new(channel).forget_node(request).await
        })
        .await?;
    context.output.answer("ForgetNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

async fn alarms(context: &Context, cluster: &str) -> Result<(), Error> {
    let mut all = ListAlarmsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListAlarmsRequest { cluster: cluster.to_owned(), page_size: 100, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ClusterServiceClient::new(channel).list_alarms(request).await
            })
            .await?;
        all.alarms.extend(page.alarms);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    context.output.answer("ListAlarmsResponse", &all, |all| {
        let rows = all.alarms.iter().map(|one| {
            let since = table::time(one.since.as_ref());
            let blocking = if one.blocking { "yes" } else { "no" };
            [one.node_name.clone(), one.reason.clone(), since, blocking.to_owned(), one.message.clone()]
        });
        table::rows(["NODE", "REASON", "SINCE", "BLOCKING", "MESSAGE"], rows.collect(), "no alarms")
    })
}

async fn uncordon(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let answer = context
        .client
        .call(UncordonNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).uncordon_node(request).await
        })
        .await?;
    context.output.answer("UncordonNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

async fn rename(context: &Context, node: &str, name: String) -> Result<(), Error> {
    let request = UpdateNodeRequest { name, ..update_of(resolve::node(context, node).await?, "name") };
    update_node(context, request).await
}

async fn label(context: &Context, node: &str, given: &[String]) -> Result<(), Error> {
    let labels = labels(given)?;
    let request = UpdateNodeRequest { labels, ..update_of(resolve::node(context, node).await?, "labels") };
    update_node(context, request).await
}

fn update_of(node_id: String, path: &str) -> UpdateNodeRequest {
    let update_mask = Some(FieldMask { paths: vec![path.to_owned()] });
    UpdateNodeRequest { node_id, update_mask, ..UpdateNodeRequest::default() }
}

async fn update_node(context: &Context, request: UpdateNodeRequest) -> Result<(), Error> {
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ClusterServiceClient::new(channel).update_node(request).await
        })
        .await?;
    context.output.answer("UpdateNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

async fn remove(context: &Context, node: &str, abandon: Vec<String>, yes: bool) -> Result<(), Error> {
    if !yes {
        let question = if abandon.is_empty() {
            "The node is locked out for good."
        } else {
            "The node is locked out for good, and nobody manages the projects on it any more."
        };
        confirm::type_to_confirm(question, node)?;
    }
    let request =
        RemoveNodeRequest { node_id: resolve::node(context, node).await?, abandon_projects: abandon };
    let answer = context
        .client
        .call_once(request, |channel, request| async move {
            ClusterServiceClient::new(channel).remove_node(request).await
        })
        .await?;
    context.output.answer("RemoveNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

async fn describe(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let answer = context
        .client
        .call(GetNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).get_node(request).await
        })
        .await?;
    context.output.answer("GetNodeResponse", &answer, |answer| {
        described(&answer.node.clone().unwrap_or_default(), &answer.projects)
    })
}
