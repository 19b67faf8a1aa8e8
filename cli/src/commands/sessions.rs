//! `sessions list | end`: the caller's sign-ins.

use clap::{Args, Subcommand};
use supalove_proto::v1::{
    EndOtherSessionsRequest, EndSessionRequest, ListSessionsRequest, ListSessionsResponse, Session,
    auth_service_client::AuthServiceClient,
};

use super::{Context, resolve};
use crate::{error::Error, table};

/// The commands about the caller's sessions.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// List your sessions, newest first.
    #[command(visible_alias = "ls")]
    List,
    /// End one of your sessions, or all others.
    #[command(visible_alias = "rm")]
    End(End),
}

/// Arguments of `sessions end`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct End {
    /// Its id, or the beginning of it.
    session: Option<String>,
    /// All sessions but this one.
    #[arg(long)]
    others: bool,
}

pub async fn run(context: &Context, command: Sessions) -> Result<(), Error> {
    match command {
        Sessions::List => list(context).await,
        Sessions::End(End { session: Some(session), .. }) => end(context, &session).await,
        Sessions::End(End { session: None, .. }) => end_others(context).await,
    }
}

/// Returns the caller's sessions.
pub async fn all(context: &Context) -> Result<ListSessionsResponse, Error> {
    context
        .client
        .call(ListSessionsRequest {}, |channel, request| async move {
            AuthServiceClient::new(channel).list_sessions(request).await
        })
        .await
}

async fn list(context: &Context) -> Result<(), Error> {
    let all = all(context).await?;
    context.output.answer("ListSessionsResponse", &all, |all| {
        let rows = all.sessions.iter().map(row).collect();
        table::rows(["ID", "SIGNED IN", "LAST USED", "ENDS", "FROM", "PROGRAM"], rows, "no sessions")
    })
}

fn row(session: &Session) -> [String; 6] {
    let current = if session.current { " (this one)" } else { "" };
    [
        format!("{}{current}", session.id),
        table::time(session.create_time.as_ref()),
        table::time(session.refresh_time.as_ref()),
        table::time(session.expire_time.as_ref()),
        session.client_address.clone(),
        session.user_agent.clone(),
    ]
}

async fn end(context: &Context, given: &str) -> Result<(), Error> {
    let session_id = resolve::session(context, given).await?;
    let request = EndSessionRequest { session_id: session_id.clone() };
    let answer = context
        .client
        .call_once(request, |channel, request| async move {
            AuthServiceClient::new(channel).end_session(request).await
        })
        .await?;
    context.output.answer("EndSessionResponse", &answer, |_| format!("{session_id} has ended"))
}

async fn end_others(context: &Context) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(EndOtherSessionsRequest {}, |channel, request| async move {
            AuthServiceClient::new(channel).end_other_sessions(request).await
        })
        .await?;
    context.output.answer("EndOtherSessionsResponse", &answer, |answer| ended(answer.sessions_ended))
}

/// Says how many other sessions have ended.
pub fn ended(sessions: u32) -> String {
    match sessions {
        0 => "there were no other sessions".to_owned(),
        1 => "1 other session has ended".to_owned(),
        several => format!("{several} other sessions have ended"),
    }
}
