//! Settings on the wire: what an update asks for becomes new settings, or a list of what is wrong with it by field. Pure.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::FieldMask;
use supalove_core::{
    error::{Error, Result},
    wire::{Changes, proto_duration},
};
use supalove_proto::v1 as pb;
use supalove_stack::{OAUTH_PROVIDERS, OAuthProvider, ProjectSettings, Release, Smtp};
use tonic_types::FieldViolation;

use crate::store::settings::Versioned;

/// Fields of an update's mask.
const FIELDS: [&str; 10] = [
    "site_url",
    "redirect_urls",
    "sign_up_enabled",
    "jwt_lifetime",
    "smtp",
    "oauth_providers",
    "exposed_schemas",
    "max_rows",
    "file_size_limit_bytes",
    "disabled_services",
];
const URL_BYTES: usize = 2_048;
const REDIRECT_URLS: usize = 50;
const JWT_SECONDS: std::ops::RangeInclusive<i64> = 30..=7 * 24 * 3600;
const SCHEMAS: usize = 20;
/// PostgreSQL's names.
const SCHEMA_BYTES: usize = 63;
const MAX_ROWS: u32 = 1_000_000;
const LARGEST_FILE: u64 = 50 * 1024 * 1024 * 1024;
const TEXT_BYTES: usize = 255;
const PASSWORD_BYTES: usize = 1_024;
const CLIENT_SECRET_BYTES: usize = 4_096;
const DEFAULT_SMTP_PORT: u16 = 587;

/// Settings after an update. `release`: the project's, which says what can be switched off.
pub fn updated(
    current: &ProjectSettings,
    asked: Option<&pb::ProjectSettings>,
    mask: Option<&FieldMask>,
    release: &Release,
) -> Result<ProjectSettings> {
    let changes = Changes::parse(mask, &FIELDS)?;
    let asked = asked.ok_or_else(|| Error::field("settings", "must have the new values"))?;
    let mut new = current.clone();
    let mut wrong = Wrong::default();
    if changes.field("site_url") {
        wrong.url("settings.site_url", &asked.site_url);
        new.site_url.clone_from(&asked.site_url);
    }
    if changes.field("redirect_urls") {
        wrong.redirect_urls(&asked.redirect_urls);
        new.redirect_urls.clone_from(&asked.redirect_urls);
    }
    if changes.field("sign_up_enabled") {
        new.signup_disabled = !asked.sign_up_enabled;
    }
    if changes.field("jwt_lifetime") {
        new.jwt_exp_seconds = wrong.jwt_lifetime(asked.jwt_lifetime);
    }
    if changes.field("smtp") {
        new.smtp = asked.smtp.as_ref().map(|smtp| wrong.smtp(smtp, current.smtp.as_ref()));
    }
    if changes.field("oauth_providers") {
        new.oauth_providers = wrong.oauth_providers(&asked.oauth_providers, &current.oauth_providers);
    }
    if changes.field("exposed_schemas") {
        wrong.schemas(&asked.exposed_schemas);
        new.db_schemas.clone_from(&asked.exposed_schemas);
    }
    if changes.field("max_rows") {
        wrong.require((1..=MAX_ROWS).contains(&asked.max_rows), "settings.max_rows", || {
            format!("must be 1 to {MAX_ROWS}")
        });
        new.db_max_rows = asked.max_rows;
    }
    if changes.field("file_size_limit_bytes") {
        let holds = (1..=LARGEST_FILE).contains(&asked.file_size_limit_bytes);
        wrong.require(holds, "settings.file_size_limit_bytes", || {
            format!("must be 1 to {LARGEST_FILE} (50 GiB)")
        });
        new.upload_limit_bytes = asked.file_size_limit_bytes;
    }
    if changes.field("disabled_services") {
        let optional: BTreeSet<&str> = release.optional_services().collect();
        for (number, name) in asked.disabled_services.iter().enumerate() {
            wrong.require(
                optional.contains(name.as_str()),
                &format!("settings.disabled_services[{number}]"),
                || format!("must be one of {}", optional.iter().copied().collect::<Vec<_>>().join(", ")),
            );
        }
        new.disabled_services = asked.disabled_services.iter().cloned().collect();
    }
    if wrong.0.is_empty() { Ok(new) } else { Err(Error::Invalid(wrong.0)) }
}

/// What is wrong so far. Says nothing of values, which may be secret.
#[derive(Default)]
struct Wrong(Vec<FieldViolation>);

