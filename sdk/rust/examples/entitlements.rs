//! Prints what an organization may use, how much of it is in use, and what other plans there are. For any member; the variables
//! are those of the README.

use std::{env::var, error::Error};

use supalove_sdk::{
    Client,
    v1::{GetEntitlementsRequest, ListPlansRequest, entitlement_value::Kind},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(&var("SUPALOVE_API")?)?;
    client.sign_in(&var("SUPALOVE_EMAIL")?, &var("SUPALOVE_PASSWORD")?).await?;

    let request = GetEntitlementsRequest { organization: var("SUPALOVE_ORGANIZATION")? };
    let held = client.plans().get_entitlements(request).await?.into_inner().entitlements;
    let held = held.ok_or("no entitlements")?;
    println!("the plan is {}", held.plan.ok_or("no plan")?.name);
    for held in held.entitlements {
        let name = held.entitlement().as_str_name();
        let limit = match held.limit.and_then(|limit| limit.kind) {
            Some(Kind::Number(number)) => number.to_string(),
            Some(Kind::Allowed(allowed)) => allowed.to_string(),
            Some(Kind::Sizes(sizes)) => sizes.names.join(" "),
            None => "of a kind that this client does not know".into(),
        };
        // What the platform does not measure yet has no use.
        let used = held.used.map(|used| format!(", {used} in use")).unwrap_or_default();
        println!("{name}: {limit}{used}");
    }
    let plans = client.plans().list_plans(ListPlansRequest::default()).await?.into_inner().plans;
    for plan in plans {
        println!("{} costs {} cents a month", plan.name, plan.price_cents);
    }
    client.sign_out().await?;
    Ok(())
}
