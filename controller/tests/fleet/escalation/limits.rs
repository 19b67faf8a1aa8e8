//! What a database writes beside its tables has an end: temporary files; write-ahead log, and what slots keep of it, by settings.

use tokio_postgres::{Client, error::SqlState};

use super::server::Server;

async fn refusal(client: &Client, statement: &str) -> SqlState {
    let error = client.batch_execute(statement).await.expect_err(statement);
    error.code().unwrap_or_else(|| panic!("{statement}: {error}")).clone()
}

pub(super) async fn what_a_tenant_writes_beside_its_data_is_bounded(server: &Server) {
    let tenant = server.tenant().await;
    temporary_files(server, &tenant).await;
    write_ahead_log(server, &tenant).await;
}

async fn temporary_files(server: &Server, tenant: &Client) {
    let row = tenant.query_one("SHOW temp_file_limit", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "1GB");
    for statement in [
        "SET temp_file_limit = -1",
        "ALTER ROLE postgres SET temp_file_limit = -1",
        "ALTER DATABASE postgres SET temp_file_limit = -1",
        "CREATE FUNCTION public.raised() RETURNS int LANGUAGE sql SET temp_file_limit = -1 AS 'SELECT 1'",
        "SELECT set_config('temp_file_limit', '-1', false)",
    ] {
        assert_eq!(refusal(tenant, statement).await, SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
    }
    // The server enforces it; with the real limit this would take a gigabyte.
    server.as_superuser("ALTER ROLE postgres SET temp_file_limit = '8MB'").unwrap();
    let limited = server.tenant().await;
    let sort = "SET work_mem = '64kB'; SELECT count(*) FROM
        (SELECT md5(n::text) AS t FROM generate_series(1, 400000) AS n ORDER BY 1) AS sorted";
    assert_eq!(refusal(&limited, sort).await, SqlState::CONFIGURATION_LIMIT_EXCEEDED);
    limited.batch_execute("SELECT 1").await.unwrap();
    server.as_superuser("ALTER ROLE postgres RESET temp_file_limit").unwrap();
}

async fn write_ahead_log(server: &Server, tenant: &Client) {
    let set = server.as_superuser(
        "SELECT setting || unit FROM pg_settings WHERE name IN ('max_wal_size', 'max_slot_wal_keep_size')",
    );
    assert_eq!(set.unwrap(), "512MB\n512MB");
    for statement in
        ["SET max_wal_size = '10GB'", "SET max_slot_wal_keep_size = -1", "SELECT pg_switch_wal()"]
    {
        let refused = refusal(tenant, statement).await;
        let expected = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::CANT_CHANGE_RUNTIME_PARAM];
        assert!(expected.contains(&refused), "{statement}: {refused:?}");
    }
    // A tenant may have slots; one that nobody reads keeps no more, and there are at most ten.
    let slots =
        "SELECT pg_create_physical_replication_slot('slot_' || n, true) FROM generate_series(1, 10) AS n";
    tenant.batch_execute(slots).await.unwrap();
    let eleventh =
        server.as_superuser("SELECT pg_create_physical_replication_slot('slot_11', true)").unwrap_err();
    assert!(eleventh.contains("all replication slots are in use"), "{eleventh}");
    server.as_superuser("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").unwrap();
    tenant
        .batch_execute("CREATE TABLE public.after_it AS SELECT 1 AS x; DROP TABLE public.after_it")
        .await
        .unwrap();
}
