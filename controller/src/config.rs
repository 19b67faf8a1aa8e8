//! Arguments and environment. Secrets come from files only, so that no process list shows one.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use zeroize::Zeroizing;

use supalove_core::{
    audit::{Chain, verify::Seen},
    limits::Limits,
    mail::{self, Mail},
    times::Times,
    vault::{Vault, VaultError},
};
use supalove_fleet::downloads;
use supalove_identity::SignUpPolicy;

/// supalove-controller: the control plane of Supalove.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API and the fleet.
    Run(Box<Config>),
    /// The audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// Compare the rows of the control database among themselves. Changes nothing, and needs no running controller. Exits
    /// with 1 if something differs. `supalove platform check` also compares memory and nodes.
    Check(Check),
    /// Prepare the control database as the owner of its schema, and grant the controller's role what it needs: no change of the
    /// audit log but new rows. Run it before each new version of the controller; without an owner of its own the schema is
    /// prepared by `run`.
    Migrate(Migrate),
}

/// Settings of `check`.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// File with the postgresql:// URL of the control database.
    #[arg(long, env = "SUPALOVE_DATABASE_URL_FILE")]
    pub database_url_file: PathBuf,
}

/// Settings of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    /// File with the postgresql:// URL of the control database, with the schema's owner as its user.
    #[arg(long, env = "SUPALOVE_OWNER_DATABASE_URL_FILE")]
    pub database_url_file: PathBuf,

    /// Role that the controller logs in as. It must not have the owner's rights.
    #[arg(long, env = "SUPALOVE_CONTROLLER_ROLE")]
    pub controller_role: String,
}

/// Commands on the audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check that no row was changed or taken out: the chain of hashes, and the signed checkpoints. Changes nothing but a
    /// missing key. Exits with 1 if something is wrong.
    Verify(Verify),
    /// Note that a chain is broken, so that it goes on behind the note. Find the cause first: the note says who noted it and why, and
    /// nobody can take it back. `verify` keeps naming the break, and checks what comes after it.
    Repair(Repair),
}

/// Settings of `audit repair`.
#[derive(Debug, Clone, Args)]
pub struct Repair {
    /// File with the postgresql:// URL of the control database.
    #[arg(long, env = "SUPALOVE_DATABASE_URL_FILE")]
    pub database_url_file: PathBuf,

    /// The master key.
    #[command(flatten)]
    pub keys: MasterKeys,

    /// The broken chain, as `audit verify` names it: platform, or org_….
    #[arg(long)]
    pub chain: Chain,

    /// Who you are.
    #[arg(long, value_name = "NAME")]
    pub operator: String,

    /// What you know of the cause.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// The master key, and the one that it replaces.
#[derive(Debug, Clone, Args)]
pub struct MasterKeys {
    /// File with the master key: 32 bytes in base64.
    #[arg(long, env = "SUPALOVE_MASTER_KEY_FILE")]
    pub master_key_file: PathBuf,

    /// File with the master key that the other one replaces. Needed until `supalove platform vault` shows that no sealed value is
    /// under it.
    #[arg(long, env = "SUPALOVE_PREVIOUS_MASTER_KEY_FILE")]
    pub previous_master_key_file: Option<PathBuf>,
}

impl MasterKeys {
    /// Reads the files.
    pub fn vault(&self) -> Result<Vault, VaultError> {
        Vault::from_files(&self.master_key_file, self.previous_master_key_file.as_deref())
    }
}

/// Settings of `audit verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// File with the postgresql:// URL of the control database.
    #[arg(long, env = "SUPALOVE_DATABASE_URL_FILE")]
    pub database_url_file: PathBuf,

    /// The master key.
    #[command(flatten)]
    pub keys: MasterKeys,

    /// Number and hash of a row, as the controller logs the newest one each hour: proves that the rows since then are
    /// still there.
    #[arg(long, value_name = "SEQ:HASH")]
    pub seen: Option<Seen>,
}

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignUp {
    /// Everybody who has a mailbox.
    Open,
    /// Whoever is invited to an organization.
    Invitation,
    /// Nobody.
    Closed,
}

impl From<SignUp> for SignUpPolicy {
    fn from(choice: SignUp) -> Self {
        match choice {
            SignUp::Open => Self::Open,
            SignUp::Invitation => Self::Invitation,
            SignUp::Closed => Self::Closed,
        }
    }
}

