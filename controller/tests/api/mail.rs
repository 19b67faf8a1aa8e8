//! Mails that an act causes arrive at a real mail server, once; what is wrong with that server delays them and is said.

use std::{collections::BTreeSet, time::Duration};

use chrono::{TimeDelta, Utc};
use supalove_core::{mail::Letter, times::Times};
use supalove_proto::v1::{JobState, ListJobsRequest, SendTestMailRequest};
use supalove_system_tests::{
    Api, Controller, MailSink, Options, Outbox, OutboxRow, SLACK, SinkStep, SinkTls, invitation, wait_for,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const JOB: &str = "core.send_mails";
const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
/// A change is seen within this time.
const SOON: Duration = Duration::from_secs(10);

async fn controller_of(sink: &MailSink) -> Controller {
    Controller::start_with(Options { arguments: sink.arguments(), ..Options::default() }).await
}

/// An invitation that is valid for an hour.
fn letter(to: &str) -> Letter<'_> {
    invitation(to, "sbi_canary", Utc::now() + TimeDelta::hours(1))
}

/// The only mail to a recipient, once it is like this.
async fn row(controller: &Controller, to: &str, wanted: impl Fn(&OutboxRow) -> bool) -> OutboxRow {
    let rows = controller.database.rows().await;
    wait_for(&format!("the row of the mail to {to}"), SOON * SLACK, async || {
        let mails = rows.mails_to(to).await;
        assert_eq!(mails.len(), 1);
        mails.into_iter().find(&wanted)
    })
    .await
}

/// What the job says once it is in this state.
async fn job_says(api: &Api, state: JobState) -> String {
    wait_for(&format!("{JOB} to be {state:?}"), SOON * SLACK, async || {
        let jobs = api.platform().list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs;
        jobs.into_iter().find(|job| job.name == JOB && job.state() == state)
    })
    .await
    .last_error
}

