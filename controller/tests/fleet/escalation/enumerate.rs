//! Tries everything that the tenant's role might reach beyond its own: each role, extension, function, relation, schema,
//! setting and job of a database, after granting itself all that can be granted. What it may reach is on the lists here;
//! everything else that works is an escalation.

use std::collections::{BTreeMap, BTreeSet};

use futures::future;
use tokio_postgres::Client;

/// Memberships that a tenant may give itself.
const LENT: [&str; 9] = [
    "anon",
    "authenticated",
    "service_role",
    "pg_monitor",
    "pg_read_all_settings",
    "pg_read_all_stats",
    "pg_stat_scan_tables",
    "pg_signal_backend",
    "pg_read_all_data",
];

/// Roles of the platform that it is a member of from the start.
const BECOME: [&str; 2] = ["supabase_functions_admin", "pg_database_owner"];

/// Roles whose settings it may change.
const CONFIGURABLE: [&str; 4] = ["authenticator", "anon", "authenticated", "service_role"];

/// Extensions that it may create.
const EXTENSIONS: [&str; 23] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "fuzzystrmatch",
    "hstore",
    "hypopg",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "pgjwt",
    "pgtap",
    "seg",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
];

/// What it may write in relations of superusers.
const WRITABLE: [(&str, &str); 2] = [
    // Changes the session's settings, as SET does.
    ("pg_catalog.pg_settings", "UPDATE"),
    // The runs of its own jobs.
    ("cron.job_run_details", "DELETE"),
];

/// Settings that it may make for everybody who connects to its database.
const DATABASE_SETTINGS: [&str; 19] = [
    "bytea_output",
    "DateStyle",
    "default_text_search_config",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "IntervalStyle",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "maintenance_work_mem",
    "random_page_cost",
    "search_path",
    "statement_timeout",
    "TimeZone",
    "work_mem",
    "deadlock_timeout",
    "log_min_duration_statement",
];

/// Functions of the server that not everybody may call, and it may: statistics and monitoring.
const SYSTEM_FUNCTIONS: [&str; 10] = [
    "pg_get_backend_memory_contexts()",
    "pg_get_shmem_allocations()",
    "pg_ls_archive_statusdir()",
    "pg_ls_logdir()",
    "pg_ls_logicalmapdir()",
    "pg_ls_logicalsnapdir()",
    "pg_ls_replslotdir(text)",
    "pg_ls_tmpdir()",
    "pg_ls_tmpdir(oid)",
    "pg_ls_waldir()",
];

/// What was tried, by kind, and what worked though it should not.
#[derive(Default)]
pub(super) struct Report {
    pub tried: BTreeMap<&'static str, usize>,
    pub reached: BTreeSet<String>,
}

impl Report {
    pub(super) fn edge(&mut self, kind: &'static str, what: &str, reached: bool) {
        *self.tried.entry(kind).or_default() += 1;
        if reached {
            self.reached.insert(format!("{kind}: {what}"));
        }
    }

    pub(super) fn total(&self) -> usize {
        self.tried.values().sum()
    }
}

