//! A chain of the audit log that was rolled back, taken away or cut too early is found by name, also when nobody has noted a place
//! elsewhere. A broken chain stops no other, and goes on behind the note of an operator on the host.

use std::{
    process::{Command, Output},
    time::Duration,
};

use supalove_proto::v1::{ListJobsRequest, UpdateOrganizationRequest};
use supalove_system_tests::{Api, Controller, EMAIL, Rows, SLACK, program, wait_for};
use uuid::Uuid;

use super::{
    audit::{is_broken, is_whole},
    audit_tampering::{Tampering, chained, with_chains},
};

async fn operator(controller: &Controller) -> Api {
    let mut api = controller.api();
    api.sign_in(EMAIL).await;
    api
}

/// A replica that starts takes a digest, if there is none that is young.
async fn digested(controller: &mut Controller, rows: &Rows) {
    controller.process.kill();
    rows.age_digests().await;
    rows.end_leases().await;
    let before = rows.chained_digests().await;
    controller.restart().await;
    wait_for("a digest", Duration::from_secs(15) * SLACK, async || {
        (rows.chained_digests().await > before).then_some(())
    })
    .await;
    controller.process.kill();
}

#[tokio::test]
async fn a_chain_behind_the_digest_of_all_chains_is_named() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    api.create("first", "").await;
    let chain = rows.organization_id("acme").await;
    chained(&rows, chain, 2).await;
    chained(&rows, Uuid::nil(), 1).await;
    // Somebody keeps the heads with their signatures.
    rows.falsify("CREATE TABLE old_heads AS TABLE audit_chains").await;
    api.create("second", "").await;
    api.create_organization("other").await;
    let other = rows.organization_id("other").await;
    chained(&rows, chain, 3).await;
    chained(&rows, other, 1).await;
    digested(&mut controller, &rows).await;
    let text = is_whole(&controller, None);
    assert!(text.contains("newest digest of all chains: 20"), "{text}");

    let tampering = Tampering { controller: &controller, rows: &rows };
    let name = format!("org_{}", chain.simple());
    let roll_back = format!(
        "DELETE FROM audit_log WHERE chain = '{chain}' AND seq > 2; DELETE FROM audit_checkpoints WHERE chain = '{chain}';
         UPDATE audit_chains c SET seq = o.seq, chain_hash = o.chain_hash, at = o.at, signature = o.signature
         FROM old_heads o WHERE o.chain = c.chain AND c.chain = '{chain}'"
    );
    let gone = format!("{name}: row 3, of which the digest of ");
    tampering.is_found("rolled back", &roll_back, &[&gone]).await;
    let name = format!("org_{}", other.simple());
    let take_away = ["audit_log", "audit_checkpoints", "audit_chains"]
        .map(|table| format!("DELETE FROM {table} WHERE chain = '{other}'"))
        .join(";");
    let gone =
        [format!("{name}: row 1, of which the digest of "), format!("{name}: the chain has no signed head")];
    tampering.is_found("taken away", &take_away, &[&gone[0], &gone[1]]).await;
    for change in [
        "DELETE FROM audit_digests",
        "UPDATE audit_digests SET content = replace(content, ' 3 ', ' 2 ')",
        "UPDATE audit_digests SET content = ''",
    ] {
        tampering.is_found("a digest", change, &["the digest of "]).await;
    }

    // A log whose heads are all gone does not begin anew.
    rows.falsify("DELETE FROM audit_log; DELETE FROM audit_checkpoints; DELETE FROM audit_chains").await;
    rows.end_leases().await;
    controller.restart().await;
    let api = operator(&controller).await;
    api.create_organization("later").await;
    let says = "the audit chain platform has digests but no head";
    controller.process.wait_for_log(says, Duration::from_secs(15) * SLACK);
    assert_eq!(rows.count("audit_chains").await, 0);
    is_broken(&controller, None, &format!("{name}: the chain has no signed head"));
}

