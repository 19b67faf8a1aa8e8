//! `audit verify` finds each kind of tampering with the audit log, in the chain of an organization as in the platform's, and
//! verifies what a controller before there were chains has left.

use std::time::Duration;

use supalove_proto::v1::UpdateMeRequest;
use supalove_system_tests::{Controller, Rows, SLACK, wait_for};
use uuid::Uuid;

use super::audit::{is_broken, is_whole};

/// A controller with rows in the chains of two organizations, and in the platform's, all chained and signed.
pub async fn with_chains() -> (Controller, Rows, Uuid) {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    for number in 0..6 {
        api.create(&format!("p{number}"), "").await;
        let rename = UpdateMeRequest { display_name: "Ada".into(), ..Default::default() };
        api.auth().update_me(rename).await.unwrap();
    }
    api.create_organization("second").await;
    let chain = rows.organization_id("acme").await;
    chained(&rows, chain, 7).await;
    chained(&rows, rows.organization_id("second").await, 1).await;
    chained(&rows, Uuid::nil(), 6).await;
    // Without a controller nothing signs anew what the test takes away.
    controller.process.kill();
    (controller, rows, chain)
}

/// Waits until a chain has so many rows, all of them chained.
pub async fn chained(rows: &Rows, chain: Uuid, least: i64) {
    wait_for("the rows to be chained", Duration::from_secs(10) * SLACK, async || {
        let (_, newest, waiting) = rows.audit_chain_of(chain).await;
        (newest >= least && waiting == 0).then_some(())
    })
    .await;
}

/// Tampers in a transaction, checks what is found, and takes it back.
pub struct Tampering<'a> {
    pub controller: &'a Controller,
    pub rows: &'a Rows,
}

impl Tampering<'_> {
    pub async fn is_found(&self, what: &str, statements: &str, found: &[&str]) {
        let copy = "CREATE TABLE kept_log AS TABLE audit_log; CREATE TABLE kept_chains AS TABLE audit_chains;
            CREATE TABLE kept_checkpoints AS TABLE audit_checkpoints; CREATE TABLE kept_digests AS TABLE audit_digests";
        self.rows.falsify(copy).await;
        self.rows.falsify(statements).await;
        for found in found {
            println!("{what}: {found}");
            is_broken(self.controller, None, found);
        }
        let back = "DELETE FROM audit_log; DELETE FROM audit_chains; DELETE FROM audit_checkpoints; DELETE FROM audit_digests;
            INSERT INTO audit_log TABLE kept_log; INSERT INTO audit_chains TABLE kept_chains;
            INSERT INTO audit_checkpoints TABLE kept_checkpoints; INSERT INTO audit_digests TABLE kept_digests;
            DROP TABLE kept_log, kept_chains, kept_checkpoints, kept_digests";
        self.rows.falsify(back).await;
        is_whole(self.controller, None);
    }
}

