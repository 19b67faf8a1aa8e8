//! `clusters create | list | update | delete | explain` and `nodes cordon | drain | uncordon | alarms | forget | rename | label | remove | describe`.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use prost_types::FieldMask;
use supalove_proto::v1::{
    Cluster, CordonNodeRequest, CreateClusterRequest, DeleteClusterRequest, DrainNodeRequest,
    ExplainPlacementRequest, ExplainPlacementResponse, ForgetNodeRequest, GetNodeRequest, ListAlarmsRequest,
    ListAlarmsResponse, ListClustersRequest, ListClustersResponse, Node, NodeAvailability, NodeResources,
    PlacementPolicy, PlacementResources, RemoveNodeRequest, ResourceFactors, ResourceReserve,
    UncordonNodeRequest, UpdateClusterRequest, UpdateNodeRequest,
    cluster_service_client::ClusterServiceClient, project_service_client::ProjectServiceClient,
};

use super::{Context, clusters::shown, resolve};
use crate::{args::RequestId, confirm, error::Error, table};

/// Page size.
const PAGE: i32 = 100;
/// Width of a bar of `nodes describe`.
const BAR: u64 = 20;

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

pub async fn create(context: &Context, arguments: Create) -> Result<(), Error> {
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
    context.output.answer("CreateClusterResponse", &answer, |answer| one(answer.cluster.as_ref()))
}

