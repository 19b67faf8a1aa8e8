//! Which room writes which table, held against a short list. A room's statements are in its `.sqlx`; what a function writes
//! is charged to the room that calls it, what a trigger or a cascade writes to the room whose statement sets it off.

mod statement;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use supalove_system_tests::{Database, root};

use self::statement::Statement;

/// Table → rooms that write it, both sorted; `docs/tables.md` shows it. Where it is several:
/// - `audit_log`, `requests`, `organizations`: the placing statement of the projects writes them together with the rest, the
///   counter of an organization through the function of the plans.
/// - `organization_entitlements`, `entitlement_overrides`: a new organization gets the default plan by a trigger of the plans; what
///   an organization may use goes with its row.
/// - `organization_events`: changes of projects and operations append to the stream of their organization, by triggers; so does the
///   usage room when a size comes near to what the plan allows.
/// - `usage_sizes`: what is known of a project's sizes goes with its row.
/// - `controllers`, `platform`, `platform_secrets`: core's tables, in which the fleet writes when a replica was last alive and
///   takes an old root away, and identity keeps the setup token's hash.
///
/// Not shown: when the master key is replaced, core writes new headers into the columns that the rooms list as `SEALED`.
const WRITTEN_BY: &[(&str, &[&str])] = &[
    ("account_links", &["identity"]),
    ("audit_chains", &["core"]),
    ("audit_checkpoints", &["core"]),
    ("audit_digests", &["core"]),
    ("audit_log", &["core", "projects"]),
    ("audit_repairs", &["core"]),
    ("audit_retentions", &["core"]),
    ("authorities", &["fleet"]),
    ("certificates", &["fleet"]),
    ("cluster_usage", &["usage"]),
    ("clusters", &["fleet"]),
    ("controllers", &["core", "fleet"]),
    ("entitlement_overrides", &["organizations", "plans"]),
    ("function_secrets", &["projects"]),
    ("image_contents", &["images"]),
    ("image_needs", &["images"]),
    ("image_uploads", &["images"]),
    ("images", &["images"]),
    ("invitations", &["organizations"]),
    ("job_results", &["core"]),
    ("join_tokens", &["fleet"]),
    ("leases", &["core"]),
    ("mails", &["core"]),
    ("master_keys", &["core"]),
    ("members", &["organizations"]),
    ("node_capacity", &["projects"]),
    ("node_conditions", &["fleet"]),
    ("node_leftovers", &["projects"]),
    ("node_sessions", &["fleet"]),
    ("nodes", &["fleet"]),
    ("operations", &["projects"]),
    ("organization_entitlements", &["organizations", "plans"]),
    ("organization_events", &["organizations", "projects", "usage"]),
    ("organization_streams", &["organizations"]),
    ("organizations", &["organizations", "plans", "projects"]),
    ("personal_access_tokens", &["identity"]),
    ("placements", &["projects"]),
    ("plans", &["plans"]),
    ("platform", &["core", "identity"]),
    ("platform_secrets", &["core", "fleet"]),
    ("project_certificates", &["projects"]),
    ("project_endpoints", &["projects"]),
    ("project_events", &["projects"]),
    ("project_secrets", &["projects"]),
    ("project_settings", &["projects"]),
    ("project_sizes", &["plans"]),
    ("project_specs", &["projects"]),
    ("project_upgrades", &["projects"]),
    ("project_usage", &["usage"]),
    ("projects", &["projects"]),
    ("rate_limits", &["core"]),
    ("refused_calls", &["core"]),
    ("registry_credentials", &["fleet"]),
    ("requests", &["core", "projects"]),
    ("restore_claims", &["core"]),
    ("signing_keys", &["identity"]),
    ("usage_nodes", &["usage"]),
    ("usage_pending", &["usage"]),
    ("usage_sizes", &["projects", "usage"]),
    ("used_recovery_nonces", &["fleet"]),
    ("user_sessions", &["identity"]),
    ("users", &["identity"]),
];

/// What writes `node_capacity`, and the only files that have it: the placing statement takes its room on the node itself.
const CAPACITY: [(&str, &[&str]); 7] = [
    ("INTO node_capacity", &["controller/projects/src/capacity.rs"]),
    ("UPDATE node_capacity", &["controller/projects/src/capacity.rs"]),
    ("node_reserve_compute(", &["controller/projects/src/capacity.rs"]),
    ("node_adopt(", &["controller/projects/src/capacity.rs"]),
    ("node_grow(", &["controller/projects/src/capacity.rs"]),
    ("node_release(", &["controller/projects/src/capacity.rs"]),
    ("node_reserve(", &["controller/projects/src/placer/placement.rs"]),
];

/// Rooms by name, with their folders. The program has statements of its own.
fn rooms() -> BTreeMap<String, PathBuf> {
    let program = root().join("controller");
    let folders = fs::read_dir(&program).unwrap().map(|entry| entry.unwrap().path());
    folders
        .chain([program.clone()])
        .filter(|folder| folder.join(".sqlx").is_dir())
        .map(|folder| (folder.file_name().unwrap().to_str().unwrap().to_owned(), folder))
        .collect()
}