/// Settings of `run`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address of the public API: gRPC, gRPC-web and HTTP/1.1, without TLS. Put a TLS proxy in front of it to leave
    /// loopback.
    #[arg(long, env = "SUPALOVE_PUBLIC_LISTEN", default_value = "127.0.0.1:8000")]
    pub public_listen: SocketAddr,

    /// Address that agents dial: TLS 1.3 with the fleet's own certificates.
    #[arg(long, env = "SUPALOVE_NODE_LISTEN", default_value = "127.0.0.1:8001")]
    pub node_listen: SocketAddr,

    /// Port of loopback, or address and port, on which `GET /metrics` shows metrics in Prometheus' format, e.g. 9100. Without TLS and
    /// open to whoever reaches it. Off by default.
    #[arg(long, env = "SUPALOVE_METRICS_LISTEN", value_name = "PORT|ADDRESS", value_parser = supalove_net::metrics::address)]
    pub metrics_listen: Option<SocketAddr>,

    /// Address of the controller in join commands, host:port. Default: that of the node listener.
    #[arg(long, env = "SUPALOVE_NODE_ADDRESS", value_parser = host_port)]
    pub node_address: Option<String>,

    /// Address at which hosts reach a controller's node port, host:port: of a load balancer, or of each controller, the preferred
    /// one first. Repeatable. Default: the node address.
    #[arg(long = "join-address", env = "SUPALOVE_JOIN_ADDRESSES", value_delimiter = ',', value_parser = host_port)]
    pub join_addresses: Vec<String>,

    /// Directory with the programs that joining hosts get: supalove-agent-x86_64 and supalove-agent-aarch64, or supalove-agent for
    /// hosts like this one, of the controller's version. Default: that of the controller's program.
    #[arg(long, env = "SUPALOVE_AGENTS_DIR")]
    pub agents_dir: Option<PathBuf>,

    /// File with the postgresql:// URL of the control database.
    #[arg(long, env = "SUPALOVE_DATABASE_URL_FILE")]
    pub database_url_file: PathBuf,

    /// The master key.
    #[command(flatten)]
    pub keys: MasterKeys,

    /// File for the one-time setup token (0600), written while there is no user. Default: standard error.
    #[arg(long, env = "SUPALOVE_SETUP_TOKEN_FILE")]
    pub setup_token_file: Option<PathBuf>,

    /// Label value that marks this installation's containers; effective only at the first start. Default: random.
    #[arg(long, env = "SUPALOVE_FLEET_ID", value_parser = fleet_id)]
    pub fleet_id: Option<String>,

    /// Default stack release of projects.
    #[arg(long, env = "SUPALOVE_DEFAULT_RELEASE", default_value = "core-3")]
    pub default_release: String,

    /// Directory with additional stack releases, each in its own folder.
    #[arg(long, env = "SUPALOVE_RELEASES_DIR")]
    pub releases_dir: Option<PathBuf>,

    /// Folder of the images that are kept for hosts which reach no registry. Replicas on several hosts need a folder that they
    /// share.
    #[arg(long, env = "SUPALOVE_IMAGES_DIR", default_value = "/var/lib/supalove-controller/images")]
    pub images_dir: PathBuf,

    /// Who may sign up. `open` needs mail.
    #[arg(long, env = "SUPALOVE_SIGN_UP", value_enum, default_value_t = SignUp::Invitation)]
    pub sign_up: SignUp,

    /// Address at which people reach the dashboard: links in mails lead there. E.g. https://dashboard.example.com.
    #[arg(long, env = "SUPALOVE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,

    /// Mail server: smtps://user@mail.example.com:465 (TLS), or smtp://user@mail.example.com:587 (STARTTLS, mandatory but on
    /// loopback). Without it no mail is sent. Needs --mail-from and --public-url.
    #[arg(long, env = "SUPALOVE_SMTP_URL", value_name = "URL")]
    pub smtp_url: Option<String>,

    /// File with the password of the mail server's user.
    #[arg(long, env = "SUPALOVE_SMTP_PASSWORD_FILE", value_name = "FILE")]
    pub smtp_password_file: Option<PathBuf>,

    /// File with the certificate of the CA that signed the mail server's, in PEM. Default: the system's CAs.
    #[arg(long, env = "SUPALOVE_SMTP_CA_FILE", value_name = "FILE")]
    pub smtp_ca_file: Option<PathBuf>,

    /// Sender of mails: an address, or 'Supalove <no-reply@example.com>'.
    #[arg(long, env = "SUPALOVE_MAIL_FROM", value_name = "ADDRESS")]
    pub mail_from: Option<String>,

    /// First pause after a failure to send mail, in seconds; the outbox is polled as often.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub mail_retry: Option<u64>,

    /// Time for one answer of the mail server, in seconds. A mail has twice that, and its claim lasts one second longer.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub mail_answer: Option<u64>,

    /// Origin from which browsers may call, e.g. https://dashboard.example.com. Repeatable.
    #[arg(long = "cors-origin", env = "SUPALOVE_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Connections to the public API at once. The limit of open files (`LimitNOFILE`) may lower it.
    #[arg(long, env = "SUPALOVE_MAX_CONNECTIONS", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,

    /// The same from one address (IPv6: one /64 network). Not for trusted proxies.
    #[arg(long, env = "SUPALOVE_MAX_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_address: Option<u32>,

    /// Connections of nodes at once: two for each, and more while they reconnect.
    #[arg(long, env = "SUPALOVE_MAX_NODE_CONNECTIONS", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_node_connections: Option<u32>,

    /// Projects, organizations and nodes that one user watches at once.
    #[arg(long, env = "SUPALOVE_MAX_WATCHED_PER_USER", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_watched_per_user: Option<u32>,

    /// Time for the first request on a connection, in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub first_request: Option<u64>,

    /// Lifetime of node certificates in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
    pub node_certificate_life: Option<u64>,

    /// Lifetime of this controller's certificate in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
    pub controller_certificate_life: Option<u64>,

    /// While two agents use one identity, how long the newest session is protected, in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub duplicate_hold: Option<u64>,

    /// How long after a start nodes get to return before deleted projects on lost ones are given up, in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub nodes_return: Option<u64>,

    /// How often agents repeat the digests of their projects' states and the controller compares them, in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub resync: Option<u64>,

    /// How often minutes of usage are summed to hours and days, and sizes compared with plans, in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub usage_roll_up: Option<u64>,

    /// Network of proxies whose X-Forwarded-For header the controller trusts. Repeatable.
    #[arg(long = "trusted-proxy", env = "SUPALOVE_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,
}

