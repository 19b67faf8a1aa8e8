//! Renders a release and a project to a `StackSpec`.
//!
//! Templates are strict: an undefined variable is an error, not an empty string. The result depends on
//! the input alone; everything iterates in a fixed order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU32,
};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use supalove_proto::node::v1 as node;

use super::{
    keys::{DB_CA_KEY, ProjectSecrets},
    manifest::{
        Allow, ConfigFile, ConfigMount, EnvValue, Limits, Mount, Port, Probe, Security, Service, Tmpfs,
        parse_mode,
    },
    release::Release,
    settings::{OAUTH_PROVIDERS, ProjectSettings},
    size::Size,
    validate,
};

/// Maximum number of steps of one template; the longest one of the embedded releases takes a few thousand.
const FUEL: u64 = 100_000;

/// The openings of tags.
const TAGS: [&str; 3] = ["{{", "{%", "{#"];

/// Everything besides the release on which a specification depends.
#[derive(Debug, Clone, Copy)]
pub struct ProjectInput<'a> {
    pub project_ref: &'a str,
    /// Its name for people.
    pub project_name: &'a str,
    pub secrets: &'a ProjectSecrets,
    pub settings: &'a ProjectSettings,
}

/// A template that failed to render. The message names variables, never values.
#[derive(Debug, thiserror::Error)]
#[error("stack release '{release}': {place}: {message}")]
pub struct RenderError {
    pub release: String,
    /// Service and field or file.
    pub place: String,
    pub message: String,
}

/// Renders the specification of one project.
pub fn render(release: &Release, input: &ProjectInput<'_>) -> Result<node::StackSpec, RenderError> {
    let mut environment = environment();
    let salt_key = input.secrets.salt_key();
    environment.add_filter("scram_verifier", move |password: &str| scram_verifier(password, &salt_key));
    let disabled = &input.settings.disabled_services;
    let size = input.settings.size;
    Renderer { release, disabled, size, environment, context: template_context(release, input) }.stack()
}

/// Checks a template's syntax.
pub(super) fn parse(template: &str) -> Result<(), minijinja::Error> {
    environment().template_from_str(template).map(|_| ())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // In debug mode errors would contain the values of variables.
    environment.set_debug(false);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("regex_escape", regex_escape);
    environment.add_filter("tojson", to_json);
    environment
}

/// Writes a value as JSON. A dollar sign is escaped, so that nothing of a tenant's looks like a placement token. Takes no fuel,
/// unlike the filter that it replaces: the size of settings has a limit of its own.
fn to_json(value: &Value) -> Result<String, minijinja::Error> {
    let none: [(&str, Value); 0] = [];
    let json = minijinja::filters::tojson(value, None, none.into_iter().collect())?;
    // Only a string can contain one.
    Ok(json.to_string().replace('$', "\\u0024"))
}

/// Escapes a text to a regular expression that matches only this text.
fn regex_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if r"\.+*?()|[]{}^$/".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Rounds of PBKDF2, as the server itself does for a password in plain text.
const SCRAM_ROUNDS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

/// What PostgreSQL keeps of a password (RFC 5802, RFC 7677): who reads it cannot log in with it. A statement with it can
/// stand in statistics, logs and lists of activity. The salt depends on the input alone; who knows no key cannot guess it.
fn scram_verifier(password: &str, salt_key: &hmac::Key) -> String {
    let salt = hmac::sign(salt_key, password.as_bytes());
    verifier_with_salt(password, &salt.as_ref()[..16])
}

fn verifier_with_salt(password: &str, salt: &[u8]) -> String {
    let mut salted = zeroize::Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, SCRAM_ROUNDS, salt, password.as_bytes(), &mut *salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    let [salt, stored, server] = [salt, stored.as_ref(), server.as_ref()].map(|part| STANDARD.encode(part));
    format!("SCRAM-SHA-256${SCRAM_ROUNDS}:{salt}${stored}:{server}")
}

fn template_context(release: &Release, input: &ProjectInput<'_>) -> Value {
    // Nothing in a container may issue certificates.
    let secrets = input.secrets.iter().filter(|(name, _)| *name != DB_CA_KEY);
    let secrets: BTreeMap<&str, Value> = secrets.map(|(name, value)| (name, value.into())).collect();
    let disabled = &input.settings.disabled_services;
    let services: Vec<String> =
        release.services().filter(|name| !disabled.contains(*name)).map(str::to_owned).collect();
    context! {
        project => context! { ref => input.project_ref, name => input.project_name },
        secrets => Value::from(secrets),
        settings => context! {
            jwt_exp_seconds => input.settings.jwt_exp_seconds,
            site_url => &input.settings.site_url,
            redirect_urls => &input.settings.redirect_urls,
            signup_disabled => input.settings.signup_disabled,
            db_schemas => &input.settings.db_schemas,
            db_max_rows => input.settings.db_max_rows,
            upload_limit_bytes => input.settings.upload_limit_bytes,
            function_secrets => Value::from(input.settings.function_secrets.clone()),
            smtp => smtp(input.settings),
            oauth => oauth(input.settings),
        },
        services => services,
    }
}