#[tokio::test]
async fn a_chain_that_was_rolled_back_and_has_grown_again_is_named_after_the_next_digest_too() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    api.create("first", "").await;
    let chain = rows.organization_id("acme").await;
    chained(&rows, chain, 2).await;
    rows.falsify("CREATE TABLE old_heads AS TABLE audit_chains").await;
    rename(&api, "acme", "Acme two").await;
    chained(&rows, chain, 3).await;
    digested(&mut controller, &rows).await;
    rows.falsify(&format!(
        "DELETE FROM audit_log WHERE chain = '{chain}' AND seq > 2; DELETE FROM audit_checkpoints WHERE chain = '{chain}';
         UPDATE audit_chains c SET seq = o.seq, chain_hash = o.chain_hash, at = o.at, signature = o.signature
         FROM old_heads o WHERE o.chain = c.chain AND c.chain = '{chain}'"
    ))
    .await;
    rows.end_leases().await;
    controller.restart().await;
    let api = operator(&controller).await;
    for name in ["Acme", "Acme three"] {
        rename(&api, "acme", name).await;
    }
    chained(&rows, chain, 4).await;
    digested(&mut controller, &rows).await;
    is_broken(
        &controller,
        None,
        &format!("org_{}: row 3 has another hash than the digest of ", chain.simple()),
    );
}

/// Runs `audit repair`.
fn repair(controller: &Controller, chain: &str, why: &str) -> Output {
    let mut command = Command::new(program("supalove-controller"));
    command.args(["audit", "repair", "--chain", chain, "--operator", "Ada", "--reason", why]);
    for (option, file) in [("--database-url-file", "database-url"), ("--master-key-file", "master.key")] {
        command.arg(option).arg(controller.dir.path().join(file));
    }
    command.output().unwrap()
}

async fn rename(api: &Api, organization: &str, name: &str) {
    let request = UpdateOrganizationRequest {
        organization: organization.into(),
        name: name.into(),
        ..Default::default()
    };
    api.organizations().update_organization(request).await.unwrap();
}

#[tokio::test]
async fn one_broken_chain_stops_no_other_and_goes_on_behind_a_note() {
    let (mut controller, rows, organization) = with_chains().await;
    let other = rows.organization_id("second").await;
    let newest = rows.audit_chain_of(organization).await.1;
    rows.falsify(&format!("UPDATE audit_chains SET seq = seq - 1 WHERE chain = '{organization}'")).await;
    rows.end_leases().await;
    controller.restart().await;
    let api = operator(&controller).await;
    rename(&api, "acme", "Waits").await;
    // Of the other organizations, those whose ids come after that one, too.
    rename(&api, "second", "Goes on").await;
    chained(&rows, other, 2).await;
    let name = format!("org_{}", organization.simple());
    let said = wait_for("the alarm", Duration::from_secs(15) * SLACK, async || {
        let jobs = api.platform().list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs;
        let job = jobs.into_iter().find(|job| job.name == "core.seal_audit").unwrap();
        Some(job.last_error).filter(|error| error.contains(&name))
    })
    .await;
    assert!(said.contains("audit repair") && !said.contains(&other.simple().to_string()), "{said}");
    assert_eq!(rows.audit_chain_of(organization).await.1, newest);

    let refused = repair(&controller, "platform", "x");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("nothing is wrong with the chain platform"), "{text}");
    let refused = repair(&controller, &name, "");
    assert!(!refused.status.success(), "{refused:?}");
    let noted = repair(&controller, &name, "a restored backup");
    let text = String::from_utf8_lossy(&noted.stdout).into_owned();
    assert!(noted.status.success() && text.contains("has a wrong signature"), "{noted:?}");
    let place = newest + 1;
    assert!(text.ends_with(&format!("the chain {name} goes on behind its note at row {place}\n")), "{text}");
    // The row that waited, and the one of the note.
    chained(&rows, organization, place + 2).await;
    let text = is_whole(&controller, None);
    assert!(
        text.contains(&format!("NOTED: the chain {name} was broken before row {place}; Ada noted it at ")),
        "{text}"
    );
    assert!(text.contains("a restored backup\n"), "{text}");
    let chains: Vec<Uuid> =
        rows.audited_in("note_audit_break").await.into_iter().map(|(chain, _)| chain).collect();
    assert!(chains.contains(&organization) && chains.contains(&Uuid::nil()), "{chains:?}");
    api.assert_consistent(0).await;

    // What comes after the note is checked, and what the note says.
    let change = |seq: i64| {
        format!("UPDATE audit_log SET actor = actor || 'x' WHERE chain = '{organization}' AND seq = {seq}")
    };
    rows.falsify(&change(newest)).await;
    let text = is_whole(&controller, None);
    assert!(text.contains(&format!("NOTED: {name}: row {newest} was changed")), "{text}");
    rows.falsify(&change(place + 1)).await;
    is_broken(&controller, None, &format!("{name}: row {} was changed", place + 1));
    rows.falsify("UPDATE audit_repairs SET why = 'nothing'").await;
    is_broken(
        &controller,
        None,
        &format!("{name}: the note of a break at row {place} has a wrong signature"),
    );
}

