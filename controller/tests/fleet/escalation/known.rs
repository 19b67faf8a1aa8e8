//! Ways by which tenants of managed PostgreSQL offerings have become superusers, each tried by its name: what the tenant
//! does, then what a superuser of the platform does that could fall into it.

use supalove_system_tests::docker;

use super::server::Server;

struct Way {
    name: &'static str,
    /// Each alone; whether one fails does not matter, only what is reached in the end.
    tenant: &'static [&'static str],
    /// What the platform may do afterwards.
    platform: &'static str,
}

/// Code that makes the tenant a superuser if a superuser runs it, and hides that it failed.
const PAYLOAD: &str = "CREATE FUNCTION public.payload(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN EXECUTE 'ALTER ROLE postgres SUPERUSER'; RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN 1; END $$";

const WAYS: [Way; 18] = [
    Way {
        name: "a job of pg_cron with another's name",
        tenant: &[
            "GRANT pg_write_all_data TO postgres",
            "INSERT INTO cron.job (schedule, command, nodename, nodeport, database, username, active)
             VALUES ('* * * * *', 'ALTER ROLE postgres SUPERUSER', '127.0.0.1', 5432, 'postgres', 'supabase_admin', true)",
            "SELECT cron.schedule_in_database('x', '* * * * *', 'ALTER ROLE postgres SUPERUSER', 'postgres', 'supabase_admin')",
        ],
        platform: "",
    },
    Way {
        name: "CREATEROLE grants a role that runs programs",
        tenant: &[
            "GRANT pg_execute_server_program TO postgres",
            "CREATE ROLE runner IN ROLE pg_execute_server_program ADMIN postgres",
            "COPY (SELECT 1) TO PROGRAM 'touch /tmp/reached'",
        ],
        platform: "",
    },
    Way {
        name: "an extension's script finds the tenant's objects first",
        tenant: &[
            "CREATE SCHEMA trap",
            "CREATE FUNCTION trap.payload_of(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             EXECUTE 'ALTER ROLE postgres SUPERUSER'; RETURN true; EXCEPTION WHEN OTHERS THEN RETURN true; END $$",
            "CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.payload_of)",
            "SET search_path = trap, pg_catalog",
            "CREATE EXTENSION citext SCHEMA trap",
            "CREATE EXTENSION hstore SCHEMA trap",
            "RESET search_path",
        ],
        platform: "",
    },
    Way {
        name: "an event trigger that changes its owner",
        tenant: &[
            "CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             EXECUTE 'ALTER ROLE postgres SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
            "CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION public.on_ddl()",
            "ALTER EVENT TRIGGER pgrst_ddl_watch OWNER TO postgres",
            "CREATE OR REPLACE FUNCTION extensions.pgrst_ddl_watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             EXECUTE 'ALTER ROLE postgres SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
        ],
        platform: "CREATE TABLE public.of_the_platform (); DROP TABLE public.of_the_platform",
    },
    Way {
        name: "a SECURITY DEFINER function without a search_path",
        tenant: &[
            "CREATE SCHEMA supabase_admin",
            "CREATE VIEW supabase_admin.pg_shadow AS SELECT 'x'::name AS usename, public.payload(1)::text AS passwd",
            "SELECT pgbouncer.get_auth('postgres')",
            "GRANT pgbouncer TO postgres",
        ],
        platform: "SELECT pgbouncer.get_auth('postgres')",
    },
    Way {
        name: "an untrusted language",
        tenant: &[
            "CREATE FUNCTION public.run(cstring) RETURNS int LANGUAGE c AS '/lib/x86_64-linux-gnu/libc.so.6', 'system'",
            "CREATE FUNCTION public.run(text) RETURNS text LANGUAGE internal AS 'pg_read_file_v2'",
            "CREATE EXTENSION plpython3u",
            "CREATE LANGUAGE c_again HANDLER plpgsql_call_handler",
        ],
        platform: "",
    },
    Way {
        name: "programs and files of COPY",
        tenant: &[
            "COPY (SELECT 1) TO PROGRAM 'touch /tmp/reached'",
            "COPY (SELECT 1) TO '/tmp/reached'",
            "CREATE TEMP TABLE passwd (line text)",
            "COPY passwd FROM '/etc/passwd'",
        ],
        platform: "",
    },
    Way {
        name: "large objects from and to files",
        tenant: &["SELECT lo_import('/etc/passwd', 4711)", "SELECT lo_export(lo_from_bytea(0, 'x'), '/tmp/reached')"],
        platform: "",
    },
    Way {
        name: "a foreign server or dblink that logs in over loopback",
        tenant: &[
            "CREATE EXTENSION dblink",
            "CREATE EXTENSION postgres_fdw",
            "CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1')",
            "SELECT dblink_exec('host=127.0.0.1 user=supabase_admin', 'ALTER ROLE postgres SUPERUSER')",
        ],
        platform: "",
    },
    Way {
        name: "an index function that maintenance runs",
        tenant: &[
            "CREATE TABLE public.trap (a int)",
            "INSERT INTO public.trap VALUES (1)",
            "CREATE INDEX trap_index ON public.trap (public.payload(a))",
        ],
        platform: "ANALYZE public.trap; REINDEX TABLE public.trap; CLUSTER public.trap USING trap_index; VACUUM FULL public.trap",
    },
    Way {
        name: "a materialized view that a superuser refreshes",
        tenant: &["CREATE MATERIALIZED VIEW public.trap_view AS SELECT public.payload(1)"],
        platform: "REFRESH MATERIALIZED VIEW public.trap_view",
    },
    Way {
        name: "the owner of a logical subscription",
        tenant: &[
            "CREATE SUBSCRIPTION evil CONNECTION 'host=127.0.0.1 user=supabase_admin' PUBLICATION supabase_realtime",
            "CREATE PUBLICATION everything FOR ALL TABLES",
        ],
        platform: "",
    },
    Way {
        name: "pg_read_server_files and the functions that read files",
        tenant: &[
            "GRANT pg_read_server_files TO postgres",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_read_binary_file('/var/lib/postgresql/data/PG_VERSION')",
            "SELECT pg_ls_dir('/')",
            "SELECT pg_stat_file('/etc/passwd')",
        ],
        platform: "",
    },
    Way {
        name: "default privileges of a superuser",
        tenant: &[
            "ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin GRANT ALL ON TABLES TO postgres",
            "ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin GRANT EXECUTE ON FUNCTIONS TO postgres",
        ],
        platform: "",
    },
    Way {
        name: "an object given to a superuser",
        tenant: &[
            "CREATE FUNCTION public.given() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
             EXECUTE 'ALTER ROLE postgres SUPERUSER'; END $$",
            "ALTER FUNCTION public.given() OWNER TO supabase_admin",
            "SELECT public.given()",
        ],
        platform: "",
    },
    Way {
        name: "a catalog written by hand",
        tenant: &[
            "UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname = 'postgres'",
            "SET allow_system_table_mods = on",
            "INSERT INTO pg_catalog.pg_auth_members VALUES (3373, 10, 10, true)",
        ],
        platform: "",
    },
    Way {
        name: "a setting that runs a program",
        tenant: &[
            "ALTER SYSTEM SET archive_command = 'touch /tmp/reached'",
            "ALTER ROLE postgres SET session_preload_libraries = '/tmp/x'",
            "SET local_preload_libraries = '../evil'",
            "LOAD '/tmp/evil.so'",
            "SELECT pg_reload_conf()",
        ],
        platform: "",
    },
    Way {
        name: "names of the platform's own statements",
        tenant: &[
            "CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
             EXECUTE 'ALTER ROLE postgres SUPERUSER'; RETURN ''; EXCEPTION WHEN OTHERS THEN RETURN ''; END $$",
            "CREATE FUNCTION public.to_regclass(unknown) RETURNS regclass LANGUAGE sql AS 'SELECT public.payload(1)::regclass'",
            "ALTER DATABASE postgres SET search_path = supabase_admin, public",
            "ALTER DATABASE postgres SET role = 'anon'",
        ],
        platform: "",
    },
];