/// The mail server; without one, every field is empty.
fn smtp(settings: &ProjectSettings) -> Value {
    let smtp = settings.smtp.clone().unwrap_or_default();
    context! {
        host => &smtp.host,
        port => if smtp.host.is_empty() { String::new() } else { smtp.port.to_string() },
        user => &smtp.user,
        password => &smtp.password,
        sender_email => &smtp.sender_email,
        sender_name => &smtp.sender_name,
    }
}

/// Every provider that a release may know; of those that are off, each field is empty.
fn oauth(settings: &ProjectSettings) -> Value {
    let provider = |name: &&'static str| {
        let provider = settings.oauth_providers.get(*name).cloned().unwrap_or_default();
        let values = context! {
            client_id => &provider.client_id,
            client_secret => &provider.client_secret,
            url => &provider.url,
        };
        (*name, values)
    };
    OAUTH_PROVIDERS.iter().map(provider).collect::<BTreeMap<_, _>>().into()
}

struct Renderer<'a> {
    release: &'a Release,
    disabled: &'a BTreeSet<String>,
    size: Size,
    environment: Environment<'static>,
    context: Value,
}

impl Renderer<'_> {
    fn stack(&self) -> Result<node::StackSpec, RenderError> {
        let manifest = &self.release.manifest;
        Ok(node::StackSpec {
            release: manifest.name.clone(),
            services: collect(self.enabled(), |service| self.service(service))?,
            volumes: manifest.volumes.iter().map(|one| self.size.volume(manifest, one)).collect(),
        })
    }

    fn enabled(&self) -> impl Iterator<Item = &Service> {
        self.release.manifest.services.iter().filter(|service| !self.disabled.contains(&service.name))
    }

    fn service(&self, service: &Service) -> Result<node::ServiceSpec, RenderError> {
        let name = &service.name;
        Ok(node::ServiceSpec {
            name: name.clone(),
            image: service.image.clone(),
            launch: node::Launch::from(service.launch).into(),
            env: self.variables(service)?,
            aliases: service.aliases.clone(),
            ports: service.ports.iter().map(port).collect(),
            volume_mounts: service.volumes.iter().map(volume_mount).collect(),
            config_mounts: collect(&service.config, |mount| self.config_mount(name, mount))?,
            probe: Some(self.probe(name, &service.probe)?),
            start_sql: service.start_sql.clone(),
            reload_sql: service.reload_sql.clone(),
            depends_on: service.depends_on.clone(),
            limits: Some(limits(&self.size.limits(service))),
            security: Some(security(&service.security)),
            stop_signal: service.stop.signal.clone(),
            stop_grace_seconds: service.stop.grace_seconds,
            postgres: self.size.postgres(service),
        })
    }

    fn variables(&self, service: &Service) -> Result<Vec<node::EnvVar>, RenderError> {
        let mut variables = Vec::with_capacity(service.env.len());
        for (name, value) in &service.env {
            let variable = self.env(&service.name, name, value)?;
            if !(value.omit_empty() && variable.value.is_empty()) {
                variables.push(variable);
            }
        }
        Ok(variables)
    }

    fn env(&self, service: &str, name: &str, value: &EnvValue) -> Result<node::EnvVar, RenderError> {
        Ok(node::EnvVar {
            name: name.to_owned(),
            value: self.text(value.template(), || format!("{service}: env {name}"))?,
            bind_placement: value.bind_placement(),
        })
    }

    fn config_mount(&self, service: &str, mount: &ConfigMount) -> Result<node::ConfigMount, RenderError> {
        Ok(node::ConfigMount {
            path: mount.path.clone(),
            single_file: mount.single_file,
            files: collect(&mount.files, |file| self.config_file(service, file))?,
        })
    }

    fn config_file(&self, service: &str, file: &ConfigFile) -> Result<node::ConfigFile, RenderError> {
        let place = || format!("{service}: file {}", file.path);
        let content = match (&file.copy, &file.template) {
            (Some(source), _) => self.source(source, &place)?.to_vec(),
            (None, Some(source)) => {
                let template = std::str::from_utf8(self.source(source, &place)?);
                let template = template.map_err(|error| self.failed(place(), &error))?;
                self.text(template, place)?.into_bytes()
            }
            (None, None) => return Err(self.failed(place(), &"has neither copy nor template")),
        };
        let mode =
            parse_mode(&file.mode).ok_or_else(|| self.failed(place(), &"has a mode that is not octal"))?;
        Ok(node::ConfigFile {
            path: file.path.clone(),
            content,
            uid: file.uid,
            gid: file.gid,
            mode,
            bind_placement: file.bind_placement,
            reload: file.reload,
        })
    }

    fn source(&self, path: &str, place: &impl Fn() -> String) -> Result<&[u8], RenderError> {
        let content = self.release.files.get(path).map(Vec::as_slice);
        content.ok_or_else(|| self.failed(place(), &format!("{} does not exist", validate::place(path))))
    }

    fn probe(&self, service: &str, probe: &Probe) -> Result<node::Probe, RenderError> {
        use node::probe::Check;
        let place = || format!("{service}: probe");
        let check = if let Some(http) = &probe.http {
            Some(Check::Http(node::HttpProbe {
                port: http.port.into(),
                path: http.path.clone(),
                bearer: self.text(&http.bearer, place)?,
                host: http.host.clone(),
            }))
        } else if let Some(postgres) = &probe.postgres {
            Some(Check::Postgres(node::PostgresProbe {
                port: postgres.port.into(),
                user: postgres.user.clone(),
                password: self.text(&postgres.password, place)?,
                database: postgres.database.clone(),
            }))
        } else {
            let tcp = |tcp: &super::manifest::TcpProbe| Check::Tcp(node::TcpProbe { port: tcp.port.into() });
            probe.tcp.as_ref().map(tcp)
        };
        Ok(node::Probe {
            check,
            interval_ms: probe.interval_ms,
            timeout_ms: probe.timeout_ms,
            ready_within_seconds: probe.ready_within_seconds,
            failures: probe.failures,
        })
    }

    fn text(&self, template: &str, place: impl Fn() -> String) -> Result<String, RenderError> {
        if !TAGS.iter().any(|tag| template.contains(tag)) {
            return Ok(without_last_line_end(template).to_owned());
        }
        self.environment.render_str(template, &self.context).map_err(|error| self.failed(place(), &error))
    }

    fn failed(&self, place: String, message: &dyn fmt::Display) -> RenderError {
        RenderError { release: self.release.name().to_owned(), place, message: message.to_string() }
    }
}