async fn health(controller: &Controller) -> (u16, String) {
    let answer = reqwest::get(format!("http://127.0.0.1:{}/healthz", controller.public_port)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_mail_arrives_once_with_text_html_and_a_link_that_nobody_else_reads() {
    let sink = MailSink::start().await;
    let mut controller = controller_of(&sink).await;
    let outbox = Outbox::open(&controller).await;
    outbox.post(&letter(ADA)).await;
    let mail = sink.wait_for(ADA).await;
    assert!(mail.tls && mail.user == "supalove", "{mail:?}");
    assert_eq!(
        (mail.sender.as_str(), mail.content_type.as_str()),
        ("no-reply@example.com", "multipart/alternative")
    );
    assert_eq!(mail.header("From"), "Supalove <no-reply@example.com>");
    assert_eq!(mail.header("To"), ADA);
    assert_eq!(mail.header("Subject"), "Ada invites you to \"Acme & <Söhne>\"");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(
        mail.header("Message-ID").starts_with("<mal_")
            && mail.header("Message-ID").ends_with("@example.com>")
    );
    assert!(mail.text.contains("Ada invites you to the organization \"Acme & <Söhne>\"."), "{}", mail.text);
    assert!(mail.html.contains("Acme &amp; &lt;Söhne&gt;"), "{}", mail.html);
    let link = "https://dashboard.example.com/invitations#token=sbi_canary";
    assert_eq!(mail.link(), link);
    assert!(mail.html.replace("&#x2f;", "/").contains(&format!("href=\"{link}\"")), "{}", mail.html);

    let sent = row(&controller, ADA, |row| row.state == "SENT").await;
    let expected =
        OutboxRow { state: "SENT".into(), attempts: 1, last_error: String::new(), has_content: false };
    assert_eq!(sent, expected);
    outbox.post(&letter(BOB)).await;
    sink.wait_for(BOB).await;
    controller.kill_and_restart().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(sink.mails().len(), 2, "once each");
    let log = controller.process.log();
    assert!(log.contains("mail sent") && !log.contains("canary"), "{log}");
    assert!(!controller.database.rows().await.outbox_holds("canary").await);
}

#[tokio::test]
async fn an_act_that_fails_sends_nothing_and_an_address_that_is_none_fails_the_act() {
    let sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    let outbox = Outbox::open(&controller).await;
    let mut dropped = outbox.act();
    outbox.write(&mut dropped, &letter(ADA)).await.unwrap();
    drop(dropped);
    let mut refused = outbox.act();
    let wrong = "ada@example.com\r\nRCPT TO:<eve@example.com>";
    let error = Status::from(outbox.write(&mut refused, &letter(wrong)).await.unwrap_err());
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.get_details_bad_request().unwrap().field_violations[0].field, "email");
    outbox.post(&letter(BOB)).await;
    sink.wait_for(BOB).await;
    assert_eq!(sink.mails().len(), 1);
}

#[tokio::test]
async fn while_the_mail_server_is_down_mails_wait_and_the_operator_sees_how_many_and_why() {
    let mut sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    let api = controller.operator().await;
    let outbox = Outbox::open(&controller).await;
    sink.stop();
    for to in [ADA, BOB] {
        outbox.post(&letter(to)).await;
    }
    let said = wait_for("both mails to wait", SOON * SLACK, async || {
        let said = job_says(&api, JobState::Failing).await;
        said.contains("2 mails wait, the oldest since 20").then_some(said)
    })
    .await;
    assert!(said.contains("cannot connect to the mail server: Connection refused"), "{said}");
    let (status, text) = health(&controller).await;
    assert!(status == 200 && text.contains(&format!("job {JOB}: ")), "{status} {text}");
    assert!(!text.contains("refused"), "strangers read it: {text}");

    sink.restart().await;
    sink.wait_for(ADA).await;
    sink.wait_for(BOB).await;
    assert_eq!(sink.mails().len(), 2);
    job_says(&api, JobState::Ok).await;
    row(&controller, ADA, |row| row.state == "SENT" && !row.has_content).await;
}

#[tokio::test]
async fn a_slow_mail_server_delays_its_mails_and_no_other_job() {
    let sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    let api = controller.operator().await;
    let outbox = Outbox::open(&controller).await;
    sink.answer(SinkStep::Recipient, Duration::from_secs(20), None);
    outbox.post(&letter(ADA)).await;
    let said = job_says(&api, JobState::Failing).await;
    assert!(said.contains("the mail server failed at the recipient: no answer within 2 s"), "{said}");
    let jobs = api.platform().list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs;
    let others = jobs.iter().filter(|job| job.name != JOB && job.state() == JobState::Failing);
    assert_eq!(others.map(|job| &job.name).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(health(&controller).await.0, 200);
    sink.answer_as_usual(SinkStep::Recipient);
    sink.wait_for(ADA).await;
    let sent = row(&controller, ADA, |row| row.state == "SENT").await;
    assert!(sent.attempts > 1, "{sent:?}");
    job_says(&api, JobState::Ok).await;
}

#[tokio::test]
async fn a_mail_whose_taking_was_answered_too_late_comes_again_as_the_same_mail() {
    let sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    let outbox = Outbox::open(&controller).await;
    sink.answer(SinkStep::Content, Duration::from_secs(3), None);
    outbox.post(&letter(ADA)).await;
    let late = row(&controller, ADA, |row| !row.last_error.is_empty()).await;
    assert_eq!(late.last_error, "the mail server failed at the content: no answer within 2 s");
    sink.answer_as_usual(SinkStep::Content);
    row(&controller, ADA, |row| row.state == "SENT").await;
    let mails = sink.mails_to(ADA);
    assert!(mails.iter().all(|mail| mail.source == mails[0].source), "{mails:#?}");
}

#[tokio::test]
async fn an_answer_for_later_delays_one_mail_and_a_final_one_gives_it_up_with_its_reason() {
    let sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    let api = controller.operator().await;
    let outbox = Outbox::open(&controller).await;
    sink.answer(SinkStep::Recipient, Duration::ZERO, Some("450 4.2.0 greylisted"));
    outbox.post(&letter(ADA)).await;
    let delayed = row(&controller, ADA, |row| row.attempts > 1 && !row.last_error.is_empty()).await;
    assert_eq!((delayed.state.as_str(), delayed.has_content), ("WAITING", true));
    assert_eq!(delayed.last_error, "the mail server refuses the recipient: 450 4.2.0 greylisted");
    sink.answer_as_usual(SinkStep::Recipient);
    sink.wait_for(ADA).await;

    sink.answer(SinkStep::Recipient, Duration::ZERO, Some("550 5.1.1 no such user"));
    outbox.post(&letter(BOB)).await;
    let refused = row(&controller, BOB, |row| row.state == "REFUSED").await;
    let reason = "the mail server refuses the recipient: 550 5.1.1 no such user".to_owned();
    assert_eq!(
        refused,
        OutboxRow { state: "REFUSED".into(), attempts: 1, last_error: reason, has_content: false }
    );
    sink.answer_as_usual(SinkStep::Recipient);

    // A filter that quotes the link: its token is taken out.
    let quoted = "554 5.7.1 spam: https://dashboard.example.com/invitations#token=sbi_canary";
    sink.answer(SinkStep::Content, Duration::ZERO, Some(quoted));
    outbox.post(&letter("eve@example.com")).await;
    let refused = row(&controller, "eve@example.com", |row| row.state == "REFUSED").await;
    assert_eq!(refused.last_error, "the mail server refuses the content: 554 5.7.1 spam: [link]");
    assert!(!controller.process.log().contains("canary"));
    assert_eq!(sink.mails().len(), 1);
    assert_eq!(job_says(&api, JobState::Ok).await, "", "the mail server itself never failed");
}

#[tokio::test]
async fn a_wrong_password_is_named_and_the_mail_waits_for_the_right_one() {
    let sink = MailSink::start().await;
    let mut controller = controller_of(&sink).await;
    let api = controller.operator().await;
    sink.change_password();
    Outbox::open(&controller).await.post(&letter(ADA)).await;
    let said = job_says(&api, JobState::Failing).await;
    assert!(said.contains("1 mail waits since 20"), "{said}");
    assert!(said.contains("the mail server refuses user or password: 535 "), "{said}");
    assert!(sink.mails().is_empty());
    controller.kill_and_restart().await;
    sink.wait_for(ADA).await;
}

#[tokio::test]
async fn a_certificate_of_another_ca_gets_neither_password_nor_mail() {
    let sink = MailSink::start().await;
    let other = MailSink::start().await;
    let mut arguments = sink.arguments();
    arguments.extend(["--smtp-ca-file".into(), other.ca_file().display().to_string()]);
    // The last one of two counts only if the first is taken away.
    let own = arguments.iter().position(|argument| argument == "--smtp-ca-file").unwrap();
    arguments.drain(own..own + 2);
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    Outbox::open(&controller).await.post(&letter(ADA)).await;
    let said = job_says(&api, JobState::Failing).await;
    assert!(said.contains("TLS with the mail server failed: invalid peer certificate"), "{said}");
    assert!(sink.mails().is_empty());
}

#[tokio::test]
async fn starttls_is_used_and_without_it_nothing_is_sent() {
    let sink = MailSink::start_with(SinkTls::StartTls).await;
    let controller = controller_of(&sink).await;
    Outbox::open(&controller).await.post(&letter(ADA)).await;
    let mail = sink.wait_for(ADA).await;
    assert!(mail.tls && mail.user == "supalove", "{mail:?}");

    let stripped = MailSink::start_with(SinkTls::Stripped).await;
    let controller = controller_of(&stripped).await;
    let api = controller.operator().await;
    Outbox::open(&controller).await.post(&letter(ADA)).await;
    let said = job_says(&api, JobState::Failing).await;
    assert!(said.contains("the server does not offer STARTTLS, so nothing was sent"), "{said}");
    assert!(stripped.mails().is_empty());
}

#[tokio::test]
async fn fifty_mails_at_once_arrive_once_each_on_two_connections() {
    let sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    let outbox = Outbox::open(&controller).await;
    let all: Vec<String> = (0..50).map(|number| format!("user-{number}@example.com")).collect();
    futures::future::join_all(all.iter().map(async |to| outbox.post(&letter(to)).await)).await;
    let rows = controller.database.rows().await;
    wait_for("all mails to be sent", SOON * SLACK, async || {
        (rows.mails_in("SENT").await == 50).then_some(())
    })
    .await;
    let mails = sink.mails();
    let recipients: BTreeSet<_> = mails.iter().map(|mail| mail.recipients.concat()).collect();
    let ids: BTreeSet<_> = mails.iter().map(|mail| mail.header("Message-ID").to_owned()).collect();
    assert_eq!((mails.len(), recipients.len(), ids.len()), (50, 50, 50));
    assert!(sink.most_connections() <= 2, "{}", sink.most_connections());
}

#[tokio::test]
async fn two_replicas_send_a_mail_once() {
    let sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    controller.operator().await;
    let replica = controller.replica().await;
    let outbox = Outbox::open(&controller).await;
    let all: Vec<String> = (0..10).map(|number| format!("user-{number}@example.com")).collect();
    for to in &all {
        outbox.post(&letter(to)).await;
    }
    let rows = replica.database.rows().await;
    wait_for("all mails to be sent", SOON * SLACK, async || {
        (rows.mails_in("SENT").await == 10).then_some(())
    })
    .await;
    assert_eq!(sink.mails().len(), 10);
}

#[tokio::test]
async fn what_expires_before_it_can_be_sent_is_dropped_and_forgotten_after_a_month() {
    let mut sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    let outbox = Outbox::open(&controller).await;
    sink.stop();
    outbox.post(&invitation(ADA, "sbi_canary", Utc::now() + TimeDelta::seconds(3))).await;
    outbox.post(&letter(BOB)).await;
    let expired = row(&controller, ADA, |row| row.state == "EXPIRED").await;
    assert!(!expired.has_content);
    sink.restart().await;
    sink.wait_for(BOB).await;
    row(&controller, BOB, |row| row.state == "SENT").await;
    assert!(sink.mails_to(ADA).is_empty());
    assert!(controller.process.log().contains("mail expired before it could be sent"));

    let rows = controller.database.rows().await;
    rows.age_mails(29).await;
    outbox.post(&letter("eve@example.com")).await;
    row(&controller, "eve@example.com", |row| row.state == "SENT").await;
    rows.age_mails(2).await;
    // The job that deletes old rows runs each minute, and at a start at which its lease is free.
    let mut controller = controller;
    controller.process.kill();
    tokio::time::sleep(Times::default().lease + Duration::from_secs(1)).await;
    controller.restart().await;
    wait_for("old rows to be deleted", SOON * 2 * SLACK, async || {
        (rows.mails_to(ADA).await.is_empty() && rows.mails_to(BOB).await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(rows.mails_to("eve@example.com").await.len(), 1, "it ended two days ago");
}

#[tokio::test]
async fn a_test_mail_says_at_once_whether_the_settings_are_right() {
    let sink = MailSink::start().await;
    let controller = controller_of(&sink).await;
    let api = controller.operator().await;
    let test_mail = async |to: &str| {
        let answer = api.platform().send_test_mail(SendTestMailRequest { to: to.into() }).await;
        answer.map(tonic::Response::into_inner)
    };
    let sent = test_mail(ADA).await.unwrap();
    assert_eq!(sent.server_answer, "250 2.0.0 Ok: queued as 1");
    let mail = sink.wait_for(ADA).await;
    assert_eq!(mail.header("Message-ID"), format!("<{}>", sent.message_id));
    assert_eq!(mail.link(), "https://dashboard.example.com/");
    assert!(controller.database.rows().await.mails_to(ADA).await.is_empty(), "it goes past the outbox");

    let reason = |status: &Status| status.get_details_error_info().unwrap().reason;
    let wrong = test_mail("nobody").await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert_eq!(wrong.get_details_bad_request().unwrap().field_violations[0].field, "to");
    sink.answer(SinkStep::Recipient, Duration::ZERO, Some("550 5.1.1 no such user"));
    let refused = test_mail(BOB).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "MAIL_NOT_SENT"));
    let expected = "the mail was not sent: the mail server refuses the recipient: 550 5.1.1 no such user";
    assert_eq!(refused.message(), expected);

    let controller = Controller::start().await;
    let api = controller.operator().await;
    let request = SendTestMailRequest { to: ADA.into() };
    let unset = api.platform().send_test_mail(request).await.unwrap_err();
    assert_eq!((unset.code(), reason(&unset).as_str()), (Code::FailedPrecondition, "MAIL_NOT_SET_UP"));
    assert!(unset.message().contains("--smtp-url"), "{unset:?}");
}