/// Whether a role is the platform's or the server's.
fn is_reserved(role: &str) -> bool {
    ["pg_", "supabase_", "supalove_"].iter().any(|prefix| role.starts_with(prefix))
        || ["authenticator", "anon", "authenticated", "service_role", "pgbouncer", "dashboard_user"]
            .contains(&role)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether statements work. Nothing of them stays.
async fn works(client: &Client, statements: &str) -> bool {
    // Both are sent before the first answer, since there are thousands.
    let attempt = format!("BEGIN; {statements}; ROLLBACK");
    let (attempt, end) = future::join(client.batch_execute(&attempt), client.batch_execute("ROLLBACK")).await;
    end.unwrap();
    attempt.is_ok()
}

async fn pairs(client: &Client, query: &str) -> Vec<(String, String)> {
    let rows = client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn texts(client: &Client, query: &str) -> Vec<String> {
    let rows = client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    rows.iter().map(|row| row.get(0)).collect()
}

pub(super) async fn roles_of(client: &Client) -> Vec<String> {
    texts(client, "SELECT rolname::text FROM pg_roles WHERE rolname <> 'postgres' ORDER BY 1").await
}

/// Tries everything over a session of the tenant. Takes back what it granted.
pub(super) async fn enumerate(client: &Client) -> Report {
    let mut report = Report::default();
    client.batch_execute("SET lock_timeout = '2s'; SET client_min_messages = error").await.unwrap();
    let roles = roles_of(client).await;
    let granted = grant_all(client, &roles, &mut report).await;
    become_each(client, &roles, &mut report).await;
    spoil_each(client, &roles, &mut report).await;
    extensions(client, &mut report).await;
    functions(client, &mut report).await;
    search_paths(client, &mut report).await;
    relations(client, &mut report).await;
    schemas(client, &mut report).await;
    parameters(client, &mut report).await;
    jobs(client, &roles, &mut report).await;
    databases(client, &mut report).await;
    for role in granted {
        client.batch_execute(&format!("REVOKE {} FROM postgres", quoted(&role))).await.unwrap();
    }
    report
}

async fn grant_all(client: &Client, roles: &[String], report: &mut Report) -> Vec<String> {
    let members = "SELECT r.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.roleid
        WHERE m.member = 'postgres'::regrole";
    let before = texts(client, members).await;
    let mut granted = Vec::new();
    for role in roles {
        let name = quoted(role);
        let worked = client.batch_execute(&format!("GRANT {name} TO postgres")).await.is_ok();
        let foreign = is_reserved(role) && !LENT.contains(&role.as_str());
        report.edge("grant", role, worked && foreign);
        if worked && !before.contains(role) {
            granted.push(role.clone());
        }
        for way in [
            format!("ALTER GROUP {name} ADD USER postgres"),
            format!("CREATE ROLE edge IN ROLE {name}"),
            format!("CREATE ROLE edge IN GROUP {name} ROLE postgres"),
            format!("CREATE ROLE edge ADMIN postgres; GRANT {name} TO edge"),
        ] {
            report.edge("grant", &way, works(client, &way).await && foreign);
        }
    }
    granted
}

async fn become_each(client: &Client, roles: &[String], report: &mut Report) {
    for role in roles {
        let name = quoted(role);
        let foreign = is_reserved(role) && !LENT.contains(&role.as_str()) && !BECOME.contains(&role.as_str());
        let mut superuser = false;
        let became = client.batch_execute(&format!("SET ROLE {name}")).await.is_ok();
        if became {
            superuser = texts(client, "SELECT current_setting('is_superuser')").await == ["on"];
            client.batch_execute("RESET ROLE").await.unwrap();
        }
        report.edge("become", role, superuser || became && foreign);
        let session = format!("SET LOCAL SESSION AUTHORIZATION {name}");
        report.edge("become", &session, works(client, &session).await);
    }
}

/// What the platform needs of its roles cannot be taken away.
async fn spoil_each(client: &Client, roles: &[String], report: &mut Report) {
    for role in roles.iter().filter(|role| is_reserved(role)) {
        let name = quoted(role);
        for way in [
            format!("ALTER ROLE {name} PASSWORD 'known'"),
            format!("ALTER ROLE {name} NOLOGIN CONNECTION LIMIT 0"),
            format!("ALTER ROLE {name} LOGIN CREATEROLE PASSWORD 'known' USER postgres"),
            format!("ALTER ROLE {name} VALID UNTIL '2000-01-01'"),
            format!("ALTER ROLE {name} SUPERUSER"),
            format!("ALTER ROLE {name} RENAME TO edge"),
            format!("DROP ROLE {name}"),
            format!("DROP OWNED BY {name}; DROP ROLE {name}"),
            format!("REASSIGN OWNED BY {name} TO postgres"),
            format!("REVOKE anon FROM {name}"),
            format!("REVOKE CONNECT ON DATABASE postgres FROM {name}"),
            format!("ALTER DEFAULT PRIVILEGES FOR ROLE {name} GRANT ALL ON TABLES TO PUBLIC"),
        ] {
            // Nobody needs what the roles of requests or monitoring own: their default privileges are the tenant's.
            let own = way.contains("DEFAULT PRIVILEGES")
                && (LENT.contains(&role.as_str()) || BECOME.contains(&role.as_str()));
            report.edge("spoil", &way, works(client, &way).await && !own);
        }
        let settings = format!("ALTER ROLE {name} SET search_path = public");
        let worked = works(client, &settings).await;
        report.edge("spoil", &settings, worked && !CONFIGURABLE.contains(&role.as_str()));
    }
    for way in [
        "CREATE ROLE supabase_evil",
        "CREATE ROLE evil REPLICATION",
        "CREATE ROLE evil BYPASSRLS",
        "CREATE ROLE evil SUPERUSER",
    ] {
        report.edge("spoil", way, works(client, way).await);
    }
}

async fn extensions(client: &Client, report: &mut Report) {
    let available = "SELECT name::text FROM pg_available_extensions WHERE installed_version IS NULL";
    for extension in texts(client, available).await {
        let create = format!("CREATE EXTENSION {} CASCADE", quoted(&extension));
        let worked = works(client, &create).await;
        report.edge("extension", &extension, worked && !EXTENSIONS.contains(&extension.as_str()));
    }
    let installed = "SELECT e.extname::text, pg_get_userbyid(e.extowner)::text FROM pg_extension AS e";
    for (extension, owner) in pairs(client, installed).await {
        let name = quoted(&extension);
        for way in [
            format!("ALTER EXTENSION {name} UPDATE"),
            format!("ALTER EXTENSION {name} ADD FUNCTION pg_catalog.now()"),
        ] {
            report.edge("extension", &way, works(client, &way).await && owner != "postgres");
        }
    }
    for language in texts(client, "SELECT lanname::text FROM pg_language").await {
        let create = format!(
            "CREATE FUNCTION public.edge() RETURNS int LANGUAGE {} AS 'pg_backend_pid'",
            quoted(&language)
        );
        let worked = works(client, &format!("SET LOCAL check_function_bodies = off; {create}")).await;
        report.edge("language", &language, worked && !["sql", "plpgsql"].contains(&language.as_str()));
    }
}

/// What the tenant may call as itself or as any role that it can become.
const MAY_EXECUTE: &str = "EXISTS (SELECT FROM pg_roles AS r
    WHERE pg_has_role('postgres', r.oid, 'MEMBER') AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))";

