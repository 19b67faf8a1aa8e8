//! The rules of a `stack.yaml` beyond its schema. Every problem names the file and the field.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use supalove_spec::{limits, names, tokens};

use super::{
    manifest::{Allow, ConfigFile, ConfigMount, Manifest, Probe, Service, Volume, parse_mode},
    render,
};

/// Minimum length of the reason for a security exception, in characters.
const SHORTEST_REASON: usize = 15;

/// One problem of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the file, with the release's name in it.
    pub file: String,
    /// Path of the field, e.g. `services.auth.limits.pids`.
    pub field: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.field, self.what)
    }
}

/// Templates and files of a release by their path below `templates/`, and the shared ones as `shared/…`.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Maximum size of a `stack.yaml` in bytes: many times the needs of seven services.
const LONGEST: usize = 256 * 1024;
/// Maximum number of opening brackets: the parser's time grows with the square of their depth.
const MOST_OPEN: usize = 4096;
/// Checks the text before parsing, so that a small file cannot become a large release. A reference copies an
/// anchor's content, also inside another anchor, so nested references grow exponentially; no release needs them.
pub(super) fn text(file: &str, manifest: &[u8]) -> Result<(), Problem> {
    let problem = |what: String| Problem { file: file.to_owned(), field: "the file".to_owned(), what };
    if manifest.len() > LONGEST {
        return Err(problem(format!("has {} bytes, at most {LONGEST} are read", manifest.len())));
    }
    let open = manifest.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if open > MOST_OPEN {
        return Err(problem(format!("opens {open} brackets, at most {MOST_OPEN} are read")));
    }
    let anchors = names_after(manifest, b'&');
    match names_after(manifest, b'*').intersection(&anchors).next() {
        Some(name) => Err(problem(format!(
            "has the anchor &{0} and refers to it as *{0}; write the value out",
            String::from_utf8_lossy(name)
        ))),
        None => Ok(()),
    }
}

/// Finds every text that could be the name of a YAML anchor (`&`) or of a reference to one (`*`). It may find more than
/// exist, never fewer.
fn names_after(text: &[u8], mark: u8) -> BTreeSet<&[u8]> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let begins = text.iter().enumerate().filter(|(_, byte)| **byte == mark).map(|(at, _)| &text[at + 1..]);
    let names = begins.map(|rest| &rest[..rest.iter().position(|byte| !is_name(byte)).unwrap_or(rest.len())]);
    names.filter(|name| !name.is_empty()).collect()
}

/// Returns all problems of a release.
pub(super) fn problems(file: &str, directory: &str, manifest: &Manifest, files: &Files) -> Vec<Problem> {
    let mut check = Check { file, files, found: Vec::new() };
    check.release(directory, manifest);
    check.found
}

struct Check<'a> {
    file: &'a str,
    files: &'a Files,
    found: Vec<Problem>,
}

