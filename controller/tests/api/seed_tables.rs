//! Each table of the document that the system is built from exists, or a decision names its successor and when it comes.

use std::{collections::BTreeSet, fs};

use supalove_system_tests::{Database, root};

const SEED: [&str; 11] = [
    "users",
    "organizations",
    "org_members",
    "projects",
    "project_secrets",
    "plans",
    "organization_entitlements",
    "subscriptions",
    "invoices",
    "clusters",
    "cluster_usage",
];

/// The names in backquotes of a cell.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[tokio::test]
async fn each_table_of_the_seed_exists_or_a_decision_says_when_it_comes() {
    let rows = Database::create().await.rows().await;
    rows.migrate().await;
    let tables: BTreeSet<String> = rows.tables().await.into_iter().collect();
    let decision = fs::read_to_string(root().join("docs/adr/0031-the-tables-of-the-seed.md")).unwrap();
    let lines: Vec<Vec<&str>> = decision
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let listed: Vec<&str> = lines.iter().flat_map(|cells| names(cells[0])).collect();
    assert_eq!(listed, SEED, "the decision has a line for each table of the seed");
    for cells in lines {
        let [seed, successors, when] = cells[..] else { panic!("three columns: {cells:?}") };
        assert!(!names(successors).is_empty() && !when.is_empty(), "{seed} has no successor or no time");
        for successor in names(successors) {
            let exists = tables.contains(successor);
            assert_eq!(exists, when == "now", "{successor}, the successor of {seed}, comes {when}");
        }
    }
}
