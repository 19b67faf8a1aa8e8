//! `clusters create | list | get | update | delete | explain`.

use clap::{Args, Subcommand, ValueEnum};
use prost_types::FieldMask;
use supalove_proto::v1::{
    Cluster, CreateClusterRequest, DeleteClusterRequest, ExplainPlacementRequest, ExplainPlacementResponse,
    GetClusterRequest, ListClustersRequest, ListClustersResponse, PlacementPolicy, PlacementResources,
    UpdateClusterRequest, cluster_service_client::ClusterServiceClient,
    project_service_client::ProjectServiceClient,
};

use super::{
    Context,
    capacity::{amounts, bars, factors, labels, labels_text, reserve},
    registries::{self, Registries},
    resolve,
};
use crate::{args::RequestId, confirm, error::Error, table};

/// Page size.
const PAGE: i32 = 100;

/// The commands about clusters.
#[derive(Debug, Subcommand)]
pub enum Clusters {
    /// Create a cluster: a private one of an organization, or a shared one (operator).
    Create(Create),
    /// List the clusters that you may see.
    #[command(visible_alias = "ls")]
    List {
        /// Only private clusters of this organization.
        #[arg(long, short = 'g')]
        organization: Option<String>,
    },
    /// Change a cluster.
    Update(Update),
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
    Explain(Explain),
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

/// How the scheduler chooses among nodes with room.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Policy {
    /// Fill nodes up, so that others keep room for large projects.
    Pack,
    /// Prefer the emptiest node.
    Spread,
}

/// What can be set on a cluster.
#[derive(Debug, Args)]
pub struct Settings {
    /// Where its hosts are, for people.
    #[arg(long)]
    region: Option<String>,
    /// A label, as KEY=VALUE; all labels are replaced.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// How the scheduler chooses among nodes with room.
    #[arg(long, value_enum)]
    policy: Option<Policy>,
    /// Factors by which projects may reserve more than the hosts have, e.g. cpu=8,memory=1.5,disk=1; what is left out gets its
    /// default.
    #[arg(long, value_name = "FACTORS")]
    overcommit: Option<String>,
    /// What each host keeps for itself, e.g. cpu=500,memory=1024,disk=10240 (millicores and MiB); what is left out is 0.
    #[arg(long, value_name = "AMOUNTS")]
    reserve: Option<String>,
}

/// Arguments of `clusters create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name: 2 to 40 of a-z, 0-9 and "-".
    name: String,
    /// Make a private cluster of this organization; without it a shared one (operator).
    #[arg(long, short = 'g')]
    organization: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    request_id: RequestId,
}

/// Arguments of `clusters update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Its id or name.
    cluster: String,
    /// New name.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Refuse if the cluster has changed since this etag was read.
    #[arg(long, default_value = "")]
    etag: String,
}

/// Arguments of `clusters explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Id or name of the cluster.
    #[arg(default_value = "default")]
    cluster: String,
    /// Organization whose project it would be. Default: that of `supalove use`, or the only one.
    #[arg(long, short = 'g')]
    organization: Option<String>,
    /// The project's size. Default: the smallest that the plan allows.
    #[arg(long, default_value_t)]
    size: String,
    /// Stack release. Default: the platform's.
    #[arg(long, default_value = "")]
    release: String,
    /// Reserve this instead, e.g. cpu=1000,memory=512,disk=2048 (millicores and MiB).
    #[arg(long, value_name = "AMOUNTS", conflicts_with_all = ["release", "size"])]
    resources: Option<String>,
}

pub async fn run(context: &Context, command: Clusters) -> Result<(), Error> {
    let cluster = match command {
        Clusters::Get { cluster } => cluster,
        Clusters::Create(arguments) => return create(context, arguments).await,
        Clusters::List { organization } => return list(context, organization.as_deref()).await,
        Clusters::Update(arguments) => return update(context, arguments).await,
        Clusters::Delete { cluster, yes } => return delete(context, cluster, yes).await,
        Clusters::Explain(arguments) => return explain(context, arguments).await,
        Clusters::Registries(command) => return registries::run(context, command).await,
    };
    let answer = context
        .client
        .call(GetClusterRequest { cluster }, |channel, request| async move {
            ClusterServiceClient::new(channel).get_cluster(request).await
        })
        .await?;
    context.output.answer("GetClusterResponse", &answer, |answer| shown(answer.cluster.as_ref()))
}

