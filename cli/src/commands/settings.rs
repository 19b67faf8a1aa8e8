//! `settings get | set`: a project's settings. `set` changes what it is told to and nothing else.

use std::{fs, io, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use prost_types::FieldMask;
use supalove_proto::v1::{
    GetProjectSettingsRequest, GetProjectSettingsResponse, OAuthProvider, ProjectSettings, ProjectSmtp,
    UpdateProjectSettingsRequest, project_service_client::ProjectServiceClient,
};

use super::{
    Context,
    projects::{InProject, Waiting, finish},
    required,
};
use crate::{
    args::{RequestId, variable},
    confirm,
    error::Error,
    output, span, table,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Settings {
    /// Show the settings, without the secrets in them.
    #[command(visible_alias = "show")]
    Get {
        #[command(flatten)]
        place: InProject,
    },
    /// Change settings. Only the services that read them restart; a failure returns to the settings before.
    Set(Box<Set>),
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Arguments of `settings set`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  supalove settings set --site-url https://app.example.com --sign-up off\n  \
                        supalove settings get -o json >settings.json   # edit it, then:\n  \
                        supalove settings set --file settings.json"
)]
pub struct Set {
    /// JSON as `settings get -o json` prints it; `-` = stdin. Its fields are changed, secrets that are empty or missing stay.
    /// OAuth providers are set in this way.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// URL to which auth redirects users by default.
    #[arg(long, value_name = "URL")]
    site_url: Option<String>,
    /// A further URL, or a pattern, to which applications may redirect; repeat it. Replaces the list; one empty = none.
    #[arg(long, value_name = "URL")]
    redirect_url: Vec<String>,
    /// Whether users can sign up by themselves.
    #[arg(long)]
    sign_up: Option<Switch>,
    /// Lifetime of users' access tokens, e.g. 1h. The database restarts.
    #[arg(long, value_parser = span::parse_positive, value_name = "TIME")]
    jwt_lifetime: Option<Duration>,
    /// A schema that the REST API exposes; repeat it, the default one first. Replaces the list.
    #[arg(long, value_name = "SCHEMA")]
    exposed_schema: Vec<String>,
    /// Maximum number of rows in one REST response.
    #[arg(long, value_name = "ROWS")]
    max_rows: Option<u32>,
    /// Maximum size of a file in storage.
    #[arg(long, value_name = "BYTES")]
    file_size_limit: Option<u64>,
    /// Switch a service off.
    #[arg(long, value_name = "SERVICE")]
    disable_service: Vec<String>,
    /// Switch a service on again.
    #[arg(long, value_name = "SERVICE")]
    enable_service: Vec<String>,
    /// Host of the project's mail server.
    #[arg(long, value_name = "HOST")]
    smtp_host: Option<String>,
    /// Its port.
    #[arg(long, value_name = "PORT")]
    smtp_port: Option<u32>,
    /// User name there.
    #[arg(long, value_name = "USER")]
    smtp_user: Option<String>,
    /// Read the password there from the first line of stdin; with another --smtp option, the variable SUPALOVE_SMTP_PASSWORD does the
    /// same.
    #[arg(long)]
    smtp_password_stdin: bool,
    /// Address of the sender.
    #[arg(long, value_name = "ADDRESS")]
    smtp_sender_email: Option<String>,
    /// Name of the sender.
    #[arg(long, value_name = "NAME")]
    smtp_sender_name: Option<String>,
    /// Use no mail server.
    #[arg(long)]
    no_smtp: bool,
    #[command(flatten)]
    place: InProject,
    #[command(flatten)]
    request_id: RequestId,
    #[command(flatten)]
    waiting: Waiting,
}

pub async fn run(context: &Context, command: Settings) -> Result<(), Error> {
    match command {
        Settings::Get { place } => {
            let answer = get(context, place.resolve(context).await?).await?;
            context.output.answer("GetProjectSettingsResponse", &answer, |a| shown(a.settings.as_ref()))
        }
        Settings::Set(arguments) => set(context, *arguments).await,
    }
}

async fn get(context: &Context, project_ref: String) -> Result<GetProjectSettingsResponse, Error> {
    let request = GetProjectSettingsRequest { project_ref };
    context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).get_project_settings(request).await
        })
        .await
}

