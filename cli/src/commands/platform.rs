//! `platform …`, for the operator: what the background jobs last did, outdated projects, a test mail, a restore, a check of
//! everything.

use clap::Subcommand;
use supalove_proto::v1::{
    ConfirmRestoreRequest, ConfirmRestoreResponse, GetVaultStatusRequest, GetVaultStatusResponse, Job,
    JobReplicas, JobRhythm, ListJobsRequest, ListJobsResponse, MasterKey, RotateSigningKeyRequest,
    SendTestMailRequest, auth_service_client::AuthServiceClient,
    platform_service_client::PlatformServiceClient,
};

use super::{Context, check, outdated, repeat};
use crate::{error::Error, output, table};

/// The commands about the control plane itself.
#[derive(Debug, Subcommand)]
pub enum Platform {
    /// List the background jobs, and whether each does its work.
    Jobs {
        /// Show them again whenever they change, until Ctrl-C.
        #[arg(long, short)]
        watch: bool,
    },
    /// List the projects whose release has known holes, and the release that closes them.
    Outdated,
    /// Compare rows, memory and nodes of the platform with each other, and print each difference. Exits with 1 if there is
    /// one.
    Check,
    /// Send a test mail, to see whether the settings of mail are right. Prints what the mail server answered.
    SendTestMail {
        /// Address of the recipient.
        to: String,
    },
    /// Replace the key that signs access tokens before its time.
    RotateSigningKey {
        /// At once: all access tokens of before are refused, and clients get others with their refresh tokens.
        #[arg(long)]
        at_once: bool,
    },
    /// Show the master keys, and how many sealed values are under each: whether the old one is still needed.
    Vault,
    /// Confirm that the control database was restored from a backup on purpose; deleted projects are purged again. Without an id it
    /// names the restores that wait, and what has shown each.
    ConfirmRestore {
        /// Id of the restore that you have looked at, rst_….
        restore: Option<String>,
    },
}

pub async fn run(context: &Context, command: Platform) -> Result<(), Error> {
    match command {
        Platform::Jobs { watch } => repeat(context, watch, async || list(context).await).await,
        Platform::Outdated => outdated::list(context).await,
        Platform::Check => check::check(context).await,
        Platform::SendTestMail { to } => send_test_mail(context, to).await,
        Platform::RotateSigningKey { at_once } => rotate_signing_key(context, at_once).await,
        Platform::Vault => vault(context).await,
        Platform::ConfirmRestore { restore } => confirm_restore(context, restore).await,
    }
}

async fn rotate_signing_key(context: &Context, at_once: bool) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(RotateSigningKeyRequest { at_once }, |channel, request| async move {
            AuthServiceClient::new(channel).rotate_signing_key(request).await
        })
        .await?;
    context.output.answer("RotateSigningKeyResponse", &answer, |answer| {
        format!("the key {} signs from {} on", answer.key_id, table::time(answer.sign_time.as_ref()))
    })
}

async fn vault(context: &Context) -> Result<(), Error> {
    let answer = context
        .client
        .call(GetVaultStatusRequest {}, |channel, request| async move {
            PlatformServiceClient::new(channel).get_vault_status(request).await
        })
        .await?;
    context.output.answer("GetVaultStatusResponse", &answer, keys)
}

fn keys(answer: &GetVaultStatusResponse) -> String {
    let row = |key: &MasterKey| {
        let state = table::short(key.state().as_str_name(), "MASTER_KEY_STATE_").to_owned();
        [key.id.clone(), state, key.sealed_values.to_string()]
    };
    let mut text =
        table::rows(["KEY", "STATE", "SEALED VALUES"], answer.keys.iter().map(row).collect(), "no keys");
    for replica in &answer.waits_for {
        let replica = format!("{} at {}", replica.controller_id, replica.address);
        let replica = output::clean(&replica);
        text = format!("{text}\n{replica} does not have the new key: restart it with both");
    }
    text
}

