//! The controller dies between the steps of sending a mail: it is sent after the restart, and a mail that the server had taken
//! already comes again as the same mail. No mail is lost, and none comes more than twice.

use std::{fs, path::Path, time::Duration};

use chrono::{TimeDelta, Utc};
use supalove_failpoints::{ARMED, DIRECTORY, FIRED, POINTS};
use supalove_system_tests::{Controller, MailSink, Options, Outbox, SLACK, invitation, wait_for};

/// The points of this test: they are not in the life of a project.
pub const PREFIX: &str = "controller.mail.";

/// A lease of 10 s, a claim of 5 s and a turn of the job.
const AGAIN: Duration = Duration::from_secs(20);

fn arm(points: &Path, point: &str) {
    let _ = fs::remove_file(points.join(FIRED));
    fs::write(points.join("draft"), format!("{point} 1 -")).unwrap();
    fs::rename(points.join("draft"), points.join(ARMED)).unwrap();
}

#[tokio::test]
async fn a_mail_survives_the_death_of_its_sender_and_comes_again_as_the_same_mail_at_most() {
    let sink = MailSink::start().await;
    let points = tempfile::tempdir().unwrap();
    let environment = vec![(DIRECTORY.to_owned(), points.path().display().to_string())];
    let options = Options { arguments: sink.arguments(), environment, ..Options::default() };
    let mut controller = Controller::start_with(options).await;
    let outbox = Outbox::open(&controller).await;
    let rows = controller.database.rows().await;
    let here = POINTS.iter().filter(|point| point.name.starts_with(PREFIX));
    for (number, point) in here.enumerate() {
        let to = format!("user-{number}@example.com");
        arm(points.path(), point.name);
        outbox.post(&invitation(&to, "sbi_x", Utc::now() + TimeDelta::hours(1))).await;
        wait_for(&format!("the controller to die at {}", point.name), AGAIN * SLACK, async || {
            points.path().join(FIRED).exists().then_some(())
        })
        .await;
        // It may be on its way out: its ports are free when it is gone.
        controller.process.interrupt();
        controller.restart().await;
        wait_for("the mail to be noted as sent", AGAIN * SLACK, async || {
            rows.mails_to(&to).await.iter().any(|mail| mail.state == "SENT").then_some(())
        })
        .await;
        let mails = sink.mails_to(&to);
        let expected = if point.name == "controller.mail.taken" { 2 } else { 1 };
        assert_eq!(mails.len(), expected, "{}", point.name);
        assert!(mails.iter().all(|mail| mail.source == mails[0].source), "the same bytes: {mails:#?}");
        println!("{}: died once, {} mails with one Message-ID", point.name, mails.len());
    }
}