async fn create(context: &Context, arguments: Create) -> Result<(), Error> {
    let organization = match arguments.organization {
        Some(given) => resolve::organization(context, Some(&given)).await?,
        None => String::new(),
    };
    let settings = arguments.settings;
    let request = CreateClusterRequest {
        name: arguments.name,
        organization,
        region: settings.region.unwrap_or_default(),
        labels: labels(&settings.labels)?,
        policy: policy(settings.policy),
        overcommit: settings.overcommit.as_deref().map(factors).transpose()?,
        reserve: settings.reserve.as_deref().map(reserve).transpose()?,
        request_id: arguments.request_id.get(),
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ClusterServiceClient::new(channel).create_cluster(request).await
        })
        .await?;
    context.output.answer("CreateClusterResponse", &answer, |answer| shown(answer.cluster.as_ref()))
}

/// Returns all clusters that the caller may see.
async fn all(context: &Context, organization: &str) -> Result<ListClustersResponse, Error> {
    let mut all = ListClustersResponse::default();
    let mut page_token = String::new();
    loop {
        let request =
            ListClustersRequest { organization: organization.to_owned(), page_size: PAGE, page_token };
        let page = context
            .client
            .call(request, |channel, request| async move {
                ClusterServiceClient::new(channel).list_clusters(request).await
            })
            .await?;
        all.clusters.extend(page.clusters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// Returns the ids of the clusters whose nodes the caller may see.
pub async fn readable(context: &Context) -> Result<Vec<String>, Error> {
    let all = all(context, "").await?.clusters;
    Ok(all.into_iter().filter(|one| !one.etag.is_empty()).map(|one| one.id).collect())
}

async fn list(context: &Context, organization: Option<&str>) -> Result<(), Error> {
    let organization = match organization {
        Some(given) => resolve::organization(context, Some(given)).await?,
        None => String::new(),
    };
    let all = all(context, &organization).await?;
    context.output.answer("ListClustersResponse", &all, |all| {
        let header = ["NAME", "KIND", "ORGANIZATION", "REGION", "NODES", "PROJECTS", "FREE MEMORY", "ID"];
        table::rows(header, all.clusters.iter().map(row).collect(), "no clusters")
    })
}

fn row(one: &Cluster) -> [String; 8] {
    // What the caller may not read is not 0.
    let known = |text: String| if one.etag.is_empty() { "-".to_owned() } else { text };
    [
        one.name.clone(),
        kind(one),
        one.organization.clone(),
        one.region.clone(),
        known(format!("{}/{}", one.nodes_connected, one.nodes)),
        known(one.projects.to_string()),
        known(format!("{} MiB", one.free.unwrap_or_default().memory_mib)),
        one.id.clone(),
    ]
}

fn kind(one: &Cluster) -> String {
    table::short(one.kind().as_str_name(), "CLUSTER_KIND_").to_ascii_lowercase()
}

/// Formats one cluster.
fn shown(cluster: Option<&Cluster>) -> String {
    let one = cluster.cloned().unwrap_or_default();
    let head = [
        ("name", one.name.clone()),
        ("id", one.id.clone()),
        ("kind", kind(&one)),
        ("organization", one.organization.clone()),
        ("region", one.region.clone()),
        ("labels", labels_text(&one.labels)),
        ("created", table::time(one.create_time.as_ref())),
    ];
    let head = table::pairs(head);
    if one.etag.is_empty() {
        return head;
    }
    let factors = one.overcommit.unwrap_or_default();
    let reserve = one.reserve.unwrap_or_default();
    let rest = table::pairs([
        ("nodes", format!("{} of {} connected", one.nodes_connected, one.nodes)),
        ("projects", one.projects.to_string()),
        ("policy", table::short(one.policy().as_str_name(), "PLACEMENT_POLICY_").to_ascii_lowercase()),
        ("overcommit", format!("cpu {}, memory {}, disk {}", factors.cpu, factors.memory, factors.disk)),
        (
            "reserve of each host",
            format!(
                "{} millicores, {} MiB memory, {} MiB disk",
                reserve.cpu_millis, reserve.memory_mib, reserve.disk_mib
            ),
        ),
        ("etag", one.etag.clone()),
    ]);
    let bars = bars(one.used.as_ref(), one.capacity.as_ref());
    let free = one.free.unwrap_or_default();
    let free = format!(
        "a new project can reserve in all: {} millicores, {} MiB memory, {} MiB disk, {} slots",
        free.cpu_millis, free.memory_mib, free.disk_mib, free.slots
    );
    format!("{head}\n{rest}\n{bars}\n{free}")
}

async fn update(context: &Context, arguments: Update) -> Result<(), Error> {
    let Update { cluster, name, settings, etag } = arguments;
    let mut paths = Vec::new();
    for (given, path) in [
        (name.is_some(), "name"),
        (settings.region.is_some(), "region"),
        (!settings.labels.is_empty(), "labels"),
        (settings.policy.is_some(), "policy"),
        (settings.overcommit.is_some(), "overcommit"),
        (settings.reserve.is_some(), "reserve"),
    ] {
        if given {
            paths.push(path.to_owned());
        }
    }
    if paths.is_empty() {
        return Err(Error::Usage("nothing to change; see supalove clusters update --help".into()));
    }
    let request = UpdateClusterRequest {
        cluster,
        name: name.unwrap_or_default(),
        region: settings.region.unwrap_or_default(),
        labels: labels(&settings.labels)?,
        policy: policy(settings.policy),
        overcommit: settings.overcommit.as_deref().map(factors).transpose()?,
        reserve: settings.reserve.as_deref().map(reserve).transpose()?,
        etag,
        update_mask: Some(FieldMask { paths }),
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ClusterServiceClient::new(channel).update_cluster(request).await
        })
        .await?;
    context.output.answer("UpdateClusterResponse", &answer, |answer| {
        let text = shown(answer.cluster.as_ref());
        if answer.overfull_nodes.is_empty() {
            return text;
        }
        let nodes = crate::output::clean(&answer.overfull_nodes.join(", "));
        format!("{text}\nprojects reserve more than these nodes have now: {nodes}. They stay; the nodes take no new ones.")
    })
}

async fn delete(context: &Context, cluster: String, yes: bool) -> Result<(), Error> {
    if !yes {
        confirm::type_to_confirm("The cluster and its join tokens are deleted.", &cluster)?;
    }
    let name = cluster.clone();
    let answer = context
        .client
        .call_once(DeleteClusterRequest { cluster }, |channel, request| async move {
            ClusterServiceClient::new(channel).delete_cluster(request).await
        })
        .await?;
    context.output.answer("DeleteClusterResponse", &answer, |_| format!("{name} is deleted"))
}

async fn explain(context: &Context, arguments: Explain) -> Result<(), Error> {
    let resources = arguments.resources.as_deref().map(amounts).transpose()?;
    let request = ExplainPlacementRequest {
        organization: resolve::organization(context, arguments.organization.as_deref()).await?,
        cluster: arguments.cluster,
        release: arguments.release,
        size: arguments.size,
        resources: resources.map(|(cpu_millis, memory_mib, disk_mib)| PlacementResources {
            cpu_millis,
            memory_mib,
            disk_mib,
        }),
    };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).explain_placement(request).await
        })
        .await?;
    context.output.answer("ExplainPlacementResponse", &answer, explained)
}

fn explained(answer: &ExplainPlacementResponse) -> String {
    let asked = answer.resources.unwrap_or_default();
    let asked = format!(
        "{} millicores, {} MiB memory, {} MiB disk",
        asked.cpu_millis, asked.memory_mib, asked.disk_mib
    );
    let node = if answer.fits && answer.node_name.is_empty() { "one" } else { answer.node_name.as_str() };
    table::pairs([
        ("reserves", asked),
        ("fits", table::yes_or_no(answer.fits).to_owned()),
        ("node", node.to_owned()),
        ("why", answer.message.clone()),
    ])
}

fn policy(given: Option<Policy>) -> i32 {
    match given {
        None => PlacementPolicy::Unspecified,
        Some(Policy::Pack) => PlacementPolicy::Pack,
        Some(Policy::Spread) => PlacementPolicy::Spread,
    }
    .into()
}