impl Wrong {
    fn require(&mut self, holds: bool, field: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(FieldViolation::new(field, what()));
        }
    }

    /// Text that reaches a service's environment as it is. A placement token would be a value of the platform's.
    fn text(&mut self, field: &str, text: &str, most: usize) {
        self.require(text.len() <= most, field, || format!("must have at most {most} bytes"));
        self.require(!text.contains('\0'), field, || "must not contain NUL".to_owned());
        self.require(!text.contains("${placement."), field, || {
            "must not contain ${placement., which the platform would replace".to_owned()
        });
    }

    /// The same for one line.
    fn line(&mut self, field: &str, text: &str) {
        self.text(field, text, TEXT_BYTES);
        self.require(!text.chars().any(char::is_control), field, || {
            "must not contain control characters".to_owned()
        });
    }

    fn url(&mut self, field: &str, url: &str) {
        self.text(field, url, URL_BYTES);
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let visible = url.chars().all(|c| !c.is_whitespace() && !c.is_control());
        self.require(!host.is_empty() && visible, field, || {
            "must be a URL such as https://app.example.com".to_owned()
        });
    }

    fn redirect_urls(&mut self, urls: &[String]) {
        self.require(urls.len() <= REDIRECT_URLS, "settings.redirect_urls", || {
            format!("must be at most {REDIRECT_URLS}")
        });
        for (number, url) in urls.iter().enumerate().take(REDIRECT_URLS) {
            let field = format!("settings.redirect_urls[{number}]");
            self.text(&field, url, URL_BYTES);
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != ',';
            // Applications have schemes of their own, such as com.example.app://.
            let scheme = url.split_once("://").is_some_and(|(scheme, rest)| {
                !rest.is_empty()
                    && !scheme.is_empty()
                    && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            });
            self.require(scheme && url.chars().all(plain), &field, || {
                "must be a URL or a pattern such as https://*.example.com/**, without commas".to_owned()
            });
        }
    }

    fn jwt_lifetime(&mut self, lifetime: Option<prost_types::Duration>) -> u32 {
        let seconds = lifetime
            .filter(|time| time.nanos == 0 && JWT_SECONDS.contains(&time.seconds))
            .map(|time| time.seconds);
        self.require(seconds.is_some(), "settings.jwt_lifetime", || {
            format!("must be whole seconds, {} to {}", JWT_SECONDS.start(), JWT_SECONDS.end())
        });
        seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or_default()
    }

    fn smtp(&mut self, asked: &pb::ProjectSmtp, before: Option<&Smtp>) -> Smtp {
        let host = asked.host.as_str();
        let is_host = !host.is_empty()
            && host.len() <= TEXT_BYTES
            && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c));
        self.require(is_host, "settings.smtp.host", || "must be a host name or an IP address".to_owned());
        let port = if asked.port == 0 { Some(DEFAULT_SMTP_PORT) } else { u16::try_from(asked.port).ok() };
        self.require(port.is_some(), "settings.smtp.port", || "must be 1 to 65535, or 0 for 587".to_owned());
        self.line("settings.smtp.user", &asked.user);
        self.text("settings.smtp.password", &asked.password, PASSWORD_BYTES);
        self.line("settings.smtp.sender_name", &asked.sender_name);
        self.line("settings.smtp.sender_email", &asked.sender_email);
        let is_address = asked.sender_email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !asked.sender_email.contains(char::is_whitespace)
        });
        self.require(is_address, "settings.smtp.sender_email", || "must be an e-mail address".to_owned());
        let kept = before.filter(|before| asked.password.is_empty() && !before.password.is_empty());
        // Else whoever may change settings could have a password sent to a host of their own.
        let moved = kept.and_then(|kept| {
            let differs = [
                ("host", !kept.host.eq_ignore_ascii_case(host)),
                ("port", Some(kept.port) != port),
                ("user", kept.user != asked.user),
            ];
            differs.into_iter().find_map(|(name, differs)| differs.then_some(name))
        });
        self.require(moved.is_none(), "settings.smtp.password", || {
            format!(
                "must be given again, since settings.smtp.{} changes: it is not sent to another mail server or user",
                moved.unwrap_or_default()
            )
        });
        let password = kept.map_or(asked.password.as_str(), |kept| kept.password.as_str());
        Smtp {
            host: asked.host.clone(),
            port: port.unwrap_or_default(),
            user: asked.user.clone(),
            password: password.to_owned(),
            sender_email: asked.sender_email.clone(),
            sender_name: asked.sender_name.clone(),
        }
    }

    fn oauth_providers(
        &mut self,
        asked: &[pb::OAuthProvider],
        before: &BTreeMap<String, OAuthProvider>,
    ) -> BTreeMap<String, OAuthProvider> {
        let mut all = BTreeMap::new();
        self.require(asked.len() <= OAUTH_PROVIDERS.len(), "settings.oauth_providers", || {
            format!("must be at most {}", OAUTH_PROVIDERS.len())
        });
        for (number, one) in asked.iter().enumerate().take(OAUTH_PROVIDERS.len()) {
            let field = |name: &str| format!("settings.oauth_providers[{number}].{name}");
            self.require(OAUTH_PROVIDERS.contains(&one.name.as_str()), &field("name"), || {
                format!("must be one of {}", OAUTH_PROVIDERS.join(", "))
            });
            self.line(&field("client_id"), &one.client_id);
            self.require(!one.client_id.is_empty(), &field("client_id"), || "must not be empty".to_owned());
            let kept = before.get(&one.name).filter(|_| one.client_secret.is_empty());
            // Else whoever may change settings could have a secret sent to a host of their own.
            let moved = kept.is_some_and(|kept| kept.url != one.url && !kept.client_secret.is_empty());
            self.require(!moved, &field("client_secret"), || {
                "must be given again, since the URL of the provider changes".to_owned()
            });
            let secret = kept.map_or_else(|| one.client_secret.clone(), |kept| kept.client_secret.clone());
            self.text(&field("client_secret"), &secret, CLIENT_SECRET_BYTES);
            self.require(!secret.is_empty(), &field("client_secret"), || {
                "must not be empty for a provider that has none yet".to_owned()
            });
            if !one.url.is_empty() {
                self.url(&field("url"), &one.url);
            }
            let provider = OAuthProvider {
                client_id: one.client_id.clone(),
                client_secret: secret,
                url: one.url.clone(),
            };
            let twice = all.insert(one.name.clone(), provider).is_some();
            self.require(!twice, &field("name"), || "must not be there twice".to_owned());
        }
        all
    }

    fn schemas(&mut self, schemas: &[String]) {
        self.require((1..=SCHEMAS).contains(&schemas.len()), "settings.exposed_schemas", || {
            format!("must be 1 to {SCHEMAS} schemas")
        });
        for (number, schema) in schemas.iter().enumerate().take(SCHEMAS) {
            let field = format!("settings.exposed_schemas[{number}]");
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let named = (1..=SCHEMA_BYTES).contains(&schema.len())
                && schema.chars().all(plain)
                && !schema.starts_with(|c: char| c.is_ascii_digit());
            self.require(named, &field, || {
                format!("must be 1 to {SCHEMA_BYTES} of A-Z a-z 0-9 _, not beginning with a digit")
            });
            // What they hold is not for the API, whatever the rights on it.
            let closed = ["information_schema", "auth", "vault"].contains(&schema.as_str())
                || schema.starts_with("pg_")
                || schema.starts_with("supalove");
            self.require(!closed, &field, || {
                "is a schema of the platform, which the API does not expose".to_owned()
            });
            let twice = schemas[..number].contains(schema);
            self.require(!twice, &field, || "must not be there twice".to_owned());
        }
    }
}

