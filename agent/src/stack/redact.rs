//! Removes the secrets of a project's spec from reports and logs: the controller stores reports, and members read them who may
//! not see secrets; logs are read by members who may not see the platform's own passwords of the project. In: the record, then any
//! text. Out: the same text without secrets; of reports, of bounded length.
//!
//! A spec does not say which of its values are secret, so every value counts as a secret unless it plainly is none.

use supalove_proto::node::v1::{ConfigFile, EnvVar, ServiceSpec, StackError, probe::Check};

use crate::state::Record;

/// Longest line of a log in a report, in bytes.
const LINE_BYTES: usize = 2 * 1024;
/// Longest message in a report, in bytes.
const MESSAGE_BYTES: usize = 4 * 1024;
/// An environment variable's value of at least this many bytes counts as a secret.
const VALUE_BYTES: usize = 12;
/// The same for variables whose name says that they are secret, and for the secrets of functions.
const NAMED_BYTES: usize = 8;
/// The same for known passwords. A shorter one is no secret, and is part of too many words.
const PASSWORD_BYTES: usize = 4;
/// Names of variables that hold secrets have one of these in them.
const SECRET_NAMES: [&str; 5] = ["PASS", "SECRET", "KEY", "TOKEN", "CREDENTIAL"];
/// Stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// The secrets of one project, longest first: one may be part of another.
#[derive(Default)]
pub struct Redactor(Vec<String>);

/// Secrets are not for logs.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Redactor").field(&self.0.len()).finish()
    }
}

impl Redactor {
    /// Collects a record's secrets.
    pub fn from_record(record: &Record) -> Self {
        let mut all = Self::default();
        all.learn(record);
        all
    }

    /// Adds the secrets of another record of the project.
    pub fn learn(&mut self, record: &Record) {
        let services = record.spec().map(|spec| spec.services.as_slice()).unwrap_or_default();
        let mut secrets = Secrets(std::mem::take(&mut self.0));
        for service in services {
            secrets.service(service, &open_values(services));
        }
        secrets.0.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.0.dedup();
        self.0 = secrets.0;
    }

    /// A message: one line.
    pub fn message(&self, text: &str) -> String {
        self.clean(text, MESSAGE_BYTES)
    }

    /// Cleans everything in a failure that came from outside.
    pub fn error(&self, error: StackError) -> StackError {
        StackError {
            message: self.message(&error.message),
            log_tail: error.log_tail.iter().map(|line| self.clean(line, LINE_BYTES)).collect(),
            ..error
        }
    }

    /// A line of a log, as it was written but for secrets. `cut`: it was longer, so a secret may have only its beginning at the end.
    pub fn line(&self, mut text: String, cut: bool) -> String {
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED);
            }
        }
        if cut {
            let begun = self.0.iter().filter_map(|secret| begun(&text, secret)).max();
            text.truncate(text.len() - begun.unwrap_or_default());
        }
        text
    }

    /// Control characters go first, since they could split a secret; the length is cut last, for the same reason.
    fn clean(&self, text: &str, limit: usize) -> String {
        let mut text = self.line(printable(text), false);
        text.truncate(text.floor_char_boundary(limit));
        text
    }
}

/// How many bytes of a secret's beginning a text ends with, if it is long enough to be one.
fn begun(text: &str, secret: &str) -> Option<usize> {
    (PASSWORD_BYTES..secret.len())
        .rev()
        .find(|end| secret.get(..*end).is_some_and(|beginning| text.ends_with(beginning)))
}

/// Tabs stay, line ends become spaces, other control characters go.
fn printable(text: &str) -> String {
    let shown = |letter: char| match letter {
        '\n' => Some(' '),
        '\t' => Some('\t'),
        other => (!other.is_control()).then_some(other),
    };
    text.chars().filter_map(shown).collect()
}

/// Values that stand in the open elsewhere: hiding the name of a role would hide the cause of a failure.
fn open_values(services: &[ServiceSpec]) -> Vec<&str> {
    let checks = services.iter().filter_map(|service| service.probe.as_ref()?.check.as_ref());
    let roles = checks.filter_map(|check| match check {
        Check::Postgres(login) => Some([login.user.as_str(), login.database.as_str()]),
        Check::Http(_) | Check::Tcp(_) => None,
    });
    roles.flatten().collect()
}

