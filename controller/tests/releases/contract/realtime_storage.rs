//! realtime and storage: §2, §7, §8, §12, §13.

use super::table::{Contract, Need, Probe, Variable, fits, if_set, is, is_positive, is_something, unset};

/// supabase/realtime.
pub const REALTIME: Contract = Contract {
    service: "realtime",
    image: "supabase/realtime:v2.68.0",
    launch: "LAUNCH_IMAGE_DEFAULT",
    // Its first label is the tenant.
    aliases: &["realtime-dev.supabase-realtime"],
    port: None,
    volumes: &[],
    variables: &[
        if_set("§7.1", &["PORT"], &["4000"]),
        is("§7.1", &["DB_HOST"], &["db"]),
        // 5432 in the runtime, 5433 in the seeds: to be set.
        is("§7.1", &["DB_PORT"], &["5432"]),
        is("§7.1", &["DB_NAME"], &["postgres"]),
        // Creates roles and replication slots.
        is("§7.1", &["DB_USER"], &["supabase_admin"]),
        is("§7.1", &["DB_PASSWORD"], &["{postgres_password}"]),
        fits("§7.1", &["DB_AFTER_CONNECT_QUERY"], "sets search_path to _realtime", |query| {
            let query = query.to_lowercase();
            query.contains("search_path") && query.contains("_realtime")
        }),
        is("§7.1", &["DB_ENC_KEY"], &["{db_enc_key}"]),
        is("§7.1", &["API_JWT_SECRET"], &["{jwt_secret}"]),
        unset("§11.2", &["API_JWT_JWKS"]),
        is("§7.1", &["SECRET_KEY_BASE"], &["{secret_key_base}"]),
        is("§7.1", &["ERL_AFLAGS"], &["-proto_dist inet_tcp"]),
        is("§7.1", &["DNS_NODES"], &["''"]),
        // run.sh ends if it is not defined.
        is("§7.1", &["RLIMIT_NOFILE"], &["", "10000"]),
        is("§7.1", &["APP_NAME"], &["realtime"]),
        is("§7.1", &["SEED_SELF_HOST"], &["true"]),
        if_set("§7.1", &["SELF_HOST_TENANT_NAME"], &["realtime-dev"]),
        is("§7.1", &["RUN_JANITOR"], &["true"]),
        if_set("§7.1", &["METRICS_JWT_SECRET"], &["{metrics_jwt_secret}"]),
        Variable {
            section: "§7.1",
            names: &["MAX_HEADER_LENGTH"],
            need: Need::UnsetOrFits("4096 or more", |text| {
                text.parse::<u32>().is_ok_and(|length| length >= 4096)
            }),
        },
        unset("§7.1", &["DASHBOARD_USER"]),
        unset("§7.1", &["DASHBOARD_PASSWORD"]),
    ],
    files: &[],
    // §12: a green TCP port does not mean that realtime works. The ANON_KEY shows that both have one secret.
    probe: Probe::Http(4000, &["/api/tenants/realtime-dev/health"], "anon_key", 120),
    depends_on: &["postgres"],
    // §7.2: must start as root; do not set a user.
    users: &[""],
    // sudo. The contract does not name the third; the release has it with a reason and says that it is unconfirmed.
    capabilities: (&["SETGID", "SETUID"], &["DAC_OVERRIDE"]),
    new_privileges: true,
    stop_signals: &["", "SIGTERM"],
    least_grace: 1,
    least_memory_mib: 300,
};

/// supabase/storage-api.
pub const STORAGE: Contract = Contract {
    service: "storage",
    image: "supabase/storage-api:v1.33.0",
    launch: "LAUNCH_IMAGE_DEFAULT",
    aliases: &[],
    port: None,
    volumes: &["/var/lib/storage"],
    variables: &[
        Variable {
            section: "§8.1",
            names: &["DATABASE_URL"],
            need: Need::Login("supabase_storage_admin", "postgres_password"),
        },
        is("§8.1", &["AUTH_JWT_SECRET", "PGRST_JWT_SECRET"], &["{jwt_secret}"]),
        if_set("§8.1", &["ANON_KEY"], &["{anon_key}"]),
        if_set("§8.1", &["SERVICE_KEY"], &["{service_role_key}"]),
        if_set("§8.1", &["POSTGREST_URL"], &["http://rest:3000"]),
        is("§8.1", &["FILE_SIZE_LIMIT", "UPLOAD_FILE_SIZE_LIMIT"], &["52428800"]),
        is("§8.1", &["STORAGE_BACKEND"], &["file"]),
        is("§8.1", &["FILE_STORAGE_BACKEND_PATH", "STORAGE_FILE_BACKEND_PATH"], &["/var/lib/storage"]),
        // Path elements: never to be changed.
        is("§8.1", &["PROJECT_REF", "TENANT_ID"], &["{ref}"]),
        fits("§8.1", &["REGION", "SERVER_REGION", "STORAGE_S3_REGION"], "named", is_something),
        fits("§8.1", &["GLOBAL_S3_BUCKET", "STORAGE_S3_BUCKET"], "named", is_something),
        // Without it resumable uploads break behind the gateway.
        is("§8.1", &["REQUEST_ALLOW_X_FORWARDED_PATH"], &["true"]),
        // There is no imgproxy in this stack.
        if_set("§8.1", &["ENABLE_IMAGE_TRANSFORMATION"], &["false"]),
        unset("§8.1", &["IMGPROXY_URL"]),
        is("§8.1", &["S3_PROTOCOL_ACCESS_KEY_ID"], &["{s3_access_key_id}"]),
        is("§8.1", &["S3_PROTOCOL_ACCESS_KEY_SECRET"], &["{s3_secret_access_key}"]),
        if_set("§8.1", &["S3_PROTOCOL_ENABLED"], &["true"]),
        if_set("§8.1", &["S3_PROTOCOL_PREFIX"], &["/storage/v1"]),
        Variable {
            section: "§8.1",
            names: &["DATABASE_MAX_CONNECTIONS"],
            need: Need::UnsetOrFits("a number", is_positive),
        },
        // true fails with "role anon already exists".
        if_set("§8.1", &["DB_INSTALL_ROLES"], &["false"]),
        unset("§8.1", &["JWT_JWKS"]),
        // production forces https into the URLs of resumable uploads.
        Variable {
            section: "§8.1",
            names: &["NODE_ENV"],
            need: Need::UnsetOrFits("not production", |text| text != "production" && !text.contains('\u{1}')),
        },
        unset("§8.1", &["MULTI_TENANT"]),
        unset("§8.1", &["DATABASE_MULTITENANT_URL"]),
        unset("§8.1", &["AWS_SECRET_ACCESS_KEY"]),
    ],
    files: &[],
    probe: Probe::Http(5000, &["/status", "/health"], "", 90),
    depends_on: &["postgres"],
    // Root in the image; what it runs as must be able to write to the volume, which the stand-in tries.
    users: &["", "1000:1000"],
    capabilities: (&[], &["CHOWN", "DAC_OVERRIDE", "FOWNER"]),
    new_privileges: false,
    stop_signals: &["", "SIGTERM", "SIGINT"],
    least_grace: 1,
    least_memory_mib: 300,
};
