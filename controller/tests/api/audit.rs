//! Calls that show a secret or take something away leave their row in the audit log, also when they are refused. Nobody takes
//! rows away unnoticed, and strangers do not fill the log.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    time::Duration,
};

use futures::StreamExt as _;
use supalove_proto::v1::{
    CreateJoinTokenRequest, CreateProjectRequest, GetMeRequest, RefreshRequest, RevealProjectSecretsRequest,
    RevokeJoinTokenRequest, UpdateMeRequest,
};
use supalove_system_tests::{Api, Controller, Options, Rows, SLACK, program, wait_for};
use tonic::Code;
use uuid::Uuid;

/// A user's client and id.
async fn user(controller: &Controller, rows: &Rows, email: &str) -> (Api, String) {
    rows.add_user(email).await;
    let mut api = controller.api();
    api.sign_in(email).await;
    let id = id(&api).await;
    (api, id)
}

async fn id(api: &Api) -> String {
    api.auth().get_me(GetMeRequest {}).await.unwrap().into_inner().user.unwrap().id
}

/// Actor, target and outcome of each call on record, in order.
async fn on_record(rows: &Rows, rpc: &str) -> Vec<(String, String, String)> {
    rows.audited(rpc).await.into_iter().map(|call| (call.actor, call.target, call.outcome)).collect()
}

fn row(actor: &str, target: &str, outcome: &str) -> (String, String, String) {
    (actor.to_owned(), target.to_owned(), outcome.to_owned())
}

#[tokio::test]
async fn each_reveal_of_secrets_is_audited_and_so_is_each_refused_one() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let (owner, owner_id) = user(&controller, &rows, "owner@example.com").await;
    let (stranger, stranger_id) = user(&controller, &rows, "stranger@example.com").await;
    let (reader, reader_id) = user(&controller, &rows, "reader@example.com").await;
    owner.create_organization("target").await;
    rows.add_member("target", "reader@example.com", "READ_ONLY").await;
    let request = CreateProjectRequest {
        organization: "target".into(),
        name: "secretive".into(),
        ..Default::default()
    };
    let created = owner.projects().create_project(request).await.unwrap().into_inner();
    let project = created.project.unwrap().r#ref;
    let reveal = async |api: &Api| {
        let request = RevealProjectSecretsRequest { project_ref: project.clone() };
        let answer = api.projects().reveal_project_secrets(request).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };

    assert_eq!(reveal(&owner).await, Code::Ok);
    assert_eq!(reveal(&operator).await, Code::PermissionDenied);
    assert_eq!(reveal(&reader).await, Code::PermissionDenied);
    assert_eq!(reveal(&stranger).await, Code::NotFound);
    assert_eq!(reveal(&controller.api()).await, Code::Unauthenticated);
    assert_eq!(reveal(&owner).await, Code::Ok);

    let expected = [
        row(&owner_id, &project, "OK"),
        row(&id(&operator).await, &project, "PermissionDenied"),
        row(&reader_id, &project, "PermissionDenied"),
        row(&stranger_id, &project, "NotFound"),
        // Nobody's call leaves no row, so that nobody can flood the table.
        row(&owner_id, &project, "OK"),
    ];
    assert_eq!(on_record(&rows, "RevealProjectSecrets").await, expected);
}

#[tokio::test]
async fn each_revocation_of_a_join_token_is_audited_also_a_repeated_or_a_refused_one() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let (stranger, stranger_id) = user(&controller, &rows, "stranger@example.com").await;
    let made = operator.clusters().create_join_token(CreateJoinTokenRequest::default()).await.unwrap();
    let token = made.into_inner().id;
    let revoke = async |api: &Api, token: &str| {
        let request = RevokeJoinTokenRequest { join_token_id: token.to_owned() };
        let answer = api.clusters().revoke_join_token(request).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };

    assert_eq!(revoke(&stranger, &token).await, Code::NotFound);
    assert_eq!(revoke(&operator, &token).await, Code::Ok);
    assert_eq!(revoke(&operator, &token).await, Code::Ok);
    let unknown = format!("jtk_{}", Uuid::now_v7().simple());
    assert_eq!(revoke(&operator, &unknown).await, Code::NotFound);

    let operator_id = id(&operator).await;
    let expected = [
        row(&stranger_id, &token, "NotFound"),
        row(&operator_id, &token, "OK"),
        row(&operator_id, &token, "OK"),
        row(&operator_id, &unknown, "NotFound"),
    ];
    assert_eq!(on_record(&rows, "RevokeJoinToken").await, expected);
}