/// A room's statements.
fn statements(room: &Path) -> Vec<Statement> {
    let files = fs::read_dir(room.join(".sqlx")).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|file| {
            let query: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            Statement::new(query["query"].as_str().unwrap())
        })
        .collect()
}

/// What the database adds to a statement.
struct Schema {
    tables: BTreeSet<String>,
    functions: BTreeMap<String, Statement>,
    triggers: Vec<(String, String, bool)>,
    cascades: Vec<(String, String)>,
}

impl Schema {
    async fn read() -> Self {
        let rows = Database::create().await.rows().await;
        rows.migrate().await;
        let functions = rows.functions().await.into_iter();
        Self {
            tables: rows.tables().await.into_iter().collect(),
            functions: functions.map(|(name, body)| (name, Statement::new(&body))).collect(),
            triggers: rows.triggers().await,
            cascades: rows.cascades().await,
        }
    }

    /// Tables that a statement writes, with all that it sets off.
    fn written(&self, statement: &Statement) -> BTreeSet<String> {
        let mut written = BTreeSet::new();
        let mut called = BTreeSet::new();
        self.follow(statement, &mut written, &mut called);
        written
    }

    fn follow(&self, statement: &Statement, written: &mut BTreeSet<String>, called: &mut BTreeSet<String>) {
        for table in &statement.writes {
            assert!(self.tables.contains(table), "{table} is written and is no table: {statement:?}");
            written.insert(table.clone());
        }
        let fired = self.triggers.iter().filter(|(table, _, new_rows_only)| {
            let firing = if *new_rows_only { &statement.inserts } else { &statement.writes };
            firing.contains(table)
        });
        for function in statement.calls.iter().chain(fired.map(|(_, function, _)| function)) {
            if let Some(definition) = self.functions.get(function)
                && called.insert(function.clone())
            {
                self.follow(definition, written, called);
            }
        }
        for (_, table) in self.cascades.iter().filter(|(table, _)| statement.deletes.contains(table)) {
            let deletion = Statement::new(&format!("DELETE FROM {table}"));
            if !written.contains(table) {
                self.follow(&deletion, written, called);
            }
        }
    }
}

fn page() -> String {
    let mut page = String::from(
        "# The tables\n\nWhich room writes which table, directly or through a function, a trigger or a cascade. Held by \
         `controller/tests/api/tables.rs`,\nwhich compares this page with its list and the list with the rooms' checked \
         queries.\n\n| table | written by |\n|---|---|\n",
    );
    for (table, rooms) in WRITTEN_BY {
        writeln!(page, "| {table} | {} |", rooms.join(", ")).unwrap();
    }
    page
}

/// Sources of all rooms, with their paths in the checkout.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = rooms().into_values().map(|room| room.join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let name = entry.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                sources.push((name, fs::read_to_string(entry).unwrap()));
            }
        }
    }
    sources
}

#[tokio::test]
async fn each_table_is_written_by_the_rooms_of_the_list_only() {
    let schema = Schema::read().await;
    let mut found: BTreeMap<&str, BTreeSet<&str>> =
        schema.tables.iter().map(|table| (table.as_str(), BTreeSet::new())).collect();
    let rooms = rooms();
    for (room, folder) in &rooms {
        for table in statements(folder).iter().flat_map(|statement| schema.written(statement)) {
            found.get_mut(table.as_str()).unwrap().insert(room);
        }
    }
    let listed: BTreeMap<&str, BTreeSet<&str>> =
        WRITTEN_BY.iter().map(|(table, rooms)| (*table, rooms.iter().copied().collect())).collect();
    let wrong: Vec<String> = found
        .keys()
        .chain(listed.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|table| found.get(*table) != listed.get(*table))
        .map(|table| format!("{table}: written by {:?}, listed {:?}", found.get(table), listed.get(table)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(WRITTEN_BY.is_sorted(), "the list is sorted");
}

#[test]
fn the_page_of_the_tables_is_current() {
    let written = fs::read_to_string(root().join("docs/tables.md")).unwrap_or_default();
    assert!(written == page(), "docs/tables.md is not current; it should be:\n{}", page());
}

#[test]
fn only_the_capacity_file_and_the_placing_statement_move_the_counters_of_nodes() {
    let sources = sources();
    for (words, files) in CAPACITY {
        let found = sources.iter().filter(|(_, source)| source.contains(words)).map(|(name, _)| name);
        assert_eq!(found.collect::<Vec<_>>(), files, "{words}");
    }
}

#[test]
fn rooms_have_checked_queries_only() {
    let unchecked = [
        "sqlx::query(",
        "sqlx::query_as(",
        "sqlx::query_scalar(",
        "raw_sql(",
        "QueryBuilder",
        "AssertSqlSafe",
    ];
    // GRANT takes no parameters, and writes no row. The statements on sealed columns are made from the rooms' lists, and the tests
    // of the master key run them on each column.
    let excepted = ["controller/core/src/database/grants.rs", "controller/core/src/vault/columns.rs"];
    for (name, source) in sources().into_iter().filter(|(name, _)| !excepted.contains(&name.as_str())) {
        for words in unchecked {
            assert!(!source.contains(words), "{name} has {words}, a query that .sqlx does not have");
        }
    }
}