async fn confirm_restore(context: &Context, restore: Option<String>) -> Result<(), Error> {
    let request = ConfirmRestoreRequest { restore_id: restore.unwrap_or_default() };
    let answer = context
        .client
        .call(request, |channel, request| async move {
            PlatformServiceClient::new(channel).confirm_restore(request).await
        })
        .await?;
    context.output.answer("ConfirmRestoreResponse", &answer, confirmed)
}

/// The detail contains texts of agents.
pub fn confirmed(answer: &ConfirmRestoreResponse) -> String {
    match answer.detail.as_str() {
        "" => "no restore was waiting for a confirmation".to_owned(),
        detail => format!("confirmed: {}", output::clean(detail)),
    }
}

async fn send_test_mail(context: &Context, to: String) -> Result<(), Error> {
    let answer = context
        .client
        .call_once(SendTestMailRequest { to: to.clone() }, |channel, request| async move {
            PlatformServiceClient::new(channel).send_test_mail(request).await
        })
        .await?;
    context.output.answer("SendTestMailResponse", &answer, |answer| {
        // Both are texts of the mail server.
        let (id, said) = (output::clean(&answer.message_id), output::clean(&answer.server_answer));
        format!("the mail server took the mail <{id}> to {to}: {said}")
    })
}

async fn list(context: &Context) -> Result<String, Error> {
    let answer = context
        .client
        .call(ListJobsRequest {}, |channel, request| async move {
            PlatformServiceClient::new(channel).list_jobs(request).await
        })
        .await?;
    let wide = context.output.is_wide();
    context.output.render("ListJobsResponse", &answer, |answer| shown(answer, wide))
}

const COLUMNS: [&str; 5] = ["JOB", "STATE", "LAST SUCCESS", "LAST FAILURE", "LAST ERROR"];
const MORE_COLUMNS: [&str; 4] = ["RUNS", "ON", "REPLICA", "OVERDUE"];

fn shown(answer: &ListJobsResponse, wide: bool) -> String {
    let jobs = answer.jobs.iter();
    let text = if wide {
        let header: [&str; 9] = table::joined(COLUMNS, MORE_COLUMNS);
        table::rows(header, jobs.map(|job| table::joined(row(job), more(job))).collect(), "no jobs")
    } else {
        table::rows(COLUMNS, jobs.map(row).collect(), "no jobs")
    };
    match answer.answering_replica.as_ref().map_or(0, |replica| replica.connection_panics) {
        0 => text,
        1 => format!("{text}\na panic ended 1 connection {WHERE}"),
        panics => format!("{text}\na panic ended {panics} connections {WHERE}"),
    }
}

const WHERE: &str = "of the replica that answered; its log says \"connection task panicked\"";

fn row(job: &Job) -> [String; 5] {
    [
        job.name.clone(),
        table::short(job.state().as_str_name(), "JOB_STATE_").to_owned(),
        table::time(job.last_success_time.as_ref()),
        table::time(job.last_failure_time.as_ref()),
        job.last_error.clone(),
    ]
}

fn more(job: &Job) -> [String; 4] {
    let replicas = match job.replicas() {
        JobReplicas::Unspecified => "",
        JobReplicas::Each => "each replica",
        JobReplicas::One => "one replica",
    };
    let overdue = if job.overdue { "yes" } else { "" };
    [runs(job), replicas.to_owned(), job.controller_id.clone(), overdue.to_owned()]
}

/// When a job runs, e.g. "every 60 s", "at a change, or every 10 s".
fn runs(job: &Job) -> String {
    let period = job.period.unwrap_or_default().seconds;
    match job.rhythm() {
        JobRhythm::Unspecified => String::new(),
        JobRhythm::Every => format!("every {period} s"),
        JobRhythm::Woken => format!("at a change, or every {period} s"),
        JobRhythm::Always => "always".to_owned(),
    }
}