#[tokio::test]
async fn refused_calls_of_strangers_are_counted_and_fill_no_table() {
    const CALLS: i64 = 300;
    let controller = Controller::start().await;
    controller.operator().await;
    let rows = controller.database.rows().await;
    let before = rows.acts_on_record().await;
    let stranger = controller.api();
    let calls = (0..CALLS).map(|_| {
        let stranger = stranger.clone();
        async move { stranger.auth().refresh(RefreshRequest::default()).await.unwrap_err() }
    });
    // Fewer at once than an address may have.
    futures::stream::iter(calls).buffer_unordered(8).collect::<Vec<_>>().await;
    let reveal = RevealProjectSecretsRequest { project_ref: "abcdefghijklmnopqrst".into() };
    assert_eq!(
        stranger.projects().reveal_project_secrets(reveal).await.unwrap_err().code(),
        Code::Unauthenticated
    );

    // Wrong tokens are refused unseen after a while. The job adds the counts every 5 s.
    let expected = BTreeMap::from([
        (("AuthService/Refresh".to_owned(), "127.0.0.0/24".to_owned()), CALLS),
        (("ProjectService/RevealProjectSecrets".to_owned(), "127.0.0.0/24".to_owned()), 1),
    ]);
    wait_for("the counts", Duration::from_secs(6) * SLACK, async || {
        let mut counts = BTreeMap::new();
        for (method, _, network, calls) in rows.refused_calls().await {
            let method = method.trim_start_matches("/supalove.v1.").to_owned();
            *counts.entry((method, network)).or_default() += calls;
        }
        (counts == expected).then_some(())
    })
    .await;
    assert!(rows.count("refused_calls").await <= 6, "a row per minute, method, reason and network");
    assert_eq!(rows.acts_on_record().await, before);
}

/// Runs `audit verify` with this noted place.
pub fn verify(controller: &Controller, seen: Option<&str>) -> Output {
    let mut command = Command::new(program("supalove-controller"));
    command.args(["audit", "verify"]);
    for (option, file) in [("--database-url-file", "database-url"), ("--master-key-file", "master.key")] {
        command.arg(option).arg(controller.dir.path().join(file));
    }
    command.args(seen.map(|seen| ["--seen", seen]).into_iter().flatten());
    command.output().unwrap()
}

/// What it prints when all is well.
pub fn is_whole(controller: &Controller, seen: Option<&str>) -> String {
    let output = verify(controller, seen);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.ends_with("nothing is wrong\n"), "{output:?}");
    text
}

/// What it prints when something is wrong.
pub fn is_broken(controller: &Controller, seen: Option<&str>, what: &str) {
    let output = verify(controller, seen);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.code() == Some(1) && text.contains(&format!("WRONG: {what}")),
        "{what}: {output:?}"
    );
}

