//! Many sign-ins at once: each costs an Argon2id hash, and nobody else may wait for them. Out: how many are answered, and how fast
//! a signed-in user's GetMe is meanwhile.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use supalove_proto::v1::{GetMeRequest, SignInRequest, auth_service_client::AuthServiceClient};
use tokio::{net::TcpSocket, task::JoinSet};
use tonic::{
    Request,
    transport::{Channel, Endpoint, Uri},
};

use crate::{
    arguments::Arguments,
    controller::Controller,
    database::{add_organizations, add_reader},
    stats::{Samples, ms},
    table::{Aim, Table},
};

/// Callers who sign in without a pause.
const CALLERS: usize = 200;
/// Addresses that they come from: of one address few sign-ins run at once.
const ADDRESSES: usize = 40;

/// Adds the rows.
pub async fn measure(arguments: &Arguments, table: &mut Table) -> Result<()> {
    let lasts = arguments.effort().full_speed;
    let controller = Controller::start(arguments, "sign-ins", &[]).await?;
    let db = controller.pool().await?;
    // Not the user whose calls are measured: many new sessions of a user end the oldest.
    let organization = add_organizations(&db, controller.user, 1).await?.remove(0);
    let email = add_reader(&db, organization.id, controller.user).await?;
    db.close().await;
    let (done, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for number in 0..CALLERS {
        let channel = from(number, controller.public).await?;
        load.spawn(sign_in(channel, controller.api.credentials(email), done.clone(), refused.clone()));
    }
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{}", controller.public))?.connect_lazy();
    let mut user = AuthServiceClient::new(channel);
    let until = Instant::now() + lasts;
    let mut calls = Vec::new();
    while Instant::now() < until {
        let mut request = Request::new(GetMeRequest {});
        let token = controller.api.access_token();
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let began = Instant::now();
        user.get_me(request).await.context("the user's GetMe")?;
        calls.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load.shutdown().await;
    let name = format!("{CALLERS} parallel sign-ins from {ADDRESSES} addresses");
    let rate = |count: &AtomicUsize| -> Result<f64> {
        Ok(f64::from(u32::try_from(count.load(Ordering::Relaxed))?) / lasts.as_secs_f64())
    };
    table.judge(
        format!("{name}: another user's GetMe, p99"),
        ms(Samples::new(calls).percentile(99)),
        "ms",
        Aim::AtMost(1000.0),
    );
    table.note(
        format!("{name}: sessions begun, calls refused as too many"),
        format!("{:.0} /s, {:.0} /s", rate(&done)?, rate(&refused)?),
    );
    controller.end().await
}

/// A connection from one of several addresses of this machine, as from several hosts.
async fn from(number: usize, port: u16) -> Result<Channel> {
    let last = 2 + u8::try_from(number % ADDRESSES)?;
    let connector = tower::service_fn(move |_: Uri| async move {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        std::io::Result::Ok(TokioIo::new(stream))
    });
    Ok(Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect_with_connector(connector).await?)
}

async fn sign_in(
    channel: Channel,
    request: SignInRequest,
    done: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
) {
    let mut client = AuthServiceClient::new(channel);
    loop {
        match client.sign_in(request.clone()).await {
            Ok(_) => done.fetch_add(1, Ordering::Relaxed),
            Err(_) => refused.fetch_add(1, Ordering::Relaxed),
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