/// Returns all clusters that the caller may see.
pub async fn all(context: &Context, organization: &str) -> Result<ListClustersResponse, Error> {
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

pub async fn list(context: &Context, organization: Option<&str>) -> Result<(), Error> {
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
pub fn one(cluster: Option<&Cluster>) -> String {
    let one = cluster.cloned().unwrap_or_default();
    let head = [
        ("name", one.name.clone()),
        ("id", one.id.clone()),
        ("kind", kind(&one)),
        ("organization", one.organization.clone()),
        ("region", one.region.clone()),
        ("labels", joined(&one.labels)),
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

fn joined(labels: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    all.join(", ")
}

pub async fn update(context: &Context, arguments: Update) -> Result<(), Error> {
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
        let text = one(answer.cluster.as_ref());
        if answer.overfull_nodes.is_empty() {
            return text;
        }
        let nodes = crate::output::clean(&answer.overfull_nodes.join(", "));
        format!("{text}\nprojects reserve more than these nodes have now: {nodes}. They stay; the nodes take no new ones.")
    })
}

pub async fn delete(context: &Context, cluster: String, yes: bool) -> Result<(), Error> {
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

pub async fn explain(context: &Context, arguments: Explain) -> Result<(), Error> {
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

pub async fn cordon(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let answer = context
        .client
        .call(CordonNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).cordon_node(request).await
        })
        .await?;
    context.output.answer("CordonNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

pub async fn drain(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let answer = context
        .client
        .call(DrainNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).drain_node(request).await
        })
        .await?;
    context.output.answer("DrainNodeResponse", &answer, |answer| {
        let standing = answer.projects.iter().map(|one| {
            let what =
                if one.running { "runs" } else { "is stopped; it starts again when the drain has ended" };
            format!("\n{}  {what}", one.project_ref)
        });
        let standing: String = standing.collect();
        let summary = match answer.projects.len() {
            0 => "it is empty: `supalove nodes remove` takes it out".to_owned(),
            count => format!("{count} projects stand on it until they are deleted:{standing}"),
        };
        format!("{}\n{summary}", shown(answer.node.as_ref()))
    })
}

pub async fn forget(context: &Context, node: &str, lost: Vec<String>, yes: bool) -> Result<(), Error> {
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

pub async fn alarms(context: &Context, cluster: &str) -> Result<(), Error> {
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

pub async fn uncordon(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let answer = context
        .client
        .call(UncordonNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).uncordon_node(request).await
        })
        .await?;
    context.output.answer("UncordonNodeResponse", &answer, |answer| shown(answer.node.as_ref()))
}

pub async fn rename(context: &Context, node: &str, name: String) -> Result<(), Error> {
    let request = UpdateNodeRequest { name, ..update_of(resolve::node(context, node).await?, "name") };
    update_node(context, request).await
}

pub async fn label(context: &Context, node: &str, given: &[String]) -> Result<(), Error> {
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

pub async fn remove(context: &Context, node: &str, abandon: Vec<String>, yes: bool) -> Result<(), Error> {
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

pub async fn describe(context: &Context, node: &str) -> Result<(), Error> {
    let node_id = resolve::node(context, node).await?;
    let answer = context
        .client
        .call(GetNodeRequest { node_id }, |channel, request| async move {
            ClusterServiceClient::new(channel).get_node(request).await
        })
        .await?;
    context.output.answer("GetNodeResponse", &answer, |answer| {
        let node = answer.node.clone().unwrap_or_default();
        format!("{}\n{}", described(&node), bars(node.used.as_ref(), node.capacity.as_ref()))
    })
}

fn described(node: &Node) -> String {
    let availability = match node.availability() {
        NodeAvailability::Cordoned => "cordoned: it takes no new projects".to_owned(),
        NodeAvailability::Draining => {
            "draining: it takes no new projects, and no stopped one starts".to_owned()
        }
        other => table::short(other.as_str_name(), "NODE_AVAILABILITY_").to_ascii_lowercase(),
    };
    let more = table::pairs([
        ("availability", availability),
        ("cluster", node.cluster_id.clone()),
        ("labels", joined(&node.labels)),
        ("engine", node.engine_version.clone()),
        ("etag", node.etag.clone()),
    ]);
    format!("{}\n{more}", shown(Some(node)))
}

/// Formats what is reserved of each resource as bars.
fn bars(used: Option<&NodeResources>, capacity: Option<&NodeResources>) -> String {
    let used = used.copied().unwrap_or_default();
    let capacity = capacity.copied().unwrap_or_default();
    let lines = [
        bar("cpu", used.cpu_millis.into(), capacity.cpu_millis.into(), "millicores"),
        bar("memory", used.memory_mib.into(), capacity.memory_mib.into(), "MiB"),
        bar("disk", used.disk_mib, capacity.disk_mib, "MiB"),
        bar("slots", used.slots.into(), capacity.slots.into(), ""),
    ];
    lines.join("\n")
}

fn bar(name: &str, used: u64, capacity: u64, unit: &str) -> String {
    let share = |parts: u64| {
        used.saturating_mul(parts).checked_div(capacity).unwrap_or(if used > 0 { parts } else { 0 })
    };
    let filled = usize::try_from(share(BAR).min(BAR)).unwrap_or_default();
    let empty = usize::try_from(BAR).unwrap_or_default() - filled;
    let text = format!(
        "{name:<7} [{}{}] {:>3} %  {used} of {capacity} {unit}",
        "#".repeat(filled),
        ".".repeat(empty),
        share(100)
    );
    text.trim_end().to_owned()
}

fn policy(given: Option<Policy>) -> i32 {
    match given {
        None => PlacementPolicy::Unspecified,
        Some(Policy::Pack) => PlacementPolicy::Pack,
        Some(Policy::Spread) => PlacementPolicy::Spread,
    }
    .into()
}

fn labels(given: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let wrong = |text: &str| Error::Usage(format!("{text:?} is no label: write KEY=VALUE"));
    let one = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| wrong(text))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    given.iter().map(one).collect()
}

/// Parses "cpu=1,memory=2,disk=3", of which each part may be missing.
fn parts<'a>(text: &'a str, example: &str) -> Result<BTreeMap<&'a str, &'a str>, Error> {
    let wrong = || Error::Usage(format!("{text:?} is not understood: write e.g. {example}"));
    let mut all = BTreeMap::new();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        if !["cpu", "memory", "disk"].contains(&name) || all.insert(name, value).is_some() {
            return Err(wrong());
        }
    }
    Ok(all)
}

fn factors(text: &str) -> Result<ResourceFactors, Error> {
    let example = "cpu=8,memory=1.5,disk=1";
    let all = parts(text, example)?;
    let one = |name: &str| {
        let Some(value) = all.get(name) else { return Ok(0.0) };
        // 0 would mean the default.
        let value = value.parse::<f64>().ok().filter(|value| *value >= 1.0);
        value.ok_or_else(|| Error::Usage(format!("a factor is a number from 1 to 64, e.g. {example}")))
    };
    Ok(ResourceFactors { cpu: one("cpu")?, memory: one("memory")?, disk: one("disk")? })
}

fn reserve(text: &str) -> Result<ResourceReserve, Error> {
    let (cpu_millis, memory_mib, disk_mib) = amounts(text)?;
    Ok(ResourceReserve { cpu_millis, memory_mib, disk_mib })
}

fn amounts(text: &str) -> Result<(u32, u32, u64), Error> {
    let example = "cpu=500,memory=1024,disk=10240";
    let all = parts(text, example)?;
    let one = |name: &str| {
        let value = all.get(name).map_or(Ok(0), |value| value.parse::<u64>());
        value.map_err(|_| Error::Usage(format!("an amount is a whole number, e.g. {example}")))
    };
    let small =
        |name: &str| u32::try_from(one(name)?).map_err(|_| Error::Usage(format!("{name} is too large")));
    Ok((small("cpu")?, small("memory")?, one("disk")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_factors_and_labels_are_parsed_or_refused() {
        assert_eq!(amounts("cpu=500,disk=7").unwrap(), (500, 0, 7));
        for wrong in ["", "cpu", "cpu=x", "ram=1", "cpu=1,cpu=2", "memory=4294967296"] {
            assert!(amounts(wrong).is_err(), "{wrong:?}");
        }
        let given = factors("memory=1.25").unwrap();
        assert!(given.cpu == 0.0 && (given.memory - 1.25).abs() < 1e-9);
        assert!(factors("cpu=0").is_err() && factors("cpu=NaN").is_err());
        assert_eq!(labels(&["a=b=c".into()]).unwrap()["a"], "b=c");
        assert!(labels(&["a".into()]).is_err());
    }

    #[test]
    fn a_bar_shows_the_share() {
        assert_eq!(
            bar("cpu", 500, 1000, "millicores"),
            "cpu     [##########..........]  50 %  500 of 1000 millicores"
        );
        assert_eq!(bar("slots", 0, 0, ""), "slots   [....................]   0 %  0 of 0");
        assert!(bar("disk", 30, 10, "MiB").contains("[####################] 300 %"));
        assert!(bar("disk", 3, 0, "MiB").contains("100 %"));
    }
}