/// Settings for a caller: without the secrets in them.
pub fn shown(versioned: &Versioned) -> pb::ProjectSettings {
    let settings = &versioned.settings;
    let smtp = |smtp: &Smtp| pb::ProjectSmtp {
        host: smtp.host.clone(),
        port: smtp.port.into(),
        user: smtp.user.clone(),
        password: String::new(),
        password_set: !smtp.password.is_empty(),
        sender_email: smtp.sender_email.clone(),
        sender_name: smtp.sender_name.clone(),
    };
    let provider = |(name, one): (&String, &OAuthProvider)| pb::OAuthProvider {
        name: name.clone(),
        client_id: one.client_id.clone(),
        client_secret: String::new(),
        client_secret_set: !one.client_secret.is_empty(),
        url: one.url.clone(),
    };
    pb::ProjectSettings {
        site_url: settings.site_url.clone(),
        redirect_urls: settings.redirect_urls.clone(),
        sign_up_enabled: !settings.signup_disabled,
        jwt_lifetime: Some(proto_duration(std::time::Duration::from_secs(settings.jwt_exp_seconds.into()))),
        smtp: settings.smtp.as_ref().map(smtp),
        oauth_providers: settings.oauth_providers.iter().map(provider).collect(),
        exposed_schemas: settings.db_schemas.clone(),
        max_rows: settings.db_max_rows,
        file_size_limit_bytes: settings.upload_limit_bytes,
        disabled_services: settings.disabled_services.iter().cloned().collect(),
        etag: versioned.etag(),
    }
}

#[cfg(test)]
mod tests {
    use supalove_stack::Releases;

    use super::*;