async fn set(context: &Context, arguments: Set) -> Result<(), Error> {
    let project_ref = arguments.place.resolve(context).await?;
    let current = required(get(context, project_ref.clone()).await?.settings, "settings")?;
    let Update { settings, paths, etag } = arguments.update(current)?;
    if paths.is_empty() {
        return Err(Error::Usage("what to change? See: supalove settings set --help".into()));
    }
    let request = UpdateProjectSettingsRequest {
        project_ref: project_ref.clone(),
        settings: Some(settings),
        update_mask: Some(FieldMask { paths }),
        etag,
        request_id: arguments.request_id.get(),
    };
    let mut answer = context
        .client
        .call(request, |channel, request| async move {
            ProjectServiceClient::new(channel).update_project_settings(request).await
        })
        .await?;
    let mut last = "nothing to do: the settings are these already".to_owned();
    if answer.operation.is_some() {
        let (operation, words) =
            finish(context, &project_ref, answer.operation.take(), &arguments.waiting).await?;
        answer.operation = Some(operation);
        let restarted = match answer.restarted_services.as_slice() {
            [] => "no service restarted".to_owned(),
            names => format!("restarted: {}", names.join(", ")),
        };
        last = format!("{}\n{words}", output::clean(&restarted));
    }
    context.output.answer("UpdateProjectSettingsResponse", &answer, |_| last)
}

/// What to send.
struct Update {
    settings: ProjectSettings,
    paths: Vec<String>,
    etag: String,
}

impl Set {
    /// Puts the arguments into the current settings.
    fn update(&self, current: ProjectSettings) -> Result<Update, Error> {
        let mut etag = current.etag.clone();
        let mut settings = current;
        let mut paths = Vec::new();
        if let Some(path) = &self.file {
            let file = from_file(path)?;
            paths = file.paths;
            if !file.settings.etag.is_empty() {
                etag.clone_from(&file.settings.etag);
            }
            settings = file.settings.over(settings, &paths);
        }
        let mut touch = |path: &str| {
            if !paths.iter().any(|known| known == path) {
                paths.push(path.to_owned());
            }
        };
        if let Some(url) = &self.site_url {
            settings.site_url.clone_from(url);
            touch("site_url");
        }
        if !self.redirect_url.is_empty() {
            settings.redirect_urls =
                self.redirect_url.iter().filter(|url| !url.is_empty()).cloned().collect();
            touch("redirect_urls");
        }
        if let Some(switch) = self.sign_up {
            settings.sign_up_enabled = switch == Switch::On;
            touch("sign_up_enabled");
        }
        if let Some(time) = self.jwt_lifetime {
            settings.jwt_lifetime = Some(span::to_proto(time));
            touch("jwt_lifetime");
        }
        if !self.exposed_schema.is_empty() {
            settings.exposed_schemas.clone_from(&self.exposed_schema);
            touch("exposed_schemas");
        }
        if let Some(rows) = self.max_rows {
            settings.max_rows = rows;
            touch("max_rows");
        }
        if let Some(bytes) = self.file_size_limit {
            settings.file_size_limit_bytes = bytes;
            touch("file_size_limit_bytes");
        }
        if !self.disable_service.is_empty() || !self.enable_service.is_empty() {
            settings.disabled_services.retain(|name| !self.enable_service.contains(name));
            let new = self.disable_service.iter().filter(|name| !settings.disabled_services.contains(name));
            let new: Vec<String> = new.cloned().collect();
            settings.disabled_services.extend(new);
            touch("disabled_services");
        }
        if self.no_smtp {
            settings.smtp = None;
            touch("smtp");
        } else if let Some(smtp) = self.smtp(settings.smtp.clone())? {
            settings.smtp = Some(smtp);
            touch("smtp");
        }
        Ok(Update { settings, paths, etag })
    }

    /// The mail server, if an argument changes it.
    fn smtp(&self, before: Option<ProjectSmtp>) -> Result<Option<ProjectSmtp>, Error> {
        let named = [&self.smtp_host, &self.smtp_user, &self.smtp_sender_email, &self.smtp_sender_name];
        let touched = named.iter().any(|one| one.is_some()) || self.smtp_port.is_some();
        // A variable that is set for another command asks for nothing by itself.
        if !touched && !self.smtp_password_stdin {
            return Ok(None);
        }
        let password = if self.smtp_password_stdin {
            Some(confirm::secret(Some(std::path::Path::new("-")), "")?)
        } else {
            variable("SUPALOVE_SMTP_PASSWORD")
        };
        let mut smtp = before.unwrap_or_default();
        let put = |field: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        put(&mut smtp.host, &self.smtp_host);
        put(&mut smtp.user, &self.smtp_user);
        put(&mut smtp.sender_email, &self.smtp_sender_email);
        put(&mut smtp.sender_name, &self.smtp_sender_name);
        put(&mut smtp.password, &password);
        smtp.port = self.smtp_port.unwrap_or(smtp.port);
        Ok(Some(smtp))
    }
}

/// Settings of a file, and which fields it has.
struct FromFile {
    settings: FileSettings,
    paths: Vec<String>,
}

/// Settings whose missing fields are not values.
struct FileSettings(ProjectSettings);