#[tokio::test]
async fn rows_that_somebody_made_old_are_not_cut() {
    let (mut controller, rows, organization) = with_chains().await;
    let older = "UPDATE audit_log SET at = at - interval '400 days' WHERE seq <= 3";
    rows.falsify(&format!("{older} AND chain = '{organization}'")).await;
    rows.end_leases().await;
    controller.restart().await;
    let name = format!("org_{}", organization.simple());
    let says = format!("{name} (row 1 was changed: it may not be as old as it says)");
    controller.process.wait_for_log(&says, Duration::from_secs(15) * SLACK);
    assert_eq!(rows.audit_chain_of(organization).await.0, 1);
    is_broken(&controller, None, &format!("{name}: row 1 was changed"));
}

/// Waits until so many decisions are recorded, and a run of the job after that would have cut.
async fn decided(rows: &Rows, decisions: usize) {
    wait_for("the decision", Duration::from_secs(15) * SLACK, async || {
        (rows.audited("keep_audit_rows").await.len() == decisions).then_some(())
    })
    .await;
    wait_for("the end of that run", Duration::from_secs(15) * SLACK, async || {
        rows.newest_replica_has_run("core.prune").await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_retention_that_was_shortened_is_on_record_and_holds_after_a_week_only() {
    let mut controller = Controller::start().await;
    controller.operator().await;
    let rows = controller.database.rows().await;
    let chain = rows.organization_id("acme").await;
    rows.begin_audit_chain_long_ago(chain, 20, 30).await;
    chained(&rows, chain, 21).await;
    let restart = async |controller: &mut Controller| {
        controller.process.kill();
        rows.end_leases().await;
        controller.restart().await;
    };
    restart(&mut controller).await;
    decided(&rows, 1).await;
    // As whoever has the controller's role can.
    rows.falsify(
        "UPDATE plans SET log_days = 1; DELETE FROM entitlement_overrides WHERE entitlement = 'LOG_DAYS'",
    )
    .await;
    restart(&mut controller).await;
    decided(&rows, 2).await;
    let decisions = rows.audited("keep_audit_rows").await;
    assert!(decisions[1].outcome.starts_with("KEPT 86400 s, plan "), "{decisions:?}");
    assert_eq!(decisions[1].target, format!("org_{}", chain.simple()));
    assert_eq!(rows.audit_chain_of(chain).await.0, 1, "nothing is cut");
    is_whole(&controller, None);

    // Who owns the tables makes the decision older than it is. The rows are cut, and that is found.
    rows.falsify("UPDATE audit_retentions SET at = at - interval '8 days'").await;
    restart(&mut controller).await;
    wait_for("the cut", Duration::from_secs(15) * SLACK, async || {
        (rows.audit_chain_of(chain).await.0 > 1).then_some(())
    })
    .await;
    let name = format!("org_{}", chain.simple());
    is_broken(&controller, None, &format!("{name}: rows up to 20 were cut at "));
}