    fn release(name: &str) -> Release {
        Releases::embedded().unwrap().get(name).unwrap().clone()
    }

    fn defaults() -> pb::ProjectSettings {
        shown(&Versioned::default())
    }

    fn mail() -> pb::ProjectSmtp {
        pb::ProjectSmtp {
            host: "mail.example.com".into(),
            user: "sender".into(),
            password: "p\"$\n".into(),
            sender_email: "shop@example.com".into(),
            ..Default::default()
        }
    }

    fn refused_fields(asked: &pb::ProjectSettings) -> Vec<String> {
        let found = updated(&ProjectSettings::default(), Some(asked), None, &release("core-3"));
        match found.unwrap_err() {
            Error::Invalid(violations) => violations.into_iter().map(|one| one.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_shown_can_be_set_again_and_changes_nothing_secrets_included() {
        let provider = OAuthProvider {
            client_id: "id".into(),
            client_secret: "kept".into(),
            url: "https://git.example".into(),
        };
        let asked = pb::ProjectSettings { smtp: Some(mail()), ..defaults() };
        let mut settings =
            updated(&ProjectSettings::default(), Some(&asked), None, &release("core-3")).unwrap();
        settings.oauth_providers.insert("gitlab".into(), provider);
        let shown = shown(&Versioned { settings: settings.clone(), version: 7 });
        let smtp = shown.smtp.as_ref().unwrap();
        assert_eq!((smtp.port, smtp.password.as_str(), smtp.password_set), (587, "", true));
        assert_eq!(shown.oauth_providers[0].client_secret, "");
        assert_eq!(shown.etag, "7");
        assert_eq!(updated(&settings, Some(&shown), None, &release("core-3")).unwrap(), settings);
    }

    #[test]
    fn a_mask_changes_the_fields_it_names_alone() {
        let mask = FieldMask { paths: vec!["max_rows".into()] };
        let asked = pb::ProjectSettings { max_rows: 7, ..Default::default() };
        let before = ProjectSettings::default();
        let after = updated(&before, Some(&asked), Some(&mask), &release("core-3")).unwrap();
        assert_eq!(after, ProjectSettings { db_max_rows: 7, ..before });
        let mask = FieldMask { paths: vec!["etag".into()] };
        assert!(updated(&after, Some(&asked), Some(&mask), &release("core-3")).is_err());
        assert!(updated(&after, None, None, &release("core-3")).is_err());
    }

    #[test]
    fn each_wrong_value_is_refused_with_its_field() {
        type Spoil = fn(&mut pb::ProjectSettings);
        let cases: [(&str, Spoil); 25] = [
            ("settings.site_url", |it| it.site_url = String::new()),
            ("settings.site_url", |it| it.site_url = "ftp://x".into()),
            ("settings.site_url", |it| it.site_url = "https://x/ y".into()),
            ("settings.site_url", |it| it.site_url = "https://${placement.api_host}".into()),
            ("settings.site_url", |it| it.site_url = format!("https://{}", "x".repeat(URL_BYTES))),
            ("settings.redirect_urls[1]", |it| it.redirect_urls = vec!["app://x".into(), "a,b://c".into()]),
            ("settings.redirect_urls[0]", |it| it.redirect_urls = vec!["*".into()]),
            ("settings.redirect_urls", |it| it.redirect_urls = vec!["https://x".into(); 51]),
            ("settings.jwt_lifetime", |it| it.jwt_lifetime = None),
            ("settings.jwt_lifetime", |it| {
                it.jwt_lifetime = Some(prost_types::Duration { seconds: 29, nanos: 0 });
            }),
            ("settings.smtp.host", |it| it.smtp = Some(pb::ProjectSmtp { host: "a b".into(), ..mail() })),
            ("settings.smtp.port", |it| it.smtp = Some(pb::ProjectSmtp { port: 65536, ..mail() })),
            ("settings.smtp.user", |it| it.smtp = Some(pb::ProjectSmtp { user: "a\nb".into(), ..mail() })),
            ("settings.smtp.password", |it| {
                it.smtp = Some(pb::ProjectSmtp { password: "a\0".into(), ..mail() });
            }),
            ("settings.smtp.password", |it| {
                it.smtp = Some(pb::ProjectSmtp { password: "x".repeat(1025), ..mail() });
            }),
            ("settings.smtp.sender_email", |it| {
                it.smtp = Some(pb::ProjectSmtp { sender_email: "shop".into(), ..mail() });
            }),
            ("settings.oauth_providers[0].name", |it| {
                it.oauth_providers = vec![pb::OAuthProvider {
                    name: "acme".into(),
                    client_id: "a".into(),
                    client_secret: "b".into(),
                    ..Default::default()
                }];
            }),
            ("settings.oauth_providers[0].client_secret", |it| {
                it.oauth_providers = vec![pb::OAuthProvider {
                    name: "github".into(),
                    client_id: "a".into(),
                    ..Default::default()
                }];
            }),
            ("settings.exposed_schemas", |it| it.exposed_schemas = vec![]),
            ("settings.exposed_schemas[0]", |it| it.exposed_schemas = vec!["a,b".into()]),
            ("settings.exposed_schemas[0]", |it| it.exposed_schemas = vec!["pg_catalog".into()]),
            ("settings.exposed_schemas[1]", |it| it.exposed_schemas = vec!["public".into(), "public".into()]),
            ("settings.max_rows", |it| it.max_rows = 0),
            ("settings.file_size_limit_bytes", |it| it.file_size_limit_bytes = LARGEST_FILE + 1),
            ("settings.disabled_services[0]", |it| it.disabled_services = vec!["postgres".into()]),
        ];
        for (field, spoil) in cases {
            let mut asked = defaults();
            spoil(&mut asked);
            assert_eq!(refused_fields(&asked), [field]);
        }
    }

    #[test]
    fn only_what_the_release_can_do_without_is_switched_off() {
        let asked = pb::ProjectSettings { disabled_services: vec!["storage".into()], ..defaults() };
        let new = updated(&ProjectSettings::default(), Some(&asked), None, &release("supabase-2025.12-3"));
        assert!(new.unwrap().disabled_services.contains("storage"));
        assert_eq!(refused_fields(&asked), ["settings.disabled_services[0]"], "core-3 has no storage");
    }

    fn violations(found: Result<ProjectSettings>) -> Vec<FieldViolation> {
        match found.unwrap_err() {
            Error::Invalid(violations) => violations,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_kept_mail_password_goes_to_no_other_server_or_user() {
        type Change = fn(&mut pb::ProjectSmtp);
        let asked = pb::ProjectSettings { smtp: Some(mail()), ..defaults() };
        let current = updated(&ProjectSettings::default(), Some(&asked), None, &release("core-3")).unwrap();
        let with = |change: Change| {
            let mut smtp = pb::ProjectSmtp { password: String::new(), ..mail() };
            change(&mut smtp);
            let asked = pb::ProjectSettings { smtp: Some(smtp), ..defaults() };
            updated(&current, Some(&asked), None, &release("core-3"))
        };
        let other: [(Change, &str); 3] = [
            (|smtp| smtp.host = "mail.evil.example".into(), "settings.smtp.host"),
            (|smtp| smtp.port = 2525, "settings.smtp.port"),
            (|smtp| smtp.user = "another".into(), "settings.smtp.user"),
        ];
        for (change, named) in other {
            let wrong = violations(with(change));
            assert_eq!(wrong[0].field, "settings.smtp.password");
            assert!(wrong[0].description.contains(named), "{}", wrong[0].description);
            assert!(!wrong[0].description.contains("p\"$"), "says nothing of the password");
        }
        // What does not lead it elsewhere keeps it, and a given one may go anywhere.
        let kept = with(|smtp| {
            smtp.host = "MAIL.example.com".into();
            smtp.port = 587;
            smtp.sender_name = "Shop".into();
        });
        assert_eq!(kept.unwrap().smtp.unwrap().password, "p\"$\n");
        let given = with(|smtp| {
            smtp.host = "mail.new.example".into();
            smtp.password = "new".into();
        });
        assert_eq!(given.unwrap().smtp.unwrap().password, "new");
    }

    #[test]
    fn a_kept_client_secret_goes_to_no_other_provider() {
        let provider = |url: &str, secret: &str| pb::OAuthProvider {
            name: "gitlab".into(),
            client_id: "id".into(),
            client_secret: secret.into(),
            url: url.into(),
            ..Default::default()
        };
        let put = |current: &ProjectSettings, one: pb::OAuthProvider| {
            let asked = pb::ProjectSettings { oauth_providers: vec![one], ..defaults() };
            updated(current, Some(&asked), None, &release("core-3"))
        };
        let current = put(&ProjectSettings::default(), provider("https://git.example", "kept")).unwrap();
        for url in ["https://evil.example", ""] {
            let wrong = violations(put(&current, provider(url, "")));
            assert_eq!(wrong[0].field, "settings.oauth_providers[0].client_secret");
        }
        let kept = put(&current, provider("https://git.example", "")).unwrap();
        assert_eq!(kept.oauth_providers["gitlab"].client_secret, "kept");
        put(&current, provider("https://new.example", "new")).unwrap();
    }
}