/// Renders a template without tags, without parsing: minijinja only removes the last line end. Most values have no
/// tags.
fn without_last_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn collect<I: IntoIterator, T, E>(items: I, each: impl FnMut(I::Item) -> Result<T, E>) -> Result<Vec<T>, E> {
    items.into_iter().map(each).collect()
}

fn port(port: &Port) -> node::PublishedPort {
    node::PublishedPort {
        container_port: port.container.into(),
        named_port: node::NamedPort::from(port.name).into(),
        exposure: node::Exposure::from(port.exposure).into(),
    }
}

fn volume_mount(mount: &Mount) -> node::VolumeMount {
    node::VolumeMount { volume: mount.volume.clone(), path: mount.path.clone(), read_only: mount.read_only }
}

fn limits(limits: &Limits) -> node::Limits {
    node::Limits {
        cpu_millis: limits.cpu_millis,
        memory_mib: limits.memory_mib,
        pids: limits.pids,
        open_files: limits.open_files,
    }
}

fn security(security: &Security) -> node::Security {
    let capability = |exception: &super::manifest::Exception| exception.allow.capability();
    node::Security {
        user: security.user.clone().unwrap_or_default(),
        read_only_root: !security.allows(Allow::WritableRoot),
        allow_new_privileges: security.allows(Allow::NewPrivileges),
        add_capabilities: security.exceptions.iter().filter_map(capability).map(Into::into).collect(),
        tmpfs: security.tmpfs.iter().map(tmpfs).collect(),
    }
}

/// Loading has checked the mode; the fallback 0 would make the mount useless, not unsafe.
fn tmpfs(tmpfs: &Tmpfs) -> node::Tmpfs {
    node::Tmpfs {
        path: tmpfs.path.clone(),
        size_mib: tmpfs.size_mib,
        mode: parse_mode(&tmpfs.mode).unwrap_or_default(),
        uid: tmpfs.uid,
        gid: tmpfs.gid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_what_the_server_makes_of_the_password() {
        // RFC 7677, section 3: the client's proof and the server's signature follow from these two keys.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(
            verifier_with_salt("pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn text_without_tags_renders_as_by_the_engine() {
        for text in ["", "a", "a\n", "a\n\n", "a\r\n", "\r", "\n", "a\r\nb\n", "${placement.api_url} }}"] {
            let rendered = environment().render_str(text, context! {}).unwrap();
            assert_eq!(without_last_line_end(text), rendered, "{text:?}");
        }
    }
}