#[derive(Default)]
struct Secrets(Vec<String>);

impl Secrets {
    fn service(&mut self, service: &ServiceSpec, open: &[&str]) {
        for variable in &service.env {
            self.variable(variable, open);
        }
        match service.probe.as_ref().and_then(|probe| probe.check.as_ref()) {
            Some(Check::Postgres(login)) => self.add(&login.password, PASSWORD_BYTES),
            Some(Check::Http(http)) => {
                self.add(&http.bearer, PASSWORD_BYTES);
                self.words(&http.path);
            }
            Some(Check::Tcp(_)) | None => {}
        }
        for file in service.config_mounts.iter().flat_map(|mount| &mount.files) {
            self.file(file);
        }
    }

    fn variable(&mut self, variable: &EnvVar, open: &[&str]) {
        let EnvVar { name, value, .. } = variable;
        if open.contains(&value.as_str()) || is_plain(value) {
            return;
        }
        let name = name.to_ascii_uppercase();
        let named = SECRET_NAMES.iter().any(|word| name.contains(word));
        self.add(value, if named { NAMED_BYTES } else { VALUE_BYTES });
        self.url_password(value);
        self.words(value);
    }

    /// What functions are given as secrets is a file of names and values; private keys stand in PEM; an SQL file sets passwords
    /// of roles.
    fn file(&mut self, file: &ConfigFile) {
        let text = String::from_utf8_lossy(&file.content);
        self.private_keys(&text);
        let Ok(serde_json::Value::Object(values)) = serde_json::from_slice(&file.content) else {
            return self.sql_passwords(&text);
        };
        for value in values.values().filter_map(serde_json::Value::as_str) {
            self.add(value, NAMED_BYTES);
            self.words(value);
        }
    }

    fn private_keys(&mut self, text: &str) {
        let mut inside = false;
        for line in text.lines() {
            if line.contains("PRIVATE KEY-----") {
                inside = line.contains("-----BEGIN");
            } else if inside {
                self.add(line, PASSWORD_BYTES);
            }
        }
    }

    /// The literal after each `password` of an SQL text: `'…'`, `E'…'`, `$$…$$` or `$tag$…$tag$`.
    fn sql_passwords(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = find_ignoring_case(rest, "password") {
            rest = &rest[at + "password".len()..];
            let Some((secret, as_written)) = sql_literal(rest.trim_start()) else { continue };
            self.add(&secret, PASSWORD_BYTES);
            self.add(as_written, PASSWORD_BYTES);
        }
    }

    /// `scheme://user:password@host`, as it is written and as it is meant.
    fn url_password(&mut self, value: &str) {
        let Some((_, rest)) = value.split_once("://") else { return };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else { return };
        if let Some((_, password)) = user.split_once(':') {
            self.add(password, PASSWORD_BYTES);
            self.add(&percent_decoded(password), PASSWORD_BYTES);
        }
    }

    /// Parts of a value that look like keys themselves: a token's parts, keys in a document or in a query.
    fn words(&mut self, value: &str) {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-+=".contains(letter);
        for word in value.split(|letter| !is_part(letter)) {
            let has = |class: fn(&u8) -> bool| word.as_bytes().iter().any(class);
            if has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) {
                self.add(word, VALUE_BYTES);
            }
        }
    }

    /// Adds each line of a value that is long enough, as it is and as SQL and JSON write it.
    fn add(&mut self, value: &str, at_least: usize) {
        for line in value.split('\n').map(printable).filter(|line| line.len() >= at_least) {
            let json = serde_json::Value::from(line.as_str()).to_string();
            let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default();
            for form in [line.replace('\'', "''"), json.to_owned()] {
                if form != line {
                    self.0.push(form);
                }
            }
            self.0.push(line);
        }
    }
}

/// Where an ASCII word begins in a text, whatever its case.
fn find_ignoring_case(text: &str, word: &str) -> Option<usize> {
    text.as_bytes().windows(word.len()).position(|found| found.eq_ignore_ascii_case(word.as_bytes()))
}

