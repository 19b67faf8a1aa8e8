//! What a start of the database does to a tenant, and a tenant to it: passwords that pass by, sessions that come before
//! it, and what a tenant planted who was a superuser under an older release.

use std::time::Duration;

use supalove_system_tests::{CORE, docker, try_docker, wait_for};
use tokio_postgres::error::SqlState;

use super::server::{Server, spec_of};

/// Neither while the start SQL runs nor later: it has none, and the server keeps no samples of their hashes.
pub(super) async fn no_password_can_be_read(server: &Server) {
    let secrets = supalove_stack::ProjectSecrets::generate("abcdefghijklmnopqrst").unwrap();
    for release in [CORE, "supabase-2025.12-3"] {
        let spec = spec_of(release, &secrets);
        let files =
            spec.services.iter().flat_map(|service| &service.config_mounts).flat_map(|mount| &mount.files);
        let start =
            files.filter(|file| file.path == "start.sql").map(|file| file.content.clone()).next().unwrap();
        let start = String::from_utf8(start).unwrap();
        for (name, value) in secrets.iter() {
            assert!(!start.contains(value), "{release}: start.sql contains {name}");
        }
    }
    server.run_start_sql().unwrap();
    let client = server.tenant().await;
    client.batch_execute("GRANT pg_read_all_data, pg_read_all_stats TO postgres").await.unwrap();
    let statements =
        "SELECT count(*) FROM extensions.pg_stat_statements WHERE query ~* 'password' AND userid = 10";
    assert_eq!(client.query_one(statements, &[]).await.unwrap().get::<_, i64>(0), 0);

    client.batch_execute("CREATE DATABASE beside TEMPLATE template0").await.unwrap();
    server
        .as_superuser("ANALYZE pg_catalog.pg_authid; \n\\connect beside\nANALYZE pg_catalog.pg_authid")
        .unwrap();
    let samples = "SELECT count(*) FROM pg_stats WHERE tablename = 'pg_authid' AND attname = 'rolpassword'";
    let beside = server.log_in_to("beside", "postgres", &server.tenant_password()).await.unwrap();
    for client in [&client, &beside] {
        let refused = client.query_one(samples, &[]).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    }
    // A start forgets them, and the statistics are the tenant's to read again. The server takes none by itself.
    server.run_start_sql().unwrap();
    assert_eq!(client.query_one(samples, &[]).await.unwrap().get::<_, i64>(0), 0);
    let options = "SELECT array_to_string(reloptions, ',') FROM pg_class WHERE relname = 'pg_authid'";
    assert_eq!(server.as_superuser(options).unwrap(), "autovacuum_analyze_threshold=2147483647");
    beside.batch_execute("SELECT FROM pg_user").await.unwrap();
    drop(beside);
    // Its session ends a moment later.
    client.batch_execute("DROP DATABASE beside WITH (FORCE)").await.unwrap();
}

/// BASE_BACKUP over a connection to a database is a copy of everything, and `pg_hba.conf` does not tell such connections
/// from others.
pub(super) async fn nobody_copies_the_whole_server(server: &Server) {
    for mode in ["database", "true"] {
        let address = format!("host=127.0.0.1 user=postgres dbname=postgres replication={mode}");
        let password = format!("PGPASSWORD={}", server.tenant_password());
        let psql = [
            "exec",
            "--env",
            &password,
            server.container(),
            "psql",
            "--no-psqlrc",
            &address,
            "--command",
            "IDENTIFY_SYSTEM",
        ];
        let refused = try_docker(None, &psql).unwrap_err();
        assert!(refused.contains("replication connection"), "{refused}");
    }
    // Slots are there for SQL.
    let client = server.tenant().await;
    let slot = "SELECT pg_create_logical_replication_slot('mine', 'pgoutput', true)";
    client.batch_execute(slot).await.unwrap();
}

/// What a tenant does so that a start fails, or so that its code runs before the rules hold.
const AGAINST_STARTS: [&str; 6] = [
    "ALTER DATABASE postgres SET idle_session_timeout = '1ms'",
    "ALTER DATABASE postgres SET idle_in_transaction_session_timeout = '1ms'",
    "ALTER DATABASE postgres SET lock_timeout = '1ms'",
    "DROP FUNCTION IF EXISTS extensions.pgrst_ddl_watch() CASCADE; CREATE EXTENSION IF NOT EXISTS seg;
     CREATE FUNCTION extensions.pgrst_ddl_watch() RETURNS int LANGUAGE sql AS 'SELECT 1';
     ALTER EXTENSION seg ADD FUNCTION extensions.pgrst_ddl_watch()",
    "CREATE TABLE public.booted AS SELECT now() AS at",
    "SELECT cron.schedule('@reboot', 'INSERT INTO public.booted SELECT now() FROM pg_advisory_lock(7165042531)')",
];