impl Check<'_> {
    fn require(&mut self, holds: bool, field: impl Into<String>, what: impl Into<String>) {
        if !holds {
            self.found.push(Problem { file: self.file.to_owned(), field: field.into(), what: what.into() });
        }
    }

    fn release(&mut self, directory: &str, manifest: &Manifest) {
        self.require(
            manifest.name == directory,
            "name",
            format!("is '{}', but the directory is '{directory}'", manifest.name),
        );
        self.require(is_label(&manifest.name, "-."), "name", "must be 1 to 32 of a-z 0-9 - .");
        self.require(!manifest.services.is_empty(), "services", "is empty");
        let lists = [
            ("services", manifest.services.len(), limits::SERVICES),
            ("volumes", manifest.volumes.len(), limits::VOLUMES),
        ];
        for (list, length, most) in lists {
            self.require(length <= most, list, format!("has {length}, at most {most} are allowed"));
        }
        if lists.iter().any(|(_, length, most)| length > most) {
            return;
        }
        self.unique("services", manifest.services.iter().map(|service| service.name.as_str()));
        self.volumes(manifest);
        self.unique("upgrades_from", manifest.upgrades_from.iter());
        self.require(
            !manifest.upgrades_from.contains(&manifest.name),
            "upgrades_from",
            "names the release itself",
        );
        self.unique(
            "services.*.ports.name",
            manifest
                .services
                .iter()
                .flat_map(|service| &service.ports)
                .map(|port| format!("{:?}", port.name)),
        );
        self.unique(
            "services.*.aliases",
            manifest.services.iter().flat_map(|service| service.aliases.iter().chain([&service.name])),
        );
        for service in &manifest.services {
            self.service(manifest, service);
        }
        self.require(
            manifest.services.iter().filter(|service| service.follows_size()).count() <= 1,
            "services.*.sized",
            "is true of several services (left out, it is true of a database); set it to false for all but one",
        );
        self.order(manifest);
    }

    fn unique<T: Ord + fmt::Display>(&mut self, field: &str, names: impl Iterator<Item = T>) {
        let mut seen = BTreeSet::new();
        for name in names {
            let text = name.to_string();
            self.require(seen.insert(name), field, format!("has '{text}' twice"));
        }
    }

    fn volumes(&mut self, manifest: &Manifest) {
        self.unique("volumes", manifest.volumes.iter().map(Volume::name));
        let sizes: u64 = manifest.volumes.iter().map(|volume| u64::from(volume.spec().size_mib)).sum();
        let reserved: u64 = manifest.services.iter().map(|service| u64::from(service.reserve.disk_mib)).sum();
        self.require(
            sizes <= reserved,
            "volumes",
            format!("have {sizes} MiB, but the services reserve only {reserved} MiB of disk"),
        );
        for volume in manifest.volumes.iter().map(Volume::name) {
            let mounted = manifest
                .services
                .iter()
                .flat_map(|service| &service.volumes)
                .any(|mount| &mount.volume == volume);
            self.require(mounted, "volumes", format!("no service mounts '{volume}'"));
            self.require(
                is_label(volume, "_"),
                "volumes",
                format!("'{volume}' must be 1 to 32 of a-z 0-9 _"),
            );
        }
    }

    fn service(&mut self, manifest: &Manifest, service: &Service) {
        let at = |field: &str| format!("services.{}.{field}", service.name);
        self.require(is_label(&service.name, "-"), at("name"), "must be 1 to 32 of a-z 0-9 -");
        self.require(
            names::is_image(&service.image),
            at("image"),
            "is no image reference (registry/name:tag@sha256:digest; the digest has 64 digits of 0-9 a-f)",
        );
        self.require(
            !(names::is_local_image(&service.image) && service.image.contains('@')),
            at("image"),
            "names a local image by digest: local images are built on each host, so each host has another one",
        );
        for port in &service.ports {
            self.require(port.container > 0, at("ports.container"), "is 0");
        }
        for mount in &service.volumes {
            self.require(
                manifest.volumes.iter().any(|volume| *volume.name() == mount.volume),
                at("volumes.volume"),
                format!("'{}' is not declared under volumes", mount.volume),
            );
            self.absolute(&at("volumes.path"), &mount.path);
        }
        for (name, value) in &service.env {
            let field = at(&format!("env.{name}"));
            self.require(is_env_name(name), field.as_str(), "is not a name of an environment variable");
            self.template(&field, value.template(), value.bind_placement());
        }
        for mount in &service.config {
            self.config(&at("config"), mount);
        }
        self.sql(&at("start_sql"), service, &service.start_sql);
        self.sql(&at("reload_sql"), service, &service.reload_sql);
        self.reload(&at("reload_sql"), service);
        self.probe(&at("probe"), &service.probe);
        self.bounds(&at(""), service);
        self.security(&at("security"), service);
        self.require(
            service.stop.signal.starts_with("SIG"),
            at("stop.signal"),
            "must be a name such as SIGTERM",
        );
    }

    /// The agent refuses others: start SQL runs as a superuser of the database.
    fn sql(&mut self, at: &str, service: &Service, paths: &[String]) {
        self.unique(at, paths.iter());
        self.require(
            paths.is_empty() || service.launch.is_postgres(),
            at,
            "is only for a service with launch: postgres or postgres_tls",
        );
        self.require(
            paths.len() <= limits::START_SQL,
            at,
            format!("has {}, at most {} are allowed", paths.len(), limits::START_SQL),
        );
        for path in paths {
            let mounted = service.config.iter().any(|mount| {
                if mount.single_file {
                    mount.path == *path
                } else {
                    mount.files.iter().any(|file| format!("{}/{}", mount.path, file.path) == *path)
                }
            });
            self.require(mounted, at, format!("'{path}' is not the path of a file under config"));
        }
    }

    /// A file that changes in a running container needs something that tells the server so.
    fn reload(&mut self, at: &str, service: &Service) {
        let files = service.config.iter().flat_map(|mount| &mount.files);
        let reloads = files.filter(|file| file.reload).count() > 0;
        self.require(
            reloads != service.reload_sql.is_empty(),
            at,
            "and files with reload: true need each other",
        );
    }

    fn config(&mut self, at: &str, mount: &ConfigMount) {
        let at = format!("{at}.{}", mount.path);
        self.absolute(&at, &mount.path);
        self.unique(&at, mount.files.iter().map(|file| file.path.as_str()));
        self.require(!mount.files.is_empty(), at.as_str(), "has no files");
        self.require(
            !mount.single_file || mount.files.len() == 1,
            at.as_str(),
            "is a single file, but lists several",
        );
        self.require(
            !mount.single_file || !mount.files.iter().any(|file| file.reload),
            at.as_str(),
            "is a single file, which cannot change in a running container: reload needs a directory",
        );
        for file in &mount.files {
            self.config_file(&format!("{at}/{}", file.path), file);
        }
    }

    fn config_file(&mut self, at: &str, file: &ConfigFile) {
        self.require(is_relative(&file.path), at, "must be relative and without '..'");
        self.require(
            parse_mode(&file.mode).is_some_and(|mode| mode <= 0o777),
            format!("{at}.mode"),
            "must be octal digits up to \"0777\"",
        );
        let ((Some(source), None) | (None, Some(source))) = (&file.copy, &file.template) else {
            return self.require(false, at, "needs exactly one of copy and template");
        };
        let files = self.files;
        match files.get(source).map(|content| std::str::from_utf8(content)) {
            None => self.require(false, at, format!("{} does not exist", place(source))),
            Some(Ok(content)) if file.template.is_some() => {
                self.template(at, content, file.bind_placement);
            }
            Some(Ok(content)) => self.tokens(at, content, file.bind_placement),
            Some(Err(_)) => self.require(
                file.template.is_none() && !file.bind_placement,
                at,
                format!("{} is not UTF-8", place(source)),
            ),
        }
    }

    /// Checks that the template parses, and that its placement tokens are known and declared.
    fn template(&mut self, at: &str, template: &str, bind_placement: bool) {
        if let Err(error) = render::parse(template) {
            self.require(false, at, format!("is not a valid template: {error}"));
        }
        self.tokens(at, template, bind_placement);
    }

    fn tokens(&mut self, at: &str, text: &str, bind_placement: bool) {
        let tokens = match tokens::find_all(text.as_bytes()) {
            Ok(tokens) => tokens,
            Err(error) => return self.require(false, at, error.to_string()),
        };
        self.require(
            tokens.is_empty() || bind_placement,
            at,
            "has ${placement.…} tokens but not bind_placement: true",
        );
        self.require(
            !tokens.is_empty() || !bind_placement,
            at,
            "has bind_placement: true but no ${placement.…} token",
        );
    }

    fn probe(&mut self, at: &str, probe: &Probe) {
        let checks = [probe.http.is_some(), probe.postgres.is_some(), probe.tcp.is_some()];
        self.require(
            checks.iter().filter(|is| **is).count() == 1,
            at,
            "needs exactly one of http, postgres and tcp",
        );
        if let Some(http) = &probe.http {
            self.require(http.path.starts_with('/'), format!("{at}.http.path"), "must start with /");
            self.template(&format!("{at}.http.bearer"), &http.bearer, false);
        }
        if let Some(postgres) = &probe.postgres {
            self.template(&format!("{at}.postgres.password"), &postgres.password, false);
        }
        for (field, value) in [
            ("interval_ms", probe.interval_ms),
            ("timeout_ms", probe.timeout_ms),
            ("ready_within_seconds", probe.ready_within_seconds),
            ("failures", probe.failures),
        ] {
            self.require(value > 0, format!("{at}.{field}"), "must be above 0");
        }
    }

    fn bounds(&mut self, at: &str, service: &Service) {
        let limits = &service.limits;
        let reserve = &service.reserve;
        for (field, limit, reserved) in [
            ("cpu_millis", limits.cpu_millis, reserve.cpu_millis),
            ("memory_mib", limits.memory_mib, reserve.memory_mib),
        ] {
            self.require(limit > 0, format!("{at}limits.{field}"), "must be above 0");
            self.require(
                reserved > 0 && reserved <= limit,
                format!("{at}reserve.{field}"),
                "must be above 0 and not above the limit",
            );
        }
        self.require(limits.pids > 0, format!("{at}limits.pids"), "must be above 0");
    }

    fn security(&mut self, at: &str, service: &Service) {
        let security = &service.security;
        for exception in &security.exceptions {
            self.require(
                exception.reason.trim().chars().count() >= SHORTEST_REASON,
                format!("{at}.exceptions.{:?}.reason", exception.allow),
                "is too short; every exception needs a reason",
            );
        }
        match &security.user {
            Some(user) => {
                self.require(is_unprivileged(user), format!("{at}.user"), "must be uid:gid, both above 0");
            }
            None => self.require(
                security.allows(Allow::ImageUser),
                format!("{at}.user"),
                "is missing; leaving it to the image needs the exception image_user",
            ),
        }
        for tmpfs in &security.tmpfs {
            self.absolute(&format!("{at}.tmpfs.path"), &tmpfs.path);
            self.require(tmpfs.size_mib > 0, format!("{at}.tmpfs.size_mib"), "must be above 0");
            self.require(
                parse_mode(&tmpfs.mode).is_some(),
                format!("{at}.tmpfs.mode"),
                "must be octal digits",
            );
        }
    }

    fn absolute(&mut self, at: &str, path: &str) {
        let good = path.strip_prefix('/').is_some_and(is_relative);
        self.require(good, at, format!("'{path}' must be absolute and without '..'"));
    }

    /// Checks that dependencies exist and have no cycle.
    fn order(&mut self, manifest: &Manifest) {
        let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for service in &manifest.services {
            for other in &service.depends_on {
                self.require(
                    manifest.services.iter().any(|one| &one.name == other),
                    format!("services.{}.depends_on", service.name),
                    format!("there is no service '{other}'"),
                );
            }
            let known = service
                .depends_on
                .iter()
                .map(String::as_str)
                .filter(|name| manifest.services.iter().any(|one| one.name == *name));
            waiting.insert(&service.name, known.collect());
        }
        while let Some(ready) = waiting.iter().find_map(|(name, needs)| needs.is_empty().then_some(*name)) {
            waiting.remove(ready);
            for needs in waiting.values_mut() {
                needs.remove(ready);
            }
        }
        let cycle: Vec<&str> = waiting.into_keys().collect();
        self.require(
            cycle.is_empty(),
            "services.*.depends_on",
            format!("wait for each other: {}", cycle.join(", ")),
        );
    }
}

/// Returns the path of a template, for people.
pub(super) fn place(source: &str) -> String {
    if source.starts_with("shared/") { source.to_owned() } else { format!("templates/{source}") }
}

fn is_label(text: &str, extra: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
}

fn is_env_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_relative(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn is_unprivileged(user: &str) -> bool {
    let above_zero = |part: &str| part.parse::<u32>().is_ok_and(|id| id > 0);
    user.split_once(':').is_some_and(|(uid, gid)| above_zero(uid) && above_zero(gid))
}