#[tokio::test]
async fn each_kind_of_tampering_with_a_chain_is_found() {
    let (controller, rows, organization) = with_chains().await;
    let text = is_whole(&controller, None);
    assert!(text.contains("2 organizations: "), "{text}");
    let tampering = Tampering { controller: &controller, rows: &rows };
    for (chain, name) in
        [(organization, format!("org_{}: ", organization.simple())), (Uuid::nil(), String::new())]
    {
        let here = format!("chain = '{chain}'");
        let newest = rows.audit_chain_of(chain).await.1;
        let changed = |what: &str| format!("{name}row 3 {what}");
        for column in ["actor", "method", "target", "outcome", "client", "trace_id"] {
            let change = format!("UPDATE audit_log SET {column} = {column} || 'x' WHERE {here} AND seq = 3");
            tampering.is_found("changed", &change, &[&changed("was changed")]).await;
        }
        for change in [
            // Which act is the third depends on when the jobs run.
            "credential = CASE credential WHEN 'SYSTEM' THEN 'SESSION' ELSE 'SYSTEM' END",
            "credential = CASE WHEN credential IS NULL THEN 'SYSTEM' END",
            "at = at + interval '1 microsecond'",
            "id = gen_random_uuid()",
        ] {
            let change = format!("UPDATE audit_log SET {change} WHERE {here} AND seq = 3");
            tampering.is_found("changed", &change, &[&changed("was changed")]).await;
        }
        tampering
            .is_found(
                "missing in the middle",
                &format!("DELETE FROM audit_log WHERE {here} AND seq = 3"),
                &[&changed("is expected, a gap")],
            )
            .await;
        // The rows behind it have moved up.
        tampering
            .is_found(
                "missing in the middle",
                &format!(
                    "DELETE FROM audit_log WHERE {here} AND seq = 3;
                     UPDATE audit_log SET seq = -seq WHERE {here} AND seq > 3; UPDATE audit_log SET seq = -seq - 1 WHERE {here} AND seq < 0"
                ),
                &[&changed("was changed")],
            )
            .await;
        tampering
            .is_found(
                "missing at the end",
                &format!("DELETE FROM audit_log WHERE {here} AND seq = {newest}"),
                &[&format!("{name}row {newest}, of which the chain's head tells, is missing")],
            )
            .await;
        tampering
            .is_found(
                "reordered",
                &format!(
                    "UPDATE audit_log SET seq = -seq WHERE {here} AND seq IN (3, 4);
                     UPDATE audit_log SET seq = 7 + seq WHERE {here} AND seq < 0"
                ),
                &[&changed("was changed")],
            )
            .await;
        // The end is taken away, and the head moved back to what is left.
        tampering
            .is_found(
                "forged head",
                &format!(
                    "DELETE FROM audit_log WHERE {here} AND seq = {newest};
                     UPDATE audit_chains c SET seq = l.seq, chain_hash = l.chain_hash FROM audit_log l
                     WHERE c.{here} AND l.{here} AND l.seq = {newest} - 1"
                ),
                &[&format!(
                    "the head of the chain {}, row {}, has a wrong signature",
                    name.strip_suffix(": ").unwrap_or("platform"),
                    newest - 1
                )],
            )
            .await;
        tampering
            .is_found(
                "forged checkpoint",
                &format!(
                    "DELETE FROM audit_log WHERE {here} AND seq <= 3;
                     INSERT INTO audit_checkpoints (chain, cut, seq, chain_hash, at, signature)
                     VALUES ('{chain}', true, 3, '', now(), '')"
                ),
                &[
                    &format!("{name}the checkpoint of row 3 has a wrong signature"),
                    &format!("{name}row 1 is expected, the log begins with row 4"),
                ],
            )
            .await;
        // Hashes are no secret: who may write can compute the one of a row more.
        tampering
            .is_found(
                "added",
                &format!(
                    "INSERT INTO audit_log (id, actor, method, target, outcome, client, trace_id, chain, seq, chain_hash)
                     SELECT gen_random_uuid(), 'x', 'x', '', 'OK', '', '', '{chain}', {newest} + 1, sha256('x')"
                ),
                &[&format!("{name}rows up to {} are chained, the chain's head is row {newest}", newest + 1)],
            )
            .await;
        tampering
            .is_found(
                "not chained",
                &format!(
                    "INSERT INTO audit_log (id, at, actor, method, target, outcome, client, trace_id, chain)
                     VALUES (gen_random_uuid(), now() - interval '11 seconds', 'x', 'x', '', 'OK', '', '', '{chain}')"
                ),
                &["1 rows wait to be chained for more than 10 s"],
            )
            .await;
        tampering
            .is_found(
                "without a head",
                &format!("DELETE FROM audit_chains WHERE {here}"),
                &[&format!("{name}the chain has no signed head")],
            )
            .await;
    }
    let here = format!("chain = '{organization}'");
    tampering
        .is_found(
            "moved to another chain",
            &format!("UPDATE audit_log SET chain = '{}', seq = 100 WHERE {here} AND seq = 3", Uuid::nil()),
            &[
                &format!("org_{}: row 3 is expected, a gap", organization.simple()),
                "rows up to 100 are chained",
            ],
        )
        .await;
    tampering
        .is_found(
            "a whole chain",
            &format!(
                "DELETE FROM audit_log WHERE {here}; DELETE FROM audit_checkpoints WHERE {here}; DELETE FROM audit_chains WHERE {here}"
            ),
            &["chain number 2 is expected, the next is 3"],
        )
        .await;
    let last = rows.organization_id("second").await;
    let here = format!("chain = '{last}'");
    tampering
        .is_found(
            "the last chain",
            &format!(
                "DELETE FROM audit_log WHERE {here}; DELETE FROM audit_checkpoints WHERE {here}; DELETE FROM audit_chains WHERE {here}"
            ),
            &["there are chains up to number 2, the platform's head counts 3"],
        )
        .await;
}

#[tokio::test]
async fn nothing_is_chained_behind_a_forged_or_missing_head() {
    let (mut controller, rows, organization) = with_chains().await;
    let forge = format!("UPDATE audit_chains SET seq = seq - 1 WHERE chain = '{organization}'");
    rows.falsify(&forge).await;
    rows.end_leases().await;
    controller.restart().await;
    let mut api = controller.api();
    api.sign_in(supalove_system_tests::EMAIL).await;
    let before = rows.audit_chain_of(organization).await.1;
    api.create("later", "").await;
    let says = "has a wrong signature: run `supalove-controller audit verify`";
    controller.process.wait_for_log(says, Duration::from_secs(15) * SLACK);
    assert_eq!(rows.audit_chain_of(organization).await.1, before);
    // Other chains go on.
    chained(&rows, Uuid::nil(), 7).await;
}

#[tokio::test]
async fn the_one_chain_of_before_goes_on_as_the_platforms() {
    const OLD: i32 = 50;
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let rows = controller.database.rows().await;
    controller.process.kill();
    rows.audit_log_of_one_chain(OLD).await;
    is_broken(&controller, None, "the chain has no signed head; a controller of this version writes it");
    rows.end_leases().await;
    controller.restart().await;
    api.create("new", "").await;
    let rename = UpdateMeRequest { display_name: "Ada".into(), ..Default::default() };
    api.auth().update_me(rename).await.unwrap();
    chained(&rows, Uuid::nil(), i64::from(OLD) + 1).await;
    chained(&rows, rows.organization_id("acme").await, 1).await;
    let text = is_whole(&controller, None);
    assert!(text.starts_with("rows 1 to ") && text.contains("1 organizations: 1 rows"), "{text}");
    rows.falsify("UPDATE audit_log SET outcome = 'Refused' WHERE credential IS NULL AND seq = 7").await;
    is_broken(&controller, None, "row 7 was changed");
    rows.falsify("UPDATE audit_log SET outcome = 'OK', credential = 'SESSION' WHERE seq = 7").await;
    is_broken(&controller, None, "row 7 was changed");
}
