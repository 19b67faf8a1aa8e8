//! Explains why a project fits on no node, and what would change that: "0 of 3 nodes fit: 2 lack 512 MiB memory, 1 is cordoned".

use std::collections::BTreeMap;

use super::{Blocked, Candidate, Misfit, Resources, misfit};

/// Whether the one who reads the explanation may know the names of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Shown,
    /// Only how many they are.
    Counted,
}

/// Why some nodes do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub misfit: Misfit,
    /// Names of the nodes, in their order among the candidates.
    pub nodes: Vec<String>,
}

/// Returns how many candidates fit, and why the others do not.
pub fn obstacles(candidates: &[Candidate], needs: Resources) -> (usize, Vec<Obstacle>) {
    let mut by_misfit: BTreeMap<Misfit, Vec<String>> = BTreeMap::new();
    let mut fits = 0;
    for candidate in candidates {
        match misfit(candidate, needs) {
            Some(reason) => by_misfit.entry(reason).or_default().push(candidate.name.clone()),
            None => fits += 1,
        }
    }
    (fits, by_misfit.into_iter().map(|(misfit, nodes)| Obstacle { misfit, nodes }).collect())
}

/// Explains in one sentence, with what would help if no node fits.
pub fn explain(candidates: &[Candidate], needs: Resources, names: Names) -> String {
    if candidates.is_empty() {
        return "the cluster has no nodes; create a join token and run the agent on a host".to_owned();
    }
    let text = reasons(candidates, needs, names);
    let help = remedies(candidates, needs, names);
    if help.is_empty() { text } else { format!("{text}. What would help: {}", help.join("; or ")) }
}

/// The same without what would help.
pub fn reasons(candidates: &[Candidate], needs: Resources, names: Names) -> String {
    let (fits, obstacles) = obstacles(candidates, needs);
    let noun = if candidates.len() == 1 { "node fits" } else { "nodes fit" };
    let mut text = format!("{fits} of {} {noun}", candidates.len());
    if !obstacles.is_empty() {
        let reasons: Vec<String> = obstacles.iter().map(|one| phrase(one, names)).collect();
        text = format!("{text}: {}", reasons.join(", "));
    }
    text
}

/// Formats one reason, with the names of the nodes if they are few.
fn phrase(obstacle: &Obstacle, names: Names) -> String {
    let nodes = &obstacle.nodes;
    let few = names == Names::Shown && nodes.len() <= 3;
    let who = if few { nodes.join(" and ") } else { nodes.len().to_string() };
    let one = nodes.len() == 1;
    let (is, lacks, has) = if one { ("is", "lacks", "has") } else { ("are", "lack", "have") };
    match obstacle.misfit {
        Misfit::NotConnected => format!("{who} {is} not connected"),
        Misfit::Blocked(Blocked::EngineSilent) => format!("{who} {has} an engine that does not answer"),
        Misfit::Blocked(Blocked::ChainsMissing) => {
            format!("{who} {has} lost the engine's chains in the packet filter")
        }
        Misfit::Blocked(Blocked::Other) => {
            format!("{who} {has} a condition that keeps new projects away (`supalove nodes get` shows it)")
        }
        Misfit::Draining => format!("{who} {is} draining"),
        Misfit::Cordoned => format!("{who} {is} cordoned"),
        Misfit::Cpu(missing) => format!("{who} {lacks} {missing} millicores"),
        Misfit::Memory(missing) => format!("{who} {lacks} {missing} MiB memory"),
        Misfit::Disk(missing) => format!("{who} {lacks} {missing} MiB disk"),
        Misfit::Slots => format!("{who} {has} no free slot"),
    }
}

/// The changes of which one alone would make room, the easiest first; none if a node fits.
pub fn remedies(candidates: &[Candidate], needs: Resources, names: Names) -> Vec<String> {
    if candidates.iter().any(|one| misfit(one, needs).is_none()) {
        return Vec::new();
    }
    let who = |one: &Candidate| match names {
        Names::Shown => one.name.clone(),
        Names::Counted => "one node".to_owned(),
    };
    // What else a node lacks if its reason ends.
    let first = |reason: fn(&Misfit) -> bool, without: fn(&mut Candidate)| {
        candidates.iter().find(|one| {
            let mut better = (*one).clone();
            without(&mut better);
            misfit(one, needs).as_ref().is_some_and(reason) && misfit(&better, needs).is_none()
        })
    };
    let mut all = Vec::new();
    if let Some(one) = first(|why| *why == Misfit::Cordoned, |one| one.schedulable = true) {
        all.push(format!("uncordon {}", who(one)));
    }
    let undrain = |one: &mut Candidate| (one.draining, one.schedulable) = (false, true);
    if let Some(one) = first(|why| *why == Misfit::Draining, undrain) {
        all.push(format!("end the drain of {} (`supalove nodes uncordon`)", who(one)));
    }
    if let Some(one) = first(|why| *why == Misfit::NotConnected, |one| one.connected = true) {
        all.push(format!("reconnect {}", who(one)));
    }
    if let Some(one) = first(|why| matches!(why, Misfit::Blocked(_)), |one| one.blocked = None) {
        all.push(format!("mend what `supalove nodes get` shows of {}", who(one)));
    }
    if let Some((one, lacks)) = nearest(candidates, needs) {
        all.push(format!("{lacks} more on {}, or a smaller project", who(one)));
    }
    if let Some(one) = first(|why| *why == Misfit::Slots, |one| one.free_slots = 1) {
        all.push(format!("a free slot on {}: delete a project there", who(one)));
    }
    all
}

/// Returns the node that takes projects and lacks the smallest part of what is needed, and what it lacks.
fn nearest(candidates: &[Candidate], needs: Resources) -> Option<(&Candidate, String)> {
    let open =
        |one: &&Candidate| one.connected && one.blocked.is_none() && one.schedulable && one.free_slots > 0;
    candidates
        .iter()
        .filter(open)
        .map(|one| {
            let lacks = [
                (
                    i64::from(lack(one.used.cpu_millis, needs.cpu_millis, one.capacity.cpu_millis)),
                    i64::from(needs.cpu_millis),
                    "millicores",
                ),
                (
                    i64::from(lack(one.used.memory_mib, needs.memory_mib, one.capacity.memory_mib)),
                    i64::from(needs.memory_mib),
                    "MiB memory",
                ),
                (
                    one.used
                        .disk_mib
                        .saturating_add(needs.disk_mib)
                        .saturating_sub(one.capacity.disk_mib)
                        .max(0),
                    needs.disk_mib,
                    "MiB disk",
                ),
            ];
            let parts: i64 =
                lacks.iter().map(|(missing, of, _)| missing.saturating_mul(1000) / (*of).max(1)).sum();
            let missing = lacks.iter().filter(|(missing, ..)| *missing > 0);
            let words: Vec<String> = missing.map(|(missing, _, unit)| format!("{missing} {unit}")).collect();
            (parts, one, words.join(" and "))
        })
        .min_by_key(|(parts, ..)| *parts)
        .map(|(_, one, words)| (one, words))
}

fn lack(used: i32, needs: i32, capacity: i32) -> i32 {
    used.saturating_add(needs).saturating_sub(capacity).max(0)
}
