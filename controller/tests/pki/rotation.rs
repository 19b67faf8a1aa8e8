//! The operator replaces the fleet's CA at run time: connected nodes keep their sessions, nodes that were off recover
//! without help or log what to do.

use std::time::Duration;

use supalove_certs::TrustBundle;
use supalove_core::vault::{Scope, Vault};
use supalove_proto::v1::{
    ActivateAuthorityRequest, Authority, AuthorityState, CreateAuthorityRequest, ListAuthoritiesRequest,
    RetireAuthorityRequest,
};
use supalove_system_tests::{Agent, Api, Controller, Holder, SLACK, authorities, join, shows, wait_for};
use tonic::Code;
use tonic_types::StatusExt as _;

const SOON: Duration = Duration::from_secs(10);

async fn roots(api: &Api) -> Vec<Authority> {
    api.authorities().list_authorities(ListAuthoritiesRequest {}).await.unwrap().into_inner().authorities
}

async fn retire(api: &Api, authority_id: &str, force: bool) -> Result<Authority, tonic::Status> {
    let request = RetireAuthorityRequest { authority_id: authority_id.into(), force };
    Ok(api.authorities().retire_authority(request).await?.into_inner().authority.unwrap())
}

/// Waits until every replica surely knows the next root.
async fn activate(api: &Api, authority_id: &str) -> Authority {
    wait_for("the next root to be settled", SOON * SLACK, async || {
        let request = ActivateAuthorityRequest { authority_id: authority_id.into() };
        match api.authorities().activate_authority(request).await {
            Ok(answer) => Some(answer.into_inner().authority.unwrap()),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                None
            }
        }
    })
    .await
}

async fn connected(agent: &Agent) {
    wait_for("a session", SOON * SLACK, async || {
        (agent.status()["session"]["state"] == "connected").then_some(())
    })
    .await;
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn the_fleet_gets_a_new_ca_without_losing_a_node() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let replica = controller.replica().await;
    let first = roots(&api).await.remove(0);
    assert_eq!(first.state(), AuthorityState::Signing);
    let early_token = api.join_token().await;
    let late_token = api.join_token().await;
    let steady = Agent::start(&controller, &api.join_token().await);
    // Off from before the next root was made; off since it was made, but before it signed.
    let mut stranger = Agent::start(&controller, &api.join_token().await);
    let mut absent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(3).await;
    stranger.process.kill();
    let rows = controller.database.rows().await;
    let steady_epoch =
        async || -> i64 { rows.greeted_epoch_of(Holder::from_identity(&steady.identity()).uuid()).await };
    let epoch = steady_epoch().await;

    let next = api.authorities().create_authority(CreateAuthorityRequest {}).await.unwrap().into_inner();
    let next = next.authority.unwrap();
    assert_eq!(next.state(), AuthorityState::Next);
    let second = api.authorities().create_authority(CreateAuthorityRequest {}).await.unwrap_err();
    assert_eq!(reason(&second), "ROTATION_UNDER_WAY");
    wait_for("connected nodes to trust the next root", SOON * SLACK, async || {
        (roots(&api).await[0].nodes_trusting == 2).then_some(())
    })
    .await;
    absent.process.kill();

    assert_eq!(activate(&api, &next.id).await.state(), AuthorityState::Signing);
    // By itself, in the same session.
    wait_for("a certificate of the new root", SOON * SLACK, async || {
        (roots(&api).await[0].nodes_certified == 1).then_some(())
    })
    .await;
    assert_eq!(steady_epoch().await, epoch, "the session went on");
    let new = authorities(&controller).await.remove(0);
    assert_eq!(new.fingerprint().to_string(), next.ca_sha256);
    // Tokens of both roots work, on both replicas, and each is shown what it pins.
    for (address, token) in
        [(&replica.node_address, early_token), (&controller.node_address, api.join_token().await)]
    {
        assert_eq!(token.contains(&first.ca_sha256), address == &replica.node_address);
        let dir = tempfile::tempdir().unwrap();
        let name = format!("late-{}", &token[5..15]);
        let joined = join(dir.path(), address, &token, &name, &[]);
        assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    }
    for root in authorities(&controller).await {
        assert!(shows(&replica.node_address, &root.fingerprint()).await);
    }

    // Not while nodes need it, unless the operator insists.
    let refused = retire(&api, &first.id, false).await.unwrap_err();
    assert_eq!(reason(&refused), "AUTHORITY_IN_USE");
    let needed = roots(&api).await.into_iter().find(|root| root.id == first.id).unwrap().needed_by;
    assert_eq!(needed.len(), 2, "{needed:?}");
    assert_eq!(reason(&retire(&api, &next.id, true).await.unwrap_err()), "WRONG_STATE");
    assert_eq!(retire(&api, &first.id, true).await.unwrap().state(), AuthorityState::Retired);
    // The session that the old root vouched for ends, and the node is back with its new certificate.
    wait_for("another session of the connected node", SOON * SLACK, async || {
        (steady_epoch().await > epoch).then_some(())
    })
    .await;
    connected(&steady).await;
    let dir = tempfile::tempdir().unwrap();
    let refused = join(dir.path(), &controller.node_address, &late_token, "too-late", &[]);
    assert_eq!(refused.status.code(), Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
    let old = first.ca_sha256.parse().unwrap();
    wait_for("the other replica to drop the old root", SOON * SLACK, async || {
        (!shows(&replica.node_address, &old).await).then_some(())
    })
    .await;

    // It knew the new root: it comes back by itself.
    let id = absent.identity()["node_id"].clone();
    absent.restart();
    connected(&absent).await;
    assert_eq!(absent.identity()["node_id"], id);
    // It did not: it says what to do, and that works.
    stranger.restart();
    wait_for("the advice", SOON * SLACK, async || {
        stranger.process.log().contains("supalove-agent recover --ca").then_some(())
    })
    .await;
    let running = stranger.recover(&["--ca", &next.ca_sha256]);
    assert!(String::from_utf8_lossy(&running.stderr).contains("stop it first"));
    stranger.process.kill();
    let without = stranger.recover(&[]);
    assert!(!without.status.success());
    let recovered = stranger.recover(&["--ca", &next.ca_sha256]);
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    stranger.restart();
    connected(&stranger).await;
    api.assert_consistent(3).await;
}

#[tokio::test]
async fn a_renewal_anywhere_knows_the_roots_of_now() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let replica = controller.replica().await;
    let agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let node = Holder::from_identity(&agent.identity());
    // At once after each act, on the replica that it was not done on.
    let renewed = async || node.renew(&replica.node_address).await.unwrap().certificate.unwrap();

    let next = api.authorities().create_authority(CreateAuthorityRequest {}).await.unwrap().into_inner();
    let next = next.authority.unwrap();
    assert_eq!(renewed().await.trusted_ca_pem.len(), 2);
    activate(&api, &next.id).await;
    let answer = renewed().await;
    let trusted = TrustBundle::from_pem(&answer.trusted_ca_pem.concat()).unwrap();
    let issuer = trusted.issuer_of_pem(&answer.certificate_pem).unwrap().unwrap();
    assert_eq!(issuer.to_string(), next.ca_sha256);
}

