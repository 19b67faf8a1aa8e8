//! Prints the last lines of a project's database and what it goes on to print, until Ctrl-C. For a developer, an administrator or an
//! owner; the variables are those of the README, and `SUPALOVE_PROJECT`, a project's ref.

use std::{env::var, error::Error};

use supalove_sdk::{
    Client,
    v1::{TailLogsRequest, tail_logs_response::Item},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(&var("SUPALOVE_API")?)?;
    client.sign_in(&var("SUPALOVE_EMAIL")?, &var("SUPALOVE_PASSWORD")?).await?;
    let request = TailLogsRequest {
        project_ref: var("SUPALOVE_PROJECT")?,
        services: vec!["postgres".into()],
        tail: Some(20),
        follow: true,
        ..Default::default()
    };
    // It ends with an error when the node goes away: go on with `after`, the last line of each output that was seen.
    let mut messages = client.projects().tail_logs(request).await?.into_inner();
    while let Some(message) = messages.message().await? {
        match message.item {
            Some(Item::Line(line)) => println!("{} {}", line.service, line.text),
            Some(Item::Note(note)) => println!("({}: {})", note.service, note.message),
            Some(Item::KeepAlive(_)) | None => {}
        }
    }
    Ok(())
}
