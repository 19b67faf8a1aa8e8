//! Explains in one sentence why a project fits on no node: "0 of 3 nodes fit: 2 lack 512 MiB memory, 1 is draining".

use std::collections::BTreeMap;

use super::{Blocked, Candidate, Misfit, Resources, misfit};

pub fn explain(candidates: &[Candidate], needs: Resources) -> String {
    if candidates.is_empty() {
        return "the cluster has no nodes; create a join token and run the agent on a host".to_owned();
    }
    let mut by_misfit: BTreeMap<Misfit, Vec<&str>> = BTreeMap::new();
    let mut fits = 0;
    for candidate in candidates {
        match misfit(candidate, needs) {
            Some(reason) => by_misfit.entry(reason).or_default().push(&candidate.name),
            None => fits += 1,
        }
    }
    let reasons: Vec<String> = by_misfit.iter().map(|(reason, names)| phrase(*reason, names)).collect();
    let noun = if candidates.len() == 1 { "node fits" } else { "nodes fit" };
    format!("{fits} of {} {noun}: {}", candidates.len(), reasons.join(", "))
}

/// Formats one reason, with the names of the nodes if they are few.
fn phrase(reason: Misfit, names: &[&str]) -> String {
    let who = if names.len() <= 3 { names.join(" and ") } else { names.len().to_string() };
    let one = names.len() == 1;
    let (is, lacks, has) = if one { ("is", "lacks", "has") } else { ("are", "lack", "have") };
    match reason {
        Misfit::NotConnected => format!("{who} {is} not connected"),
        Misfit::Blocked(Blocked::EngineSilent) => format!("{who} {has} an engine that does not answer"),
        Misfit::Blocked(Blocked::ChainsMissing) => {
            format!("{who} {has} lost the engine's chains in the packet filter")
        }
        Misfit::Blocked(Blocked::Other) => {
            format!("{who} {has} a condition that keeps new projects away (`supalove nodes get` shows it)")
        }
        Misfit::Draining => format!("{who} {is} draining"),
        Misfit::Cpu(missing) => format!("{who} {lacks} {missing} millicores"),
        Misfit::Memory(missing) => format!("{who} {lacks} {missing} MiB memory"),
        Misfit::Disk(missing) => format!("{who} {lacks} {missing} MiB disk"),
        Misfit::Slots => format!("{who} {has} no free slot"),
    }
}