impl std::ops::Deref for FileSettings {
    type Target = ProjectSettings;

    fn deref(&self) -> &ProjectSettings {
        &self.0
    }
}

impl FileSettings {
    /// Takes the fields of the mask from the file, the others from the current settings.
    fn over(self, mut current: ProjectSettings, paths: &[String]) -> ProjectSettings {
        let new = self.0;
        for path in paths {
            match path.as_str() {
                "site_url" => current.site_url.clone_from(&new.site_url),
                "redirect_urls" => current.redirect_urls.clone_from(&new.redirect_urls),
                "sign_up_enabled" => current.sign_up_enabled = new.sign_up_enabled,
                "jwt_lifetime" => current.jwt_lifetime = new.jwt_lifetime,
                "smtp" => current.smtp.clone_from(&new.smtp),
                "oauth_providers" => current.oauth_providers.clone_from(&new.oauth_providers),
                "exposed_schemas" => current.exposed_schemas.clone_from(&new.exposed_schemas),
                "max_rows" => current.max_rows = new.max_rows,
                "file_size_limit_bytes" => current.file_size_limit_bytes = new.file_size_limit_bytes,
                "disabled_services" => current.disabled_services.clone_from(&new.disabled_services),
                // The API names what it does not know.
                _ => {}
            }
        }
        current
    }
}

fn from_file(path: &std::path::Path) -> Result<FromFile, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let text = if path == std::path::Path::new("-") {
        io::read_to_string(io::stdin()).map_err(failed)?
    } else {
        fs::read_to_string(path).map_err(failed)?
    };
    // A parser's message could quote a secret of the file; it only names the place.
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        Error::Usage(format!(
            "{}: no JSON at line {}, column {}",
            path.display(),
            error.line(),
            error.column()
        ))
    })?;
    let value = value.get("settings").cloned().unwrap_or(value);
    let settings: ProjectSettings = output::from_value("ProjectSettings", &value)
        .map_err(|_| Error::Usage(format!("{}: is not the JSON of settings", path.display())))?;
    let names = value.as_object().into_iter().flat_map(|fields| fields.keys());
    let paths = names.map(|name| snake_case(name)).filter(|name| name != "etag").collect();
    Ok(FromFile { settings: FileSettings(settings), paths })
}

/// The proto's name of a field of its JSON.
fn snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut out, one| {
        if one.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(one.to_ascii_lowercase());
        out
    })
}

fn shown(settings: Option<&ProjectSettings>) -> String {
    let Some(settings) = settings else { return String::new() };
    let on = |yes: bool| if yes { "on" } else { "off" }.to_owned();
    let or_none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let smtp = |smtp: &ProjectSmtp| {
        let password = if smtp.password_set { ", with a password" } else { "" };
        format!("{}:{} as {}{password}, from {}", smtp.host, smtp.port, smtp.user, smtp.sender_email)
    };
    let provider = |one: &OAuthProvider| format!("{} ({})", one.name, one.client_id);
    let providers: Vec<String> = settings.oauth_providers.iter().map(provider).collect();
    let lifetime = settings.jwt_lifetime.as_ref().map_or(0, |time| time.seconds);
    table::pairs([
        ("site URL", settings.site_url.clone()),
        ("redirect URLs", or_none(&settings.redirect_urls)),
        ("sign-up", on(settings.sign_up_enabled)),
        ("token lifetime", format!("{lifetime} s")),
        ("mail server", settings.smtp.as_ref().map_or_else(|| "none".to_owned(), smtp)),
        ("OAuth providers", or_none(&providers)),
        ("exposed schemas", settings.exposed_schemas.join(", ")),
        ("maximum rows", settings.max_rows.to_string()),
        ("largest file", format!("{} bytes", settings.file_size_limit_bytes)),
        ("switched off", or_none(&settings.disabled_services)),
        ("etag", settings.etag.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changes_the_fields_that_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        fs::write(&path, r#"{"settings": {"maxRows": 7, "siteUrl": "https://a.example", "etag": "4"}}"#)
            .unwrap();
        let file = from_file(&path).unwrap();
        let mut paths = file.paths.clone();
        paths.sort_unstable();
        assert_eq!(paths, ["max_rows", "site_url"]);
        assert_eq!(file.settings.etag, "4");
        let current = ProjectSettings { max_rows: 1, file_size_limit_bytes: 9, ..Default::default() };
        let new = file.settings.over(current, &file.paths);
        assert_eq!((new.max_rows, new.file_size_limit_bytes), (7, 9));
        fs::write(&path, r#"{"smtp": {"password": "canary", "#).unwrap();
        let why = from_file(&path).err().unwrap().to_string();
        assert!(!why.contains("canary"), "{why}");
    }
}