/// Tries each; answers the names of those that reached something.
pub(super) async fn try_each(server: &Server) -> Vec<&'static str> {
    let mut reached = Vec::new();
    server.tenant().await.batch_execute(PAYLOAD).await.unwrap();
    for way in WAYS {
        let client = server.tenant().await;
        for statement in way.tenant {
            client.batch_execute(statement).await.ok();
        }
        for statement in way.platform.split("; ").filter(|statement| !statement.is_empty()) {
            server.as_superuser(statement).ok();
        }
        // The platform's own SQL is what a superuser runs most.
        if way.name.starts_with("names") {
            server.run_start_sql().unwrap();
        }
        if is_anybody_there(server) {
            reached.push(way.name);
        }
    }
    println!("{} known ways tried by name, {} reached something", WAYS.len(), reached.len());
    reached
}

/// A superuser more than the platform's, a job that would be one, or a file that only the server could have made.
fn is_anybody_there(server: &Server) -> bool {
    let superusers = "SELECT count(*) FROM pg_roles WHERE rolsuper AND oid >= 16384
        UNION ALL SELECT count(*) FROM cron.job WHERE username <> 'postgres'
        UNION ALL SELECT count(*) FROM pg_auth_members WHERE roleid IN (SELECT oid FROM pg_roles WHERE rolsuper)
        UNION ALL SELECT count(*) FROM pg_extension WHERE extname IN ('dblink', 'postgres_fdw', 'file_fdw')
        UNION ALL SELECT count(*) FROM pg_largeobject_metadata";
    let found = server.as_superuser(superusers).unwrap();
    let files = docker(None, &["exec", server.container(), "sh", "-c", "ls /tmp | grep -c reached || true"]);
    // One large object is the tenant's own bytes.
    let [roles, jobs, members, extensions, objects] = found.lines().collect::<Vec<_>>().try_into().unwrap();
    [roles, jobs, members, extensions, &files].iter().any(|count| count.trim() != "0") || objects > "0"
}
