//! Prints who was refused what in an organization, then saves its whole audit log as CSV. For an owner or an administrator; the
//! variables are those of the README.

use std::{env::var, error::Error, fs::File, io::Write as _};

use supalove_sdk::{
    Client,
    v1::{AuditExportFormat, AuditFilter, ExportAuditEventsRequest, ListAuditEventsRequest},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(&var("SUPALOVE_API")?)?;
    client.sign_in(&var("SUPALOVE_EMAIL")?, &var("SUPALOVE_PASSWORD")?).await?;
    let organization = var("SUPALOVE_ORGANIZATION")?;

    let filter = Some(AuditFilter { outcome: "PermissionDenied".into(), ..Default::default() });
    let mut page_token = String::new();
    loop {
        let request = ListAuditEventsRequest {
            organization: organization.clone(),
            filter: filter.clone(),
            page_token,
            ..Default::default()
        };
        let page = client.audit().list_audit_events(request).await?.into_inner();
        for event in page.events {
            println!("{} was refused {} on {}", event.actor, event.method, event.target);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }

    // A stream that ends with an error is not complete: `?` says so.
    let request = ExportAuditEventsRequest {
        organization,
        format: AuditExportFormat::Csv.into(),
        ..Default::default()
    };
    let mut parts = client.audit().export_audit_events(request).await?.into_inner();
    let mut file = File::create("audit.csv")?;
    while let Some(part) = parts.message().await? {
        file.write_all(&part.data)?;
    }
    client.sign_out().await?;
    Ok(())
}
