//! In which order services start and stop. Pure.

use std::collections::{BTreeMap, BTreeSet};

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

/// Waves of services: each depends on earlier waves only. `edges` are (service, what it depends on).
pub fn waves<'a>(edges: &[(&'a str, &'a [String])]) -> Result<Vec<Vec<&'a str>>, OrderError> {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (service, depends_on) in edges {
        waiting.insert(service, depends_on.iter().map(String::as_str).collect());
    }
    for (service, depends_on) in &waiting {
        if let Some(missing) = depends_on.iter().find(|name| !waiting.contains_key(*name)) {
            return Err(OrderError::Missing {
                service: (*service).to_owned(),
                missing: (*missing).to_owned(),
            });
        }
    }
    let mut waves = Vec::new();
    while !waiting.is_empty() {
        let wave: Vec<&str> =
            waiting.iter().filter(|(_, on)| on.is_empty()).map(|(service, _)| *service).collect();
        if wave.is_empty() {
            return Err(OrderError::Circle(waiting.keys().map(|name| (*name).to_owned()).collect()));
        }
        waiting.retain(|service, _| !wave.contains(service));
        for depends_on in waiting.values_mut() {
            depends_on.retain(|name| !wave.contains(name));
        }
        waves.push(wave);
    }
    Ok(waves)
}

/// The waves in which running services stop: who depends goes first. Services that the spec does not know go first of
/// all, but for one named "postgres", which others may still need.
pub fn stop_waves<'a>(edges: &[(&'a str, &'a [String])], running: &[&'a str]) -> Vec<Vec<&'a str>> {
    let known = waves(edges).unwrap_or_default();
    let is_known = |name: &str| known.iter().any(|wave| wave.contains(&name));
    let (databases, others): (Vec<&str>, Vec<&str>) =
        running.iter().copied().filter(|name| !is_known(name)).partition(|name| *name == "postgres");
    let present = |wave: &Vec<&'a str>| wave.iter().copied().filter(|name| running.contains(name)).collect();
    std::iter::once(others)
        .chain(known.iter().rev().map(present))
        .chain(std::iter::once(databases))
        .filter(|wave: &Vec<&str>| !wave.is_empty())
        .collect()
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
        let (none, db, all) = (on(&[]), on(&["postgres"]), on(&["auth", "postgres"]));
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
        let (a, b) = (on(&["a"]), on(&["b"]));
        assert_eq!(waves(&[("a", &b), ("b", &a)]), Err(OrderError::Circle(vec!["a".into(), "b".into()])));
        assert_eq!(waves(&[("a", &a)]), Err(OrderError::Circle(vec!["a".into()])));
        assert!(matches!(waves(&[("a", &b)]), Err(OrderError::Missing { .. })));
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
