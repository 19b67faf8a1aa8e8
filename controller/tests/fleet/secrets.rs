//! Searches for secrets where they must not be: in the control database, in logs, in process arguments. The test also
//! proves that the search finds a planted secret in each of those places.

use std::{fs, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use supalove_proto::v1::{RefreshTokenDelivery, SecretValue, SetSecretsRequest, SignInRequest};
use supalove_system_tests::{Agent, Api, CORE, Controller, Database, Options, docker};

const PASSWORD: &str = "correct-horse-battery";

/// A place and what is in it.
struct Haystack {
    place: &'static str,
    content: String,
}

/// The control database as SQL.
fn dump(database: &Database) -> Haystack {
    let output = Command::new("pg_dump").args(["--dbname", &database.url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Haystack { place: "database dump", content: String::from_utf8(output.stdout).unwrap() }
}

/// The log of the test's PostgreSQL, which logs every statement with its parameters.
fn postgres_log() -> Haystack {
    let path = std::env::var("SUPALOVE_TEST_POSTGRES_LOG")
        .expect("SUPALOVE_TEST_POSTGRES_LOG is not set; run the tests with `make test`");
    Haystack {
        place: "PostgreSQL log",
        content: String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned(),
    }
}

/// Arguments of every process.
fn arguments() -> Haystack {
    let read = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let all: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(read)
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .collect();
    Haystack { place: "process arguments", content: all.join("\n") }
}

/// Where a secret is, as it is or in hex or base64.
fn found<'a>(haystacks: &'a [Haystack], secret: &str) -> Vec<&'a str> {
    assert!(secret.len() >= 12, "too short to be told from chance");
    let spellings = [secret.to_owned(), hex::encode(secret), STANDARD.encode(secret)];
    let hits = haystacks.iter().filter(|h| spellings.iter().any(|s| h.content.contains(s)));
    hits.map(|h| h.place).collect()
}

/// Every secret of an installation with one project, by name.
async fn secrets(controller: &Controller, api: &Api, join_token: String) -> Vec<(String, String)> {
    let request = SignInRequest {
        email: "operator@example.com".into(),
        password: PASSWORD.into(),
        refresh_token_delivery: RefreshTokenDelivery::Body.into(),
    };
    let tokens = api.auth().sign_in(request).await.unwrap().into_inner().tokens.unwrap();
    let file = |name: &str| fs::read_to_string(controller.dir.path().join(name)).unwrap().trim().to_owned();
    let project_ref = api.create_healthy("canary-project", CORE).await.r#ref;
    let function_secret = "canary 'of \"the\" functions";
    let request = SetSecretsRequest {
        project_ref: project_ref.clone(),
        secrets: vec![SecretValue { name: "CANARY".into(), value: function_secret.into() }],
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let set = api.projects().set_secrets(request).await.unwrap().into_inner();
    api.wait(&set.operation.unwrap().id).await;
    let revealed = api.secrets(&project_ref).await;
    let mut all = vec![
        ("password".to_owned(), PASSWORD.to_owned()),
        ("join token".to_owned(), join_token.rsplit('.').next().unwrap().to_owned()),
        ("access token".to_owned(), tokens.access_token),
        ("refresh token".to_owned(), tokens.refresh_token),
        ("setup token".to_owned(), file("setup-token")),
        ("master key".to_owned(), file("master.key")),
        ("anon key".to_owned(), api.keys(&project_ref).await.anon_key),
        ("service role key".to_owned(), revealed.service_role_key),
        ("tenant's database password".to_owned(), revealed.db_password),
        ("secret of the functions".to_owned(), function_secret.to_owned()),
    ];
    for (service, name) in [("postgres", "POSTGRES_PASSWORD"), ("functions", "JWT_SECRET")] {
        let container = format!("supalove_{project_ref}_{service}");
        let format = "{{range .Config.Env}}{{println .}}{{end}}";
        let environment = docker(None, &["inspect", "--format", format, &container]);
        let value = environment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        all.push((name.to_owned(), value.unwrap().to_owned()));
    }
    let postgres = format!("supalove_{project_ref}_postgres");
    let pem = docker(None, &["exec", &postgres, "cat", "/etc/supalove/tls/server.pem"]);
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "the key comes first");
    all.extend(
        pem.lines().skip(1).take(2).map(|line| ("database's private key".to_owned(), line.to_owned())),
    );
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_database_in_a_log_or_in_an_argument() {
    let debug =
        Options { environment: vec![("RUST_LOG".to_owned(), "debug".to_owned())], ..Default::default() };
    let controller = Controller::start_with(debug).await;
    let api = controller.operator().await;
    let join_token = api.join_token().await;
    let agent = Agent::start(&controller, &join_token);
    api.wait_ready_nodes(1).await;
    let secrets = secrets(&controller, &api, join_token).await;

    let haystacks = [
        dump(&controller.database),
        postgres_log(),
        arguments(),
        Haystack { place: "controller log", content: controller.process.log() },
        Haystack { place: "agent log", content: agent.process.log() },
    ];
    for haystack in &haystacks {
        assert!(haystack.content.len() > 100, "{} is empty", haystack.place);
    }
    let leaks: Vec<_> = secrets
        .iter()
        .map(|(name, secret)| (name, found(&haystacks, secret)))
        .filter(|(_, places)| !places.is_empty())
        .collect();
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_finds_a_planted_secret_in_each_place() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let canary = format!("canary-{}", uuid::Uuid::new_v4().simple());
    // A name is no secret: it goes through the API into the database, and so into the statement log.
    api.create(&canary, CORE).await;
    let mut child = Command::new("sleep").arg0_canary(&canary).spawn().unwrap();
    let planted = [dump(&controller.database), postgres_log(), arguments()];
    let places = found(&planted, &canary);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(places, ["database dump", "PostgreSQL log", "process arguments"]);

    let log = Haystack {
        place: "controller log",
        content: format!("{} {}", controller.process.log(), hex::encode(&canary)),
    };
    assert_eq!(found(&[log], &canary), ["controller log"], "hex is found as well");
}

/// `sleep` with a name that carries the canary.
trait Arg0 {
    fn arg0_canary(&mut self, canary: &str) -> &mut Self;
}

impl Arg0 for Command {
    fn arg0_canary(&mut self, canary: &str) -> &mut Self {
        use std::os::unix::process::CommandExt as _;
        self.arg0(canary).arg("60")
    }
}