async fn functions(client: &Client, report: &mut Report) {
    let definers = format!(
        "SELECT p.oid::regprocedure::text, ({MAY_EXECUTE} AND p.prorettype <> 'event_trigger'::regtype)::text
         FROM pg_proc AS p JOIN pg_roles AS o ON o.oid = p.proowner WHERE p.prosecdef AND o.rolsuper"
    );
    for (function, callable) in pairs(client, &definers).await {
        report.edge("security definer", &function, callable == "true");
        let replaced = format!("ALTER FUNCTION {function} OWNER TO postgres");
        report.edge("security definer", &replaced, works(client, &replaced).await);
    }
    let closed = format!(
        "SELECT p.oid::regprocedure::text, ({MAY_EXECUTE})::text FROM pg_proc AS p
         WHERE p.oid < 16384 AND NOT has_function_privilege('public', p.oid, 'EXECUTE')"
    );
    for (function, callable) in pairs(client, &closed).await {
        report.edge(
            "system function",
            &function,
            callable == "true" && !SYSTEM_FUNCTIONS.contains(&function.as_str()),
        );
    }
}

/// Where a superuser looks for names: in no schema that the tenant can put objects into.
async fn search_paths(client: &Client, report: &mut Report) {
    let runs_as_superuser = "SELECT p.oid::regprocedure::text,
            coalesce((SELECT substr(c, 13) FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=%'), 'public')
        FROM pg_proc AS p JOIN pg_roles AS o ON o.oid = p.proowner
        WHERE o.rolsuper AND (p.prosecdef OR p.oid IN (SELECT evtfoid FROM pg_event_trigger))
        UNION ALL
        SELECT 'role ' || r.rolname,
            coalesce((SELECT substr(c, 13) FROM unnest(r.rolconfig) AS c WHERE c LIKE 'search_path=%'), '\"$user\", public')
        FROM pg_roles AS r WHERE r.rolsuper AND r.rolcanlogin";
    for (who, path) in pairs(client, runs_as_superuser).await {
        for schema in path.split(',').map(|schema| schema.trim().trim_matches('"')) {
            let writable = match schema {
                "" | "pg_catalog" | "pg_temp" => false,
                "$user" => true,
                other => {
                    works(
                        client,
                        &format!(
                            "CREATE FUNCTION {}.edge() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                            quoted(other)
                        ),
                    )
                    .await
                }
            };
            report.edge("search path", &format!("{who} looks into {schema}"), writable);
        }
    }
}

async fn relations(client: &Client, report: &mut Report) {
    let relations = "SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_roles AS o ON o.oid = c.relowner
        WHERE o.rolsuper AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_(toast|temp)'";
    for (relation, kind) in pairs(client, relations).await {
        if kind == "S" {
            let set = format!("SELECT setval('{relation}', 1)");
            report.edge("relation", &set, works(client, &set).await);
            continue;
        }
        let column = format!(
            "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '{relation}'::regclass AND attnum > 0
             AND NOT attisdropped AND attgenerated = '' AND attidentity = '' ORDER BY attnum LIMIT 1"
        );
        let Some(column) = texts(client, &column).await.pop() else { continue };
        for (privilege, statement) in [
            (
                "INSERT",
                format!("INSERT INTO {relation} ({column}) SELECT {column} FROM {relation} WHERE false"),
            ),
            ("UPDATE", format!("UPDATE {relation} SET {column} = {column} WHERE false")),
            ("DELETE", format!("DELETE FROM {relation} WHERE false")),
            ("TRUNCATE", format!("TRUNCATE {relation}")),
            (
                "TRIGGER",
                format!(
                    "CREATE TRIGGER edge AFTER INSERT ON {relation} EXECUTE FUNCTION public.edge_of_a_trigger()"
                ),
            ),
            ("ALTER", format!("ALTER TABLE {relation} OWNER TO postgres")),
        ] {
            let allowed = WRITABLE.contains(&(relation.as_str(), privilege));
            let worked = if privilege == "TRIGGER" {
                let function = "CREATE FUNCTION public.edge_of_a_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";
                works(client, &format!("{function}; {statement}")).await
            } else {
                works(client, &statement).await
            };
            report.edge("relation", &format!("{privilege} {relation}"), worked && !allowed);
        }
        if relation.ends_with(".pg_authid") || relation.ends_with(".pg_shadow") {
            let read = format!("SELECT * FROM {relation} LIMIT 1");
            report.edge("password hashes", &read, works(client, &read).await);
            let copy = format!("COPY (TABLE {relation}) TO STDOUT");
            report.edge("password hashes", &copy, client.copy_out(&copy).await.is_ok());
        }
    }
}

async fn schemas(client: &Client, report: &mut Report) {
    let schemas = "SELECT n.nspname::text FROM pg_namespace AS n JOIN pg_roles AS o ON o.oid = n.nspowner
        WHERE o.rolsuper AND n.nspname !~ '^pg_(toast_)?temp'";
    for schema in texts(client, schemas).await {
        let name = quoted(&schema);
        for way in [
            format!("CREATE TABLE {name}.edge ()"),
            format!("CREATE FUNCTION {name}.edge() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
            format!("ALTER SCHEMA {name} RENAME TO edge"),
            format!("DROP SCHEMA {name} CASCADE"),
        ] {
            report.edge("schema", &way, works(client, &way).await);
        }
    }
}

async fn parameters(client: &Client, report: &mut Report) {
    let parameters = client
        .query("SELECT name, context, coalesce(quote_literal(setting), '''''') FROM pg_settings", &[])
        .await
        .unwrap();
    for row in parameters {
        let [name, context, literal]: [String; 3] = [row.get(0), row.get(1), row.get(2)];
        let quoted_name = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
        let own = context == "user";
        let listed = own && DATABASE_SETTINGS.contains(&name.as_str());
        let set = format!("SET {quoted_name} = {literal}");
        let ways = [
            (set.replacen("SET", "SET LOCAL", 1), own),
            (format!("ALTER ROLE postgres {set}"), own),
            (format!("ALTER ROLE supabase_admin {set}"), false),
            (format!("ALTER ROLE ALL {set}"), false),
            (format!("ALTER ROLE ALL IN DATABASE postgres {set}"), listed),
            (format!("ALTER DATABASE postgres {set}"), listed),
            (format!("GRANT SET, ALTER SYSTEM ON PARAMETER {quoted_name} TO postgres"), false),
        ];
        let worked = future::join_all(ways.iter().map(|(way, _)| works(client, way))).await;
        for ((way, allowed), worked) in ways.iter().zip(worked) {
            report.edge("parameter", way, worked && !allowed);
        }
        // In no transaction: what works would stay, so it is taken back.
        let system =
            client.batch_execute(&format!("ALTER SYSTEM SET {quoted_name} = {literal}")).await.is_ok();
        report.edge("parameter", &format!("ALTER SYSTEM SET {name}"), system);
        if system {
            client.batch_execute(&format!("ALTER SYSTEM RESET {quoted_name}")).await.unwrap();
        }
    }
    for name in
        ["role", "session_authorization", "session_preload_libraries", "supalove_guard.reserved_roles"]
    {
        let way = format!("ALTER DATABASE postgres SET {name} = 'anon'");
        report.edge("parameter", &way, works(client, &way).await);
    }
}

/// Jobs of pg_cron that would run as somebody else.
async fn jobs(client: &Client, roles: &[String], report: &mut Report) {
    let columns = "(schedule, command, nodename, nodeport, database, username, active)";
    for role in roles.iter().filter(|role| is_reserved(role)) {
        for way in [
            format!(
                "INSERT INTO cron.job {columns} VALUES ('0 0 1 1 *', 'SELECT 1', '127.0.0.1', 5432, 'postgres', '{role}', true)"
            ),
            format!(
                "SELECT cron.schedule_in_database('edge', '0 0 1 1 *', 'SELECT 1', 'postgres', '{role}')"
            ),
            format!(
                "SELECT cron.alter_job(cron.schedule('edge', '0 0 1 1 *', 'SELECT 1'), username => '{role}')"
            ),
            format!(
                "SELECT cron.schedule('edge', '0 0 1 1 *', 'SELECT 1'); UPDATE cron.job SET username = '{role}'"
            ),
        ] {
            report.edge(
                "job",
                &format!("{role}: {}", way.split_whitespace().take(2).collect::<Vec<_>>().join(" ")),
                works(client, &way).await,
            );
        }
    }
    report.edge(
        "job",
        "in another database",
        works(client, "SELECT cron.schedule_in_database('edge', '0 0 1 1 *', 'SELECT 1', 'template1')").await,
    );
}

async fn databases(client: &Client, report: &mut Report) {
    for database in texts(client, "SELECT datname::text FROM pg_database").await {
        let name = quoted(&database);
        for way in [
            format!("ALTER DATABASE {name} RENAME TO edge"),
            format!("ALTER DATABASE {name} CONNECTION LIMIT 0"),
            format!("ALTER DATABASE {name} OWNER TO anon"),
            format!("ALTER DATABASE {name} IS_TEMPLATE true"),
        ] {
            report.edge("database", &way, works(client, &way).await);
        }
        let dropped = client.batch_execute(&format!("DROP DATABASE {name}")).await.is_ok();
        report.edge("database", &format!("DROP DATABASE {name}"), dropped);
    }
}