#[tokio::test]
async fn the_audit_log_is_cut_only_by_age_and_nobody_changes_it_unnoticed() {
    const OLD: i32 = 1500;
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    // Its jobs must not digest the log of before meanwhile.
    controller.process.kill();
    rows.begin_audit_log_long_ago(OLD).await;
    controller.restart().await;
    for _ in 0..5 {
        // An act on oneself is the platform's.
        let rename = UpdateMeRequest { display_name: "Ada".into(), ..Default::default() };
        api.auth().update_me(rename).await.unwrap();
    }
    wait_for("the rows to be chained", Duration::from_secs(10) * SLACK, async || {
        Some(rows.audit_chain().await)
            .filter(|(_, newest, waiting)| *newest >= i64::from(OLD) + 5 && *waiting == 0)
    })
    .await;
    is_whole(&controller, None);

    // A replica that starts cuts the log and signs its newest row.
    controller.process.kill();
    rows.end_leases().await;
    controller.restart().await;
    wait_for("the log to be cut", Duration::from_secs(10) * SLACK, async || {
        (rows.audit_chain().await.0 == i64::from(OLD) + 1).then_some(())
    })
    .await;
    controller.process.wait_for_log("audit log: newest row", Duration::from_secs(10) * SLACK);
    // It also takes a digest, which is a row.
    let newest = wait_for("the digest", Duration::from_secs(10) * SLACK, async || {
        let (_, newest, waiting) = rows.audit_chain().await;
        (rows.chained_digests().await > 0 && waiting == 0).then_some(newest)
    })
    .await;
    let text = is_whole(&controller, None);
    assert!(text.starts_with(&format!("rows {} to {newest}, newest {newest}:", OLD + 1)), "{text}");
    let seen = text.split_once("newest ").unwrap().1.split_once(';').unwrap().0.to_owned();
    is_whole(&controller, Some(&seen));

    for statement in [
        "TRUNCATE audit_log",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE seq = (SELECT max(seq) FROM audit_log)",
        "UPDATE audit_log SET chain = gen_random_uuid()",
        "TRUNCATE audit_chains",
        "DELETE FROM audit_chains",
        "UPDATE audit_chains SET seq = seq - 1",
        "UPDATE audit_chains SET chain_hash = ''",
        "UPDATE audit_chains SET number = number + 1",
        "UPDATE audit_log SET actor = 'somebody else'",
        "TRUNCATE audit_checkpoints",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_checkpoints SET seq = seq + 1",
        // As a controller from before chains does.
        "INSERT INTO audit_checkpoints (cut, seq, chain_hash, at, signature) VALUES (false, 1, '', now(), '')",
        "INSERT INTO audit_checkpoints (chain, cut, seq, chain_hash, at, signature)
         SELECT '00000000-0000-0000-0000-000000000000', true, max(seq), '', now(), '' FROM audit_log;
         DELETE FROM audit_log",
        "DELETE FROM audit_digests",
        "UPDATE audit_digests SET content = ''",
        "TRUNCATE audit_digests",
    ] {
        assert!(rows.refuses(statement).await, "{statement}");
    }

    // Who owns the tables can do more, and is noticed. The end of the log goes first, then what is before it.
    let last = seen.split_once(':').unwrap().0.to_owned();
    let platforms = "audit_log WHERE chain = '00000000-0000-0000-0000-000000000000' AND seq";
    let newest_row = format!("DELETE FROM {platforms} = {last}");
    rows.falsify(&newest_row).await;
    is_broken(&controller, Some(&seen), &format!("row {last}, of which the noted hash tells, is missing"));
    is_broken(&controller, None, &format!("row {last}, of which the chain's head tells, is missing"));
    let changed = i64::from(OLD) + 2;
    let change = format!("UPDATE {platforms} = {changed}").replace(" WHERE", " SET actor = 'x' WHERE");
    rows.falsify(&change).await;
    is_broken(&controller, None, &format!("row {changed} was changed"));
    rows.falsify(&format!("DELETE FROM {platforms} = {}", changed - 1)).await;
    is_broken(
        &controller,
        None,
        &format!("row {} is expected, the log begins with row {changed}", changed - 1),
    );
    rows.falsify(&format!(
        "INSERT INTO audit_checkpoints (chain, cut, seq, chain_hash, at, signature)
         VALUES ('00000000-0000-0000-0000-000000000000', true, {}, '', now(), '')",
        changed - 1
    ))
    .await;
    is_broken(&controller, None, &format!("the checkpoint of row {} has a wrong signature", changed - 1));
}

/// The platform's chain, in SQL.
const PLATFORM: &str = "'00000000-0000-0000-0000-000000000000'::uuid";

/// What the controller's role tries on the log when another role owns it.
fn attempts(role: &str) -> Vec<String> {
    let log = "INSERT INTO audit_log (id, actor, method, target, outcome, client, trace_id";
    let all = ["audit_log", "audit_checkpoints", "audit_digests", "audit_retentions", "audit_repairs"];
    let tables = all.into_iter().flat_map(|table| {
        [
            format!("TRUNCATE {table}"),
            format!("DELETE FROM {table}"),
            format!("ALTER TABLE {table} DISABLE TRIGGER ALL"),
            format!("ALTER TABLE {table} OWNER TO {role}"),
            format!("DROP TABLE {table}"),
            format!("ALTER TABLE {table} RENAME TO other"),
            format!("CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"),
            format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
        ]
    });
    let others = [
        "UPDATE audit_log SET actor = 'somebody else'",
        "UPDATE audit_log SET seq = 1, chain_hash = ''",
        "UPDATE audit_checkpoints SET seq = seq + 1",
        "DROP TRIGGER audit_append_only ON audit_log",
        "DROP TRIGGER audit_never_truncated ON audit_log",
        "CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "DROP FUNCTION audit_cut",
        "UPDATE audit_digests SET content = ''",
        "UPDATE audit_retentions SET kept_seconds = 1",
        "INSERT INTO audit_retentions (id, chain, at, kept_seconds, plan)
         VALUES (gen_random_uuid(), gen_random_uuid(), now() - interval '1 year', 1, '')",
        "CREATE OR REPLACE FUNCTION audit_kept_seconds(p_chain uuid) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
        "DELETE FROM audit_chains",
        "TRUNCATE audit_chains",
        "DROP TRIGGER audit_chains_grow ON audit_chains",
        "CREATE RULE none AS ON INSERT TO audit_log DO INSTEAD NOTHING",
        "SET session_replication_role = replica",
        "CREATE TABLE public.mine ()",
        "DROP SCHEMA public CASCADE",
        "DELETE FROM _sqlx_migrations",
    ];
    tables
        .chain(others.map(str::to_owned))
        .chain([
            format!("{log}, seq) VALUES (gen_random_uuid(), 'x', 'x', '', 'OK', '', '', 1)"),
            format!(
                "{log}, at) VALUES (gen_random_uuid(), 'x', 'x', '', 'OK', '', '', now() - interval '1 year')"
            ),
            format!("SET ROLE {}", role.replace("_controller", "_owner")),
        ])
        .collect()
}

