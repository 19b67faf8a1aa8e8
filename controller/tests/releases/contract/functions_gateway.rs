//! functions and gateway: §2, §9, §10, §12, §13.

use super::table::{Contract, File, Need, Probe, Variable, if_set, is, unset};

/// denoland/deno.
pub const FUNCTIONS: Contract = Contract {
    service: "functions",
    image: "denoland/deno:latest",
    // §9.2: the image's own command prints a greeting. §9.3: the router with fixed permissions.
    launch: "LAUNCH_FUNCTIONS_ROUTER",
    aliases: &[],
    port: None,
    // §13: only a slower cold start without it.
    volumes: &["/deno-dir"],
    variables: &[
        is("§9.1", &["JWT_SECRET"], &["{jwt_secret}"]),
        // The gateway, never the api container.
        is("§9.1", &["SUPABASE_URL"], &["http://kong:8000"]),
        is("§9.1", &["SUPABASE_PUBLIC_URL"], &["{public}"]),
        is("§9.1", &["SUPABASE_ANON_KEY"], &["{anon_key}"]),
        is("§9.1", &["SUPABASE_SERVICE_ROLE_KEY"], &["{service_role_key}"]),
        // The tenant's own role, with the tenant's own password (architecture §7).
        Variable {
            section: "§9.1",
            names: &["SUPABASE_DB_URL"],
            need: Need::Login("postgres", "tenant_db_password"),
        },
        if_set("§9.1", &["VERIFY_JWT"], &["true"]),
        unset("§11.2", &["SUPABASE_JWKS"]),
        unset("§9.3", &["POSTGRES_PASSWORD"]),
    ],
    files: &[
        File {
            section: "§9.3",
            path: "/app/router.ts",
            reader: Some(1993),
            secret: false,
            alone: false,
            has: &["9000", "/_internal/health"],
            lacks: &["{jwt_secret}", "{service_role_key}"],
        },
        File {
            section: "§9.1, §9.3, §10.5",
            path: "/app/config.ts",
            reader: Some(1993),
            secret: false,
            alone: false,
            has: &["150_000"],
            lacks: &[],
        },
        File {
            section: "§9.3",
            path: "/functions/manifest.json",
            reader: Some(1993),
            secret: false,
            alone: false,
            has: &["verify_jwt"],
            lacks: &[],
        },
    ],
    probe: Probe::Http(9000, &["/_internal/health"], "", 60),
    depends_on: &[],
    // The image's user is root although it has this one.
    users: &["1993:1993"],
    capabilities: (&[], &[]),
    new_privileges: false,
    stop_signals: &["", "SIGTERM", "SIGINT"],
    least_grace: 1,
    least_memory_mib: 150,
};

/// nginx in place of Kong.
pub const GATEWAY: Contract = Contract {
    service: "gateway",
    image: "nginx:alpine",
    launch: "LAUNCH_IMAGE_DEFAULT",
    // Users' snippets call http://kong:8000.
    aliases: &["kong"],
    port: Some((8000, "NAMED_PORT_API", "EXPOSURE_PUBLISHED")),
    volumes: &[],
    // §10.6: keys are never in `docker inspect`.
    variables: &[unset("§10.6", &["ANON_KEY"]), unset("§10.6", &["SERVICE_ROLE_KEY"])],
    files: &[File {
        section: "§10",
        path: "/etc/nginx/conf.d/gateway.conf",
        reader: None,
        secret: true,
        alone: false,
        has: &[
            "listen 8000",
            // §10.6: a static upstream keeps a stale address, or keeps nginx from starting.
            "resolver 127.0.0.11",
            "proxy_http_version 1.1",
            // §10.5
            "client_max_body_size 0",
            "large_client_header_buffers 4 16k",
            "proxy_buffer_size 128k",
            "3600s",
            // The limit of 150 s is the router's, who says so as JSON; this is behind it.
            "proxy_read_timeout 155s",
            // §10.3
            "X-Forwarded-For",
            "X-Real-IP",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "X-Forwarded-Port",
            "X-Forwarded-Prefix",
            // §7.3
            "realtime-dev",
            // §10.4
            "Access-Control-Allow-Origin",
        ],
        // §6.2: /config of the admin port prints secrets. Keys are compared with dots escaped, so not as they are.
        lacks: &[":3001", ":5369", "{anon_key}", "{service_role_key}", "{jwt_secret}", "{postgres_password}"],
    }],
    probe: Probe::Http(8000, &["/health"], "", 30),
    depends_on: &[],
    users: &["", "101:101"],
    capabilities: (&[], &["CHOWN", "SETGID", "SETUID"]),
    new_privileges: false,
    stop_signals: &["", "SIGQUIT"],
    least_grace: 1,
    least_memory_mib: 10,
};
