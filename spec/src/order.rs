//! In which order services start and stop.

use std::collections::{BTreeMap, BTreeSet};

/// A service and the services it depends on.
pub type Edge<'a> = (&'a str, &'a [String]);

/// Dependencies that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A name that no service has.
    #[error("service {service} depends on {missing}, which the stack does not have")]
    Missing {
        /// Who depends.
        service: String,
        /// On what.
        missing: String,
    },
    /// A circle.
    #[error("these services wait for each other: {}", .0.join(", "))]
    Circle(Vec<String>),
}

/// Waves of services: each depends on earlier waves only.
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

/// Dependencies on services that the stack does not have: who depends, and on what.
pub fn missing<'e, 'a: 'e>(edges: &'e [Edge<'a>]) -> impl Iterator<Item = (&'a str, &'a str)> + 'e {
    let known: BTreeSet<&str> = edges.iter().map(|(service, _)| *service).collect();
    edges.iter().flat_map(move |(service, depends_on)| {
        let unknown: Vec<&str> =
            depends_on.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        unknown.into_iter().map(move |name| (*service, name))
    })
}

/// Services that wait for each other, and those that wait for them; none if there is an order. Names that no service has
/// are passed over.
pub fn circle<'a>(edges: &[Edge<'a>]) -> Vec<&'a str> {
    sort(edges).circle
}

/// The waves in which running services stop: who depends goes first. Services that the spec does not know go first of
/// all, but for one named "postgres", which others may still need.
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
    /// What is left when no service is free to start.
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