#[tokio::test]
async fn roots_that_a_node_could_not_store_are_told_until_it_has() {
    let controller = Controller::start().await;
    let api = controller.operator().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    // A directory in the place of the file that is written first.
    let obstacle = agent.state.path().join("identity.json.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    let refusals = || controller.process.log().matches("agent did not confirm the fleet's roots").count();

    api.authorities().create_authority(CreateAuthorityRequest {}).await.unwrap();
    wait_for("a repeated SetTrust", SOON * SLACK, async || (refusals() >= 2).then_some(())).await;
    assert_eq!(roots(&api).await[0].nodes_trusting, 0);
    // A new session: what its Hello answers is not enough either.
    agent.process.kill();
    let before = refusals();
    agent.restart();
    wait_for("a SetTrust after Hello", SOON * SLACK, async || (refusals() > before).then_some(())).await;
    assert_eq!(roots(&api).await[0].nodes_trusting, 0);

    std::fs::remove_dir(&obstacle).unwrap();
    wait_for("the node to trust the next root", SOON * SLACK, async || {
        (roots(&api).await[0].nodes_trusting == 1).then_some(())
    })
    .await;
}

/// Installations from before there could be several roots have theirs among the platform's secrets.
#[tokio::test]
async fn an_older_installation_keeps_its_root_and_its_nodes() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let before = roots(&api).await;
    controller.process.kill();
    let root = authorities(&controller).await.remove(0);
    let secret = [root.cert_pem().as_bytes(), b"\0", root.key_pem().as_bytes()].concat();
    let vault = Vault::from_file(&controller.dir.path().join("master.key")).unwrap();
    let scope = Scope { kind: "platform", id: "", name: "fleet-ca", version: 1 };
    let rows = controller.database.rows().await;
    rows.keep_root_as_secret(vault.seal(scope, &secret).unwrap()).await;

    controller.restart().await;
    let after = roots(&api).await;
    assert_eq!(after.len(), 1);
    assert_eq!((&after[0].ca_sha256, after[0].nodes_certified), (&before[0].ca_sha256, 1));
    connected(&agent).await;
    wait_for("the node to say what it trusts", SOON * SLACK, async || {
        (roots(&api).await[0].nodes_trusting == 1).then_some(())
    })
    .await;
    assert_eq!(rows.platform_secret("fleet-ca").await, None, "the key is in one place");
}

/// Whoever has a controller with its database replaces the root, and the hosts believe it: they cannot tell a thief from an
/// operator. What ends the theft is the database of before, and an act on each host.
#[tokio::test]
async fn a_stolen_controller_gets_the_hosts_and_an_act_on_each_host_gets_them_back() {
    let mut controller = Controller::start().await;
    let api = controller.operator().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let first = roots(&api).await.remove(0);
    let dump = controller.dir.path().join("before.dump");
    controller.database.dump(&dump);
    let trusted = |agent: &Agent| {
        let bundle = TrustBundle::from_pem(agent.identity()["ca_pem"].as_str().unwrap()).unwrap();
        bundle.fingerprints().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(trusted(&agent), [first.ca_sha256.as_str()]);

    let made = api.authorities().create_authority(CreateAuthorityRequest {}).await.unwrap().into_inner();
    let thiefs = activate(&api, &made.authority.unwrap().id).await;
    retire(&api, &first.id, true).await.unwrap();
    wait_for("the host to trust the thief's root only", SOON * SLACK, async || {
        (trusted(&agent) == [thiefs.ca_sha256.as_str()]).then_some(())
    })
    .await;

    controller.process.kill();
    controller.database.restore(&dump);
    controller.restart().await;
    assert_eq!(roots(&api).await.remove(0).ca_sha256, first.ca_sha256);
    wait_for("the advice", SOON * SLACK, async || {
        agent.process.log().contains("supalove-agent recover --ca").then_some(())
    })
    .await;
    assert_ne!(agent.status()["session"]["state"], "connected", "it believes the thief's root only");
    agent.process.kill();
    let recovered = agent.recover(&["--ca", &first.ca_sha256]);
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    assert_eq!(trusted(&agent), [first.ca_sha256.as_str()]);
    agent.restart();
    connected(&agent).await;
}
