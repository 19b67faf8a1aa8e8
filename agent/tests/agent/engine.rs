//! A Docker Engine that falls silent or goes away must not take the session with the controller along.

use std::time::{Duration, Instant};

use crate::support::Fleet;
use crate::support::engine_proxy::EngineProxy;
use supalove_proto::node::v1::{InventoryRequest, WatchStateRequest};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_without_an_engine_is_unavailable_in_time_and_the_session_stays() {
    let mut fleet = Fleet::start(5).await;
    let socket = fleet.state.path().join("engine.sock");
    let engine = EngineProxy::start(&socket);
    fleet.run_agent_with(&["--docker-host", &format!("unix://{}", socket.display())]);
    let mut session = fleet.session().await;
    let mut client = session.client.clone();
    let call = || session.call(InventoryRequest {});
    client.inventory(call()).await.unwrap();

    engine.set_silent(true);
    let asked = Instant::now();
    let silent = client.inventory(call()).await.unwrap_err();
    assert_eq!(silent.code(), Code::Unavailable, "{silent}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(silent.message().contains("Docker Engine"), "{silent}");
    engine.set_silent(false);
    client.inventory(call()).await.unwrap();

    engine.end().await;
    let asked = Instant::now();
    let gone = client.inventory(call()).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unavailable, "{gone}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let watch = session.call(WatchStateRequest {});
    session.client.watch_state(watch).await.expect("the session goes on");
}
