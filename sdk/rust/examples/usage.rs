//! Prints what each project of an organization uses, and its busiest hour of the last week. The variables are those of the README.

use std::{
    env::var,
    error::Error,
    time::{Duration, SystemTime},
};

use supalove_sdk::{
    Client,
    v1::{GetOrganizationUsageRequest, GetProjectUsageSeriesRequest},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(&var("SUPALOVE_API")?)?;
    client.sign_in(&var("SUPALOVE_EMAIL")?, &var("SUPALOVE_PASSWORD")?).await?;

    let request = GetOrganizationUsageRequest { organization: var("SUPALOVE_ORGANIZATION")? };
    let answer = client.usage().get_organization_usage(request).await?.into_inner();
    let week = SystemTime::now() - Duration::from_hours(7 * 24);
    for project in answer.projects {
        let now = project
            .current
            .map_or_else(|| "unknown".to_owned(), |now| format!("{} millicores", now.cpu_millis));
        let month = project.month_to_date.unwrap_or_default().cpu_seconds / 3600.0;
        println!("{}: {now}, {month:.1} core-hours in this month", project.name);

        let request = GetProjectUsageSeriesRequest {
            project_ref: project.project_ref,
            start_time: Some(week.into()),
            step: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            ..Default::default()
        };
        let hours = client.usage().get_project_usage_series(request).await?.into_inner().points;
        let busiest = hours.into_iter().max_by(|one, other| one.cpu_seconds.total_cmp(&other.cpu_seconds));
        if let Some(hour) = busiest {
            println!("  busiest hour: {:?}, {:.0} s", hour.time, hour.cpu_seconds);
        }
    }
    client.sign_out().await?;
    Ok(())
}