/// The string literal at the beginning of an SQL text: what it means, and what stands between its quotes.
fn sql_literal(text: &str) -> Option<(String, &str)> {
    if let Some(after) = text.strip_prefix('$') {
        let (tag, body) = after.split_once('$')?;
        let body = &body[..body.find(&format!("${tag}$"))?];
        return Some((body.to_owned(), body));
    }
    let (escapes, body) = match text.strip_prefix(['e', 'E']) {
        Some(body) => (true, body.strip_prefix('\'')?),
        None => (false, text.strip_prefix('\'')?),
    };
    let mut secret = String::new();
    let mut letters = body.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' if escapes => secret.extend(letters.next().map(|(_, letter)| letter)),
            '\'' if letters.next_if(|(_, next)| *next == '\'').is_none() => {
                return Some((secret, &body[..at]));
            }
            letter => secret.push(letter),
        }
    }
    None
}

/// Paths, and addresses that name nothing but a place: too many letters of a key are missing in them.
fn is_plain(value: &str) -> bool {
    let place =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"/._:-".contains(&letter);
    (value.starts_with('/') || value.contains("://")) && value.bytes().all(place)
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let decoded = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::{
        ApplyStackRequest, ConfigMount, HttpProbe, PostgresProbe, Probe, StackSpec,
    };

    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef";

    fn variable(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: value.into(), bind_placement: false }
    }

    fn probe(check: Check) -> Probe {
        Probe { check: Some(check), ..Probe::default() }
    }

    fn redactor(services: Vec<ServiceSpec>) -> Redactor {
        Redactor::from_record(&Record::applied(ApplyStackRequest {
            spec: Some(StackSpec { services, ..StackSpec::default() }),
            ..ApplyStackRequest::default()
        }))
    }

    fn with_env(env: &[(&str, &str)]) -> Redactor {
        let env = env.iter().map(|(name, value)| variable(name, value)).collect();
        redactor(vec![ServiceSpec { env, ..ServiceSpec::default() }])
    }

    #[test]
    fn values_probes_and_urls_are_taken_out_everywhere() {
        let postgres = ServiceSpec {
            env: vec![
                variable("POSTGRES_PASSWORD", HEX),
                variable("PIN_TOKEN", "it's4you"),
                variable("DB_URL", "postgres://authenticator:s%40short@db:5432/postgres"),
            ],
            probe: Some(probe(Check::Postgres(PostgresProbe {
                user: "supabase_admin".into(),
                password: "pw-7".into(),
                database: "postgres".into(),
                port: 5432,
            }))),
            ..ServiceSpec::default()
        };
        let other = ServiceSpec {
            probe: Some(probe(Check::Http(HttpProbe { bearer: "bear".into(), ..HttpProbe::default() }))),
            config_mounts: vec![ConfigMount {
                files: vec![ConfigFile {
                    content: br#"{"STRIPE":"sk_\"live"}"#.into(),
                    ..ConfigFile::default()
                }],
                ..ConfigMount::default()
            }],
            ..ServiceSpec::default()
        };
        let redactor = redactor(vec![postgres, other]);
        let error = redactor.error(StackError {
            message: format!("the engine says {HEX}, pw-7, s%40short, s@short"),
            log_tail: vec![
                format!("STATEMENT:  alter role x password '{HEX}'"),
                "alter role y password 'it''s4you'".into(),
                r#"{"k":"sk_\"live"} bear"#.into(),
            ],
            ..StackError::default()
        });
        assert_eq!(error.message, "the engine says [redacted], [redacted], [redacted], [redacted]");
        assert_eq!(
            error.log_tail,
            [
                "STATEMENT:  alter role x password '[redacted]'",
                "alter role y password '[redacted]'",
                r#"{"k":"[redacted]"} [redacted]"#,
            ]
        );
        assert!(!format!("{redactor:?}").contains(HEX));
    }

    #[test]
    fn passwords_that_a_mounted_sql_file_sets_are_taken_out() {
        let sql = r"alter role a password 'it''s-mine'; ALTER ROLE b ENCRYPTED PASSWORD
            E'back\\slash\'d'; alter role c password $$dollar's$$; create role d PassWord $x$tagged$x$;
            alter role e password null; alter role f password 'unended";
        let file = ConfigFile { content: sql.into(), ..ConfigFile::default() };
        let mounts = vec![ConfigMount { files: vec![file], ..ConfigMount::default() }];
        let redactor = redactor(vec![ServiceSpec { config_mounts: mounts, ..ServiceSpec::default() }]);
        for (told, shown) in [
            (
                "STATEMENT:  alter role a password 'it''s-mine';",
                "STATEMENT:  alter role a password '[redacted]';",
            ),
            ("it's-mine is too short", "[redacted] is too short"),
            (r"E'back\\slash\'d' or back\slash'd", "E'[redacted]' or [redacted]"),
            ("dollar's, tagged, null", "[redacted], [redacted], null"),
            ("ERROR:  role f: unended literal", "ERROR:  role f: unended literal"),
        ] {
            assert_eq!(redactor.message(told), shown);
        }
    }

    #[test]
    fn parts_of_tokens_and_of_values_of_several_lines_go_too() {
        let redactor = with_env(&[
            ("ANON", "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJlLTEyMw"),
            ("PEM", "-----BEGIN X-----\nTUlJRXZRSUJBREFO\n-----END X-----"),
        ]);
        assert_eq!(
            redactor.message(r"~^eyJyb2xlIjoiYW5vbiJ9\.c2lnbmF0dXJlLTEyMw$"),
            r"~^[redacted]\.[redacted]$"
        );
        assert_eq!(redactor.message("line TUlJRXZRSUJBREFO"), "line [redacted]");
    }

    #[test]
    fn a_private_key_in_a_file_goes_and_its_certificate_stays() {
        let pem = |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
        let content =
            pem("PRIVATE KEY", "MIGHAgEAMBMGByqG\nSM49AgEG==") + &pem("CERTIFICATE", "MIIBszCCAVmgAwIB");
        let redactor = redactor(vec![ServiceSpec {
            config_mounts: vec![ConfigMount {
                files: vec![ConfigFile { content: content.into(), ..ConfigFile::default() }],
                ..ConfigMount::default()
            }],
            ..ServiceSpec::default()
        }]);
        assert_eq!(
            redactor.message("ERROR at MIGHAgEAMBMGByqG SM49AgEG== MIIBszCCAVmgAwIB"),
            "ERROR at [redacted] [redacted] MIIBszCCAVmgAwIB"
        );
    }

    #[test]
    fn what_is_no_secret_stays() {
        let plain = ServiceSpec {
            env: vec![
                variable("PGDATA", "/var/lib/postgresql/data"),
                variable("URL", "http://kong.internal:8000"),
                variable("USER", "supabase_admin"),
                variable("SSL", "true"),
            ],
            probe: Some(probe(Check::Postgres(PostgresProbe {
                user: "supabase_admin".into(),
                ..PostgresProbe::default()
            }))),
            ..ServiceSpec::default()
        };
        let text = "role supabase_admin: /var/lib/postgresql/data at http://kong.internal:8000 is true";
        assert_eq!(redactor(vec![plain]).message(text), text);
        assert_eq!(Redactor::default().message(text), text);
    }

    #[test]
    fn control_characters_go_before_secrets_and_length_after() {
        let redactor = with_env(&[("POSTGRES_PASSWORD", HEX)]);
        let split = HEX.replace("89", "8\0\u{1b}9");
        assert_eq!(redactor.message(&format!("a\tb\r\nc\u{7f} {split}")), "a\tb c [redacted]");
        let long = format!("{}{HEX}", "é".repeat(MESSAGE_BYTES / 2 - 1));
        let error = redactor.error(StackError {
            message: long.clone(),
            log_tail: vec![format!("x{long}")],
            ..StackError::default()
        });
        assert!(error.message.ends_with("é[r") && error.message.len() == MESSAGE_BYTES);
        assert_eq!(error.log_tail[0].len(), LINE_BYTES - 1, "cut between characters");
    }
}
