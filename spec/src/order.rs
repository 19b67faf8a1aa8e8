//! The order in which services start and stop.

use std::collections::{BTreeMap, BTreeSet};

/// A service and the services it depends on.
pub type Edge<'a> = (&'a str, &'a [String]);

/// Invalid dependencies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A dependency on a service that does not exist.
    #[error("service {service} depends on {missing}, which the stack does not have")]
    Missing {
        /// The service that depends.
        service: String,
        /// The missing dependency.
        missing: String,
    },
    /// A dependency cycle.
    #[error("these services wait for each other: {}", .0.join(", "))]
    Circle(Vec<String>),
}

/// Returns waves of services: the services of a wave depend only on earlier waves.
pub fn waves<'a>(edges: &[Edge<'a>]) -> Result<Vec<Vec<&'a str>>, OrderError> {
    if let Some((service, missing)) = missing(edges).next() {
        return Err(OrderError::Missing { service: service.to_owned(), missing: missing.to_owned() });
    }
    let sorted = sort(edges);
    if sorted.circle.is_empty() {
        return Ok(sorted.waves);
    }
    Err(OrderError::Circle(sorted.circle.into_iter().map(str::to_owned).collect()))
}

/// Returns dependencies on services that do not exist, as (dependent, dependency).
pub fn missing<'e, 'a: 'e>(edges: &'e [Edge<'a>]) -> impl Iterator<Item = (&'a str, &'a str)> + 'e {
    let known: BTreeSet<&str> = edges.iter().map(|(service, _)| *service).collect();
    edges.iter().flat_map(move |(service, depends_on)| {
        let unknown: Vec<&str> =
            depends_on.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        unknown.into_iter().map(move |name| (*service, name))
    })
}

/// Returns the services of dependency cycles and their dependents; empty if there is an order. Ignores dependencies on
/// services that do not exist.
pub fn circle<'a>(edges: &[Edge<'a>]) -> Vec<&'a str> {
    sort(edges).circle
}

/// Returns the waves in which running services stop: dependents first. Services that are not in the specification stop
/// before all others, except one named "postgres", which others may still need.
pub fn stop_waves<'a>(edges: &[Edge<'a>], running: &[&'a str]) -> Vec<Vec<&'a str>> {
    let known = waves(edges).unwrap_or_default();
    let is_known = |name: &str| known.iter().any(|wave| wave.contains(&name));
    let unknown = running.iter().copied().filter(|name| !is_known(name));
    let (databases, others): (Vec<&str>, Vec<&str>) = unknown.partition(|name| *name == "postgres");
    let present = |wave: &Vec<&'a str>| wave.iter().copied().filter(|name| running.contains(name)).collect();
    std::iter::once(others)
        .chain(known.iter().rev().map(present))
        .chain(std::iter::once(databases))
        .filter(|wave: &Vec<&str>| !wave.is_empty())
        .collect()
}

struct Sorted<'a> {
    waves: Vec<Vec<&'a str>>,
    /// The remaining services when none is free to start.
    circle: Vec<&'a str>,
}

fn sort<'a>(edges: &[Edge<'a>]) -> Sorted<'a> {
    let known: BTreeSet<&str> = edges.iter().map(|(service, _)| *service).collect();
    let mut waiting: BTreeMap<&'a str, BTreeSet<&'a str>> = BTreeMap::new();
    for (service, depends_on) in edges {
        let needs = depends_on.iter().map(String::as_str).filter(|name| known.contains(name));
        waiting.insert(service, needs.collect());
    }
    let mut waves = Vec::new();
    while !waiting.is_empty() {
        let free = waiting.iter().filter(|(_, needs)| needs.is_empty());
        let wave: Vec<&'a str> = free.map(|(service, _)| *service).collect();
        if wave.is_empty() {
            break;
        }
        waiting.retain(|service, _| !wave.contains(service));
        for needs in waiting.values_mut() {
            needs.retain(|name| !wave.contains(name));
        }
        waves.push(wave);
    }
    Sorted { waves, circle: waiting.into_keys().collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn dependants_start_after_and_stop_before() {
        let none = on(&[]);
        let db = on(&["postgres"]);
        let all = on(&["auth", "postgres"]);
        let edges =
            [("gateway", &none[..]), ("auth", &db[..]), ("storage", &all[..]), ("postgres", &none[..])];
        assert_eq!(waves(&edges).unwrap(), [vec!["gateway", "postgres"], vec!["auth"], vec!["storage"]]);
        assert_eq!(
            stop_waves(&edges, &["auth", "postgres", "storage", "old"]),
            [vec!["old"], vec!["storage"], vec!["auth"], vec!["postgres"]]
        );
        assert_eq!(stop_waves(&[], &["postgres", "x"]), [vec!["x"], vec!["postgres"]]);
    }

    #[test]
    fn circles_and_strangers_are_named() {
        let a = on(&["a"]);
        let b = on(&["b"]);
        assert_eq!(waves(&[("a", &b), ("b", &a)]), Err(OrderError::Circle(vec!["a".into(), "b".into()])));
        assert_eq!(waves(&[("a", &a)]), Err(OrderError::Circle(vec!["a".into()])));
        assert!(matches!(waves(&[("a", &b)]), Err(OrderError::Missing { .. })));
        assert_eq!(missing(&[("a", &b), ("c", &a)]).collect::<Vec<_>>(), [("a", "b")]);
        assert_eq!(circle(&[("a", &b)]), [""; 0], "an unknown name is no circle");
        assert_eq!(circle(&[("a", &b), ("b", &a), ("c", &[]), ("d", &a)]), ["a", "b", "d"]);
    }

    proptest! {
        #[test]
        fn every_service_is_in_one_wave_after_what_it_needs(links in prop::collection::vec((0_usize..8, 0_usize..8), 0..20)) {
            let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
            let mut needs = vec![Vec::new(); 8];
            for (from, to) in links {
                needs[from].push(names[to].clone());
            }
            let edges: Vec<(&str, &[String])> = names.iter().map(String::as_str).zip(needs.iter().map(Vec::as_slice)).collect();
            if let Ok(waves) = waves(&edges) {
                prop_assert_eq!(waves.iter().map(Vec::len).sum::<usize>(), 8);
                let wave_of = |name: &str| waves.iter().position(|wave| wave.contains(&name)).unwrap();
                for (service, depends_on) in &edges {
                    for needed in *depends_on {
                        prop_assert!(wave_of(needed) < wave_of(service));
                    }
                }
            }
        }
    }
}
