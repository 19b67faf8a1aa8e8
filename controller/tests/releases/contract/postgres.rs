//! postgres: §2, §4, §12, §13.

use super::table::{Contract, File, Probe, if_set, is, unset};

/// supabase/postgres.
pub const POSTGRES: Contract = Contract {
    service: "postgres",
    image: "supabase/postgres:15.8.1.085",
    // §4.1: without the configuration file the preload libraries and wal_level=logical are missing.
    launch: "LAUNCH_POSTGRES",
    aliases: &["db"],
    // §2: if the product offers direct connections. Loopback, unless opened.
    port: Some((5432, "NAMED_PORT_DB", "EXPOSURE_LOOPBACK")),
    // §4.5: the second one holds the root key of Vault.
    volumes: &["/etc/postgresql-custom", "/var/lib/postgresql/data"],
    variables: &[
        is("§4.1", &["POSTGRES_PASSWORD"], &["{postgres_password}"]),
        is("§4.1", &["PGPASSWORD"], &["{postgres_password}"]),
        is("§4.1", &["POSTGRES_DB"], &["postgres"]),
        is("§4.1", &["PGDATABASE"], &["postgres"]),
        // Init scripts connect through the socket: TCP is closed during init.
        is("§4.1", &["POSTGRES_HOST"], &["/var/run/postgresql"]),
        if_set("§4.1", &["PGPORT"], &["5432"]),
        if_set("§4.1", &["POSTGRES_PORT"], &["5432"]),
        // jwt.sql keeps jwt_exp; the secret stays out of the database's settings, so out of this container.
        is("§4.1", &["JWT_EXP"], &["3600"]),
        unset("§4.4", &["JWT_SECRET"]),
        // Overriding it breaks role creation and ownership.
        unset("§4.1", &["POSTGRES_USER"]),
        unset("§4.1", &["POSTGRES_INITDB_ARGS"]),
        unset("§4.1", &["LANG"]),
    ],
    files: &[
        File {
            section: "§4.4 roles.sql",
            path: "/docker-entrypoint-initdb.d/init-scripts/99-roles.sql",
            reader: None,
            secret: false,
            alone: true,
            has: &[
                "authenticator",
                "pgbouncer",
                "supabase_auth_admin",
                "supabase_storage_admin",
                "supabase_functions_admin",
                "POSTGRES_PASSWORD",
            ],
            lacks: &["{postgres_password}", "{tenant_db_password}"],
        },
        File {
            section: "§4.4 realtime.sql",
            path: "/docker-entrypoint-initdb.d/migrations/99-realtime.sql",
            reader: None,
            secret: false,
            alone: true,
            has: &["create schema if not exists _realtime", "_realtime owner to"],
            lacks: &[],
        },
        File {
            section: "§4.4 what runs last",
            path: "/docker-entrypoint-initdb.d/migrations/99-zz-first-start-done.sql",
            reader: None,
            secret: false,
            alone: true,
            has: &["/etc/postgresql-custom/supalove-first-start-done"],
            lacks: &[],
        },
        File {
            section: "§4.4 jwt.sql",
            path: "/docker-entrypoint-initdb.d/init-scripts/99-jwt.sql",
            reader: None,
            secret: false,
            alone: true,
            has: &["app.settings.jwt_exp", "JWT_EXP"],
            lacks: &["app.settings.jwt_secret", "{jwt_secret}"],
        },
        File {
            section: "§4.4 webhooks.sql",
            path: "/docker-entrypoint-initdb.d/init-scripts/98-webhooks.sql",
            reader: None,
            secret: false,
            alone: true,
            has: &[
                "supabase_functions_admin",
                "supabase_functions.migrations",
                "supabase_functions.hooks",
                "supabase_functions.http_request",
                "pg_net",
                "issue_pg_net_access",
            ],
            lacks: &[],
        },
    ],
    // §12: a socket check would go green in the middle of init; a login as authenticator shows that roles.sql ran.
    probe: Probe::Postgres("authenticator", "postgres_password", 180),
    depends_on: &[],
    // §2: starts as root, drops to postgres.
    users: &[""],
    // What the entrypoint needs for that.
    capabilities: (&["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"], &[]),
    new_privileges: false,
    // §4.2: fast shutdown; do not override; at least 30 s.
    stop_signals: &["", "SIGINT"],
    least_grace: 30,
    least_memory_mib: 256,
};