pub(super) async fn nothing_of_the_tenant_comes_before_or_into_a_start(server: &mut Server) {
    let client = server.tenant().await;
    for statement in AGAINST_STARTS {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    drop(client);
    server.restart().await;
    for role in ["postgres", "authenticator"] {
        let password = if role == "postgres" { server.tenant_password() } else { server.internal_password() };
        let refused = server.log_in(role, &password).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{role}: {refused}");
    }
    // A job of this start would be there as soon as pg_cron is: it waits.
    let jobs = "SELECT count(*) FROM public.booted WHERE at > pg_postmaster_start_time()";
    assert_eq!(server.as_superuser(jobs).unwrap(), "0");
    server.run_start_sql().unwrap();
    let ran = || async { (server.as_superuser(jobs).unwrap() == "1").then_some(()) };
    wait_for("the job at the start", Duration::from_secs(30), ran).await;
    server.as_superuser("ALTER DATABASE postgres RESET ALL; DELETE FROM cron.job").unwrap();
}

/// By the former superuser that the exploit makes of a tenant: rights and code in places that no list of its objects has.
pub(super) const PLANTED: &str = r"
    CREATE VIEW information_schema.hashes AS SELECT * FROM pg_authid;
    GRANT ALL ON information_schema.hashes TO postgres;
    CREATE FUNCTION public.before_jobs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      EXECUTE 'ALTER ROLE postgres SUPERUSER'; RETURN old; END $$;
    CREATE TRIGGER before_jobs BEFORE DELETE ON cron.job FOR EACH ROW EXECUTE FUNCTION public.before_jobs();
    GRANT UPDATE (prosecdef, proowner) ON pg_proc TO postgres;
    UPDATE pg_language SET lanpltrusted = true WHERE lanname IN ('c', 'internal');
    GRANT EXECUTE ON FUNCTION pg_catalog.lo_export(oid, text), pg_catalog.pg_read_binary_file(text) TO postgres;
    GRANT SET ON PARAMETER log_statement TO postgres;
    GRANT ALTER SYSTEM ON PARAMETER archive_command TO postgres;
    CREATE DATABASE beside OWNER postgres;
    \connect beside
    CREATE FUNCTION public.root(q text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE q; END $$;
    CREATE FUNCTION public.out(oid, text) RETURNS int4 LANGUAGE internal AS 'be_lo_export';
    CREATE FUNCTION public.system(cstring) RETURNS int LANGUAGE c AS '/usr/lib/postgresql/15/lib/pgcrypto', 'pg_random_uuid';
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC;
    CREATE VIEW public.hashes AS SELECT * FROM pg_authid;
    CREATE VIEW public.samples AS SELECT staattnum, stavalues1::text AS samples FROM pg_statistic;
    GRANT ALL ON public.hashes, public.samples TO postgres;
    GRANT UPDATE (prosecdef, proowner) ON pg_proc TO postgres;
    UPDATE pg_language SET lanpltrusted = true WHERE lanname IN ('c', 'internal');
    GRANT EXECUTE ON FUNCTION pg_catalog.lo_export(oid, text), pg_catalog.pg_read_binary_file(text) TO postgres;
    ANALYZE pg_authid;";

/// How the tenant would use it afterwards: in which database, and how.
const USES: [(&str, &str); 18] = [
    ("postgres", "SELECT * FROM information_schema.hashes"),
    ("postgres", "UPDATE pg_proc SET prosecdef = true WHERE false"),
    ("postgres", "CREATE FUNCTION public.edge() RETURNS int LANGUAGE internal AS 'pg_backend_pid'"),
    ("postgres", "SELECT lo_export(lo_from_bytea(0, 'x'), '/tmp/planted')"),
    ("postgres", "SELECT pg_read_binary_file('PG_VERSION')"),
    ("postgres", "SET log_statement = 'none'"),
    ("postgres", "ALTER SYSTEM SET archive_command = 'id'"),
    ("beside", "SELECT public.root('ALTER ROLE postgres SUPERUSER')"),
    ("beside", "SELECT public.out(1, '/tmp/planted')"),
    ("beside", "SELECT public.system('id')"),
    ("beside", "SELECT * FROM public.hashes"),
    ("beside", "SELECT h.* FROM public.hashes AS h, pg_user AS u"),
    ("beside", "UPDATE public.hashes SET rolsuper = true WHERE rolname = 'postgres'"),
    ("beside", "SELECT * FROM public.samples"),
    ("beside", "UPDATE pg_proc SET prosecdef = true WHERE false"),
    ("beside", "CREATE FUNCTION public.edge() RETURNS int LANGUAGE internal AS 'pg_backend_pid'"),
    ("beside", "SELECT lo_export(lo_from_bytea(0, 'x'), '/tmp/planted')"),
    ("beside", "SELECT pg_read_binary_file('PG_VERSION')"),
];

pub(super) async fn nothing_planted_works(server: &Server) {
    let mut worked = Vec::new();
    for (database, statement) in USES {
        let client = server.log_in_to(database, "postgres", &server.tenant_password()).await.unwrap();
        match client.batch_execute(statement).await {
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
            other => worked.push((database, statement, other.map_err(|error| error.to_string()))),
        }
    }
    assert!(worked.is_empty(), "{worked:#?}");
    // It is the tenant's own.
    server.tenant().await.batch_execute("DROP DATABASE beside WITH (FORCE)").await.unwrap();
    let superusers = "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolsuper AND oid >= 16384";
    assert_eq!(server.as_superuser(superusers).unwrap(), "");
    let files = docker(None, &["exec", server.container(), "sh", "-c", "ls /tmp | grep -c planted || true"]);
    assert_eq!(files.trim(), "0");
}

/// A function that hides one of the server's: found before anything of it runs, and nobody but a superuser gets in.
pub(super) async fn a_database_with_foreign_code_in_the_catalog_does_not_start(server: &mut Server) {
    let hides = "SET allow_system_table_mods = on; CREATE FUNCTION pg_catalog.format(text, name) RETURNS text
        LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE postgres SUPERUSER'; RETURN $1; END $$";
    server.as_superuser(hides).unwrap();
    server.restart().await;
    let error = server.run_start_sql().unwrap_err();
    assert!(error.contains("the database was tampered with"), "{error}");
    assert_eq!(
        server.as_superuser("SELECT rolsuper FROM pg_authid WHERE rolname = 'postgres'").unwrap(),
        "f"
    );
    assert!(server.log_in("postgres", &server.tenant_password()).await.is_err());
}