/// 1 to 32 lower-case letters and digits: it becomes part of names in Docker.
fn fleet_id(text: &str) -> Result<String, String> {
    let valid =
        (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if valid { Ok(text.to_owned()) } else { Err("must be 1 to 32 lower-case letters and digits".to_owned()) }
}

/// `host:port` or `[v6]:port`, of characters that mean nothing to a shell.
fn host_port(text: &str) -> Result<String, String> {
    if supalove_spec::text::is_host_port(text) {
        Ok(text.to_owned())
    } else {
        Err("must be host:port".to_owned())
    }
}

impl Config {
    /// Returns what hosts without an agent get.
    pub fn downloads(&self) -> downloads::Settings {
        downloads::Settings { addresses: self.join_addresses.clone(), agents_dir: self.agents_dir.clone() }
    }

    /// Returns the times of production, except those set by hidden options: tests shorten the times that they wait for.
    pub fn times(&self) -> Times {
        let given = |seconds: Option<u64>, default| seconds.map_or(default, Duration::from_secs);
        let times = Times::default();
        let answers = |count: u32, more: u64, default: Duration| {
            self.mail_answer
                .map_or(default, |seconds| Duration::from_secs(seconds) * count + Duration::from_secs(more))
        };
        Times {
            mail_retry: given(self.mail_retry, times.mail_retry),
            mail_poll: given(self.mail_retry, times.mail_poll),
            mail_answer: answers(1, 0, times.mail_answer),
            mail_send: answers(2, 0, times.mail_send),
            mail_claim: answers(2, 1, times.mail_claim),
            node_certificate: given(self.node_certificate_life, times.node_certificate),
            controller_certificate: given(self.controller_certificate_life, times.controller_certificate),
            repeat_digests: given(self.resync, times.repeat_digests),
            resync: given(self.resync, times.resync),
            nodes_return: given(self.nodes_return, times.nodes_return),
            duplicate_hold: given(self.duplicate_hold, times.duplicate_hold),
            usage_roll_up: given(self.usage_roll_up, times.usage_roll_up),
            usage_limits: given(self.usage_roll_up, times.usage_limits),
            ..times
        }
    }

    /// Returns the limits of production, except those set by options.
    pub fn limits(&self) -> Limits {
        let given = |number: Option<u32>, default| {
            number.map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX))
        };
        let limits = Limits::default();
        let public_connections = given(self.max_connections, limits.public_connections);
        Limits {
            public_connections,
            public_connections_per_address: given(
                self.max_connections_per_address,
                limits.public_connections_per_address,
            )
            .min(public_connections),
            node_connections: given(self.max_node_connections, limits.node_connections),
            watched_per_user: given(self.max_watched_per_user, limits.watched_per_user),
            first_request: self.first_request.map_or(limits.first_request, Duration::from_secs),
            ..limits
        }
    }

    /// Reads the settings of mail and the files that they name.
    pub fn mail(&self) -> anyhow::Result<Mail> {
        let mail = Mail::new(&mail::Options {
            public_url: self.public_url.clone(),
            smtp_url: self.smtp_url.clone(),
            smtp_password_file: self.smtp_password_file.clone(),
            smtp_ca_file: self.smtp_ca_file.clone(),
            mail_from: self.mail_from.clone(),
        })?;
        anyhow::ensure!(
            self.sign_up != SignUp::Open || mail.enabled(),
            "--sign-up open needs --smtp-url: strangers sign up with a link in a mail"
        );
        Ok(mail)
    }

    /// Reads the database's URL from its file.
    pub fn database_url(&self) -> anyhow::Result<Zeroizing<String>> {
        database_url(&self.database_url_file)
    }
}

/// Reads the database's URL from a file.
pub fn database_url(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    use anyhow::Context as _;
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the database URL from {}", file.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}