#[tokio::test]
async fn the_controllers_role_can_only_add_to_an_audit_log_that_another_role_owns() {
    const OLD: i32 = 20;
    let options = Options { separate_owner: true, ..Options::default() };
    let mut controller = Controller::start_with(options).await;
    let api = controller.operator().await;
    assert!(!controller.process.log().contains("owns the audit log"), "{}", controller.process.log());
    let rows = controller.database.rows().await;
    // Its jobs must not digest the log of before meanwhile.
    controller.process.kill();
    rows.begin_audit_log_long_ago(OLD).await;
    controller.restart().await;
    let rename = UpdateMeRequest { display_name: "Ada".into(), ..Default::default() };
    api.auth().update_me(rename).await.unwrap();
    wait_for("the rows to be chained", Duration::from_secs(10) * SLACK, async || {
        let (_, newest, waiting) = rows.audit_chain().await;
        (newest > i64::from(OLD) && waiting == 0).then_some(())
    })
    .await;
    // The retention deletes what is old, as the owner.
    controller.process.kill();
    rows.end_leases().await;
    controller.restart().await;
    wait_for("the log to be cut", Duration::from_secs(10) * SLACK, async || {
        (rows.audit_chain().await.0 == i64::from(OLD) + 1).then_some(())
    })
    .await;
    is_whole(&controller, None);

    let url = std::fs::read_to_string(controller.dir.path().join("database-url")).unwrap();
    let attempts = attempts(&controller.database.controller_role());
    let outcomes = Rows::run_as(&url, &attempts).await;
    for (statement, outcome) in attempts.iter().zip(outcomes) {
        // Insufficient privilege.
        assert_eq!(outcome, Err("42501".to_owned()), "{statement}");
    }
    let through_functions = [
        "SELECT audit_seal(chain, ARRAY[id], ARRAY[9999::bigint], ARRAY[''::bytea]) FROM audit_log WHERE seq IS NOT NULL"
            .to_owned(),
        format!("SELECT audit_cut({PLATFORM}, max(seq)) FROM audit_log"),
        format!(
            "CREATE TEMP TABLE audit_log (chain uuid, seq bigint);
             CREATE TEMP TABLE audit_checkpoints (chain uuid, cut boolean, seq bigint);
             INSERT INTO pg_temp.audit_checkpoints VALUES ({PLATFORM}, true, 9999); SELECT public.audit_cut({PLATFORM}, 9999)"
        ),
        "UPDATE audit_chains SET seq = 0".to_owned(),
    ];
    let outcomes = Rows::run_as(&url, &through_functions).await;
    assert!(outcomes[0].is_ok(), "it changes no chained row: {outcomes:?}");
    // The triggers refuse it.
    assert_eq!(outcomes[1..], vec![Err("P0001".to_owned()); 3]);
    is_whole(&controller, None);

    // Another version of the controller does not start on a schema that its owner has not prepared.
    let missing = rows.forget_newest_migration().await;
    let mut command = Command::new(program("supalove-controller"));
    command.args(["run", "--public-listen", "127.0.0.1:0", "--node-listen", "127.0.0.1:0"]);
    for (option, file) in [("--database-url-file", "database-url"), ("--master-key-file", "master.key")] {
        command.arg(option).arg(controller.dir.path().join(file));
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains(&format!("lacks the migrations {missing:04}"))
            && text.contains("supalove-controller migrate"),
        "{text}"
    );
}

#[tokio::test]
async fn the_owners_rights_are_not_given_to_the_controllers_role() {
    let options = Options { separate_owner: true, ..Options::default() };
    let controller = Controller::start_with(options).await;
    let owner = format!("{}_owner", controller.database.name);
    for (role, says) in
        [("postgres", "superuser"), (owner.as_str(), "owner"), ("nobody_of_that_name", "has no role")]
    {
        let mut command = Command::new(program("supalove-controller"));
        command.args(["migrate", "--controller-role", role]);
        command.arg("--database-url-file").arg(controller.dir.path().join("owner-database-url"));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(says), "{role}: {text}");
    }
}
