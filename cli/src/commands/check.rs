//! `platform check`: where rows, memory and nodes of the platform say different things, for the operator.

use supalove_proto::v1::{
    CheckConsistencyRequest, CheckConsistencyResponse, Difference,
    platform_service_client::PlatformServiceClient,
};

use super::Context;
use crate::{
    error::Error,
    output::{self, clean},
};

pub async fn check(context: &Context) -> Result<(), Error> {
    let answer = context
        .client
        .call(CheckConsistencyRequest {}, |channel, request| async move {
            PlatformServiceClient::new(channel).check_consistency(request).await
        })
        .await?;
    output::line(&context.output.render("CheckConsistencyResponse", &answer, shown)?)?;
    match answer.differences.len() {
        0 => Ok(()),
        count => Err(Error::Differs { count }),
    }
}

fn shown(answer: &CheckConsistencyResponse) -> String {
    let differences = answer.differences.iter().map(line);
    let not_compared = answer.not_compared.iter().map(|what| format!("not compared: {}", clean(what)));
    let nodes = match answer.nodes {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    };
    let in_flight = match answer.in_flight {
        0 => String::new(),
        count => format!("; {count} more were in flight"),
    };
    let end = match answer.differences.len() {
        0 => format!("no differences; {nodes} compared{in_flight}"),
        1 => format!("1 difference; {nodes} compared{in_flight}"),
        count => format!("{count} differences; {nodes} compared{in_flight}"),
    };
    differences.chain(not_compared).chain([end]).collect::<Vec<_>>().join("\n")
}

fn line(difference: &Difference) -> String {
    let Difference { check, object, expected, found } = difference;
    format!("{} {}: expected {}; found {}", clean(check), clean(object), clean(expected), clean(found))
}
