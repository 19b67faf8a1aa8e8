//! A host that was off until long after its certificate expired recovers without help, and nobody else can use its name.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use supalove_certs::{NodeIdentity, NodeKey};
use supalove_core::{
    ids::NodeId,
    vault::{Scope, Vault},
};
use supalove_fleet::certificates::Nonces;
use supalove_proto::v1::RevokeNodeRequest;
use supalove_system_tests::{Agent, Controller, Holder, SLACK, authorities, wait_for};
use tonic_types::StatusExt as _;

fn reason<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> String {
    let status = answer.unwrap_err();
    status.get_details_error_info().map_or_else(|| format!("{status:?}"), |info| info.reason)
}

/// The identity file with a certificate as it was issued so many days ago.
async fn aged(controller: &Controller, agent: &Agent, days: i64) -> serde_json::Value {
    let mut identity = agent.identity();
    let held = Holder::from_identity(&identity);
    let cluster = identity["cluster_id"].as_str().unwrap().strip_prefix("clu_").unwrap().parse().unwrap();
    let who = NodeIdentity { cluster_id: cluster, node_id: held.uuid() };
    let authority = authorities(controller).await.remove(0);
    let issued = authority.sign_node(&held.csr_pem(), &who, Utc::now() - TimeDelta::days(days)).unwrap();
    identity["certificate_pem"] = issued.cert_pem.into();
    identity["expire_time"] = issued.not_after.to_rfc3339().into();
    identity
}

#[tokio::test]
async fn a_host_that_was_off_for_three_months_comes_back_without_a_token() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let rows = controller.database.rows().await;
    let before = rows.session_epoch().await;

    agent.process.kill();
    let old = aged(&controller, &agent, 120).await;
    agent.set_identity(&old);
    agent.restart();
    wait_for("a session of the recovered node", Duration::from_secs(10) * SLACK, async || {
        (rows.greeted_epoch().await > before && agent.status()["session"]["state"] == "connected")
            .then_some(())
    })
    .await;
    let now = agent.identity();
    assert_ne!(now["certificate_pem"], old["certificate_pem"]);
    assert_eq!((&now["node_id"], &now["key_pem"]), (&old["node_id"], &old["key_pem"]));
    assert_eq!(rows.join_token_uses().await, [1], "no token was used for it");
    assert!(rows.done("Recover").await >= 1);
    api.assert_consistent(1).await;
}

#[tokio::test]
async fn a_recovery_is_proven_once_by_the_enrolled_key_on_any_replica() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let replica = controller.replica().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    agent.process.kill();
    let node = Holder::from_identity(&agent.identity());
    let here = &controller.node_address;
    let there = &replica.node_address;

    // Asked here, used there, and used up on both.
    let proof = node.proof(&node.nonce(here).await);
    let answer = node.recover(there, proof.clone()).await.unwrap().certificate.unwrap();
    assert_eq!(answer.trusted_ca_pem.len(), 1);
    for address in [here, there] {
        assert_eq!(reason(node.recover(address, proof.clone()).await), "NONCE_INVALID");
    }
    // A nonce that nobody made, one of another node, one that has ended.
    let other = Holder { node_id: NodeId::generate().to_string(), ..node.clone() };
    for nonce in [vec![0; 56], Vec::new(), other.nonce(here).await, ended_nonce(&controller, &node).await] {
        assert_eq!(reason(node.recover(here, node.proof(&nonce)).await), "NONCE_INVALID");
    }
    // Another key, signed by itself; and the right key under another's signature.
    let thief = Holder { key_pem: NodeKey::generate().unwrap().to_pem().to_string(), ..node.clone() };
    assert_eq!(reason(thief.recover(here, thief.proof(&thief.nonce(here).await)).await), "KEY_MISMATCH");
    let mut forged = node.proof(&node.nonce(here).await);
    forged.signature = thief.proof(&forged.nonce).signature;
    assert_eq!(reason(node.recover(here, forged).await), "SIGNATURE_INVALID");
    // A node that never was, proven with a key of its own.
    assert_eq!(reason(other.recover(here, other.proof(&other.nonce(here).await)).await), "NODE_UNKNOWN");
    // A nonce that was not used up by a refusal still works; after a revocation none does.
    let last = node.proof(&node.nonce(there).await);
    api.clusters().revoke_node(RevokeNodeRequest { node_id: node.node_id.clone() }).await.unwrap();
    assert_eq!(reason(node.recover(there, last).await), "NODE_REVOKED");
    assert_eq!(reason(node.renew(there).await), "NODE_REVOKED");
}

/// A nonce of this fleet for this node whose minute is over.
async fn ended_nonce(controller: &Controller, node: &Holder) -> Vec<u8> {
    let vault = Vault::from_file(&controller.dir.path().join("master.key")).unwrap();
    let sealed = controller.database.rows().await.platform_secret("recovery-nonce-key").await.unwrap();
    let scope = Scope { kind: "platform", id: "", name: "recovery-nonce-key", version: 1 };
    let key = vault.open(scope, &sealed).unwrap();
    Nonces::new(&key).make(NodeId(node.uuid()), Utc::now() - TimeDelta::seconds(1)).unwrap()
}
