//! Shows from where an account is signed in, ends a session, and makes a token for a program that may read for an hour. The
//! variables are those of the README.

use std::{env::var, error::Error};

use supalove_sdk::{
    Client, Tokens, prost_types,
    v1::{
        CreatePersonalAccessTokenRequest, EndSessionRequest, GetMeRequest, ListSessionsRequest,
        PersonalAccessTokenScope, RevokePersonalAccessTokenRequest, SignInRequest,
    },
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (api, email, password) = (var("SUPALOVE_API")?, var("SUPALOVE_EMAIL")?, var("SUPALOVE_PASSWORD")?);
    let client = Client::connect(&api)?;
    client.sign_in(&email, &password).await?;

    // Another session, as of a lost laptop. A session that is ended ends at once.
    client.auth().sign_in(SignInRequest { email, password, ..Default::default() }).await?;
    let sessions = client.auth().list_sessions(ListSessionsRequest {}).await?.into_inner().sessions;
    for session in &sessions {
        let here = if session.current { ", this one" } else { "" };
        println!("signed in from {}{here}", session.client_address);
    }
    let newest = sessions.iter().filter(|session| !session.current).max_by_key(|session| &session.id);
    let session_id = newest.ok_or("there is no other session")?.id.clone();
    client.auth().end_session(EndSessionRequest { session_id }).await?;
    println!("ended a session");

    // The token is shown this once.
    let request = CreatePersonalAccessTokenRequest {
        name: "reports, in Rust".into(),
        scopes: vec![PersonalAccessTokenScope::Read.into()],
        ttl: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
    };
    let made = client.personal_access_tokens().create_personal_access_token(request).await?.into_inner();
    let program =
        Client::connect(&api)?.with_tokens(Tokens { access_token: made.token, refresh_token: String::new() });
    let me = program.auth().get_me(GetMeRequest {}).await?.into_inner().user.ok_or("no user")?;
    println!("a token reads as {}", me.email);
    let personal_access_token_id = made.personal_access_token.ok_or("no token")?.id;
    let request = RevokePersonalAccessTokenRequest { personal_access_token_id };
    client.personal_access_tokens().revoke_personal_access_token(request).await?;
    println!("revoked it");
    client.sign_out().await?;
    Ok(())
}
