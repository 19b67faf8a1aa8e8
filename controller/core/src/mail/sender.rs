//! Sends the outbox. The leased job only starts senders, each with one connection to the mail server, and reports how mail
//! goes: a server that takes minutes for an answer delays mail and nothing else.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::RngExt as _;
use supalove_failpoints::failpoint;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Content, address, message,
    settings::Smtp,
    smtp::{Blame, Connection, Failure},
    store::{self, Claimed, End},
};
use crate::{
    Core,
    error::{Error, Result, chain},
    hints::Hint,
    times::Times,
};

/// Connections to the mail server at once.
const CONNECTIONS: usize = 2;
/// Mails that one connection carries; then another is opened. Servers have limits of their own.
const MAILS_PER_CONNECTION: usize = 50;

/// Sends mails from the outbox. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sender {
    core: Core,
    free: Arc<Semaphore>,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

/// The mail server, or its settings, have failed; no mail since then was sent.
#[derive(Debug, Clone)]
struct Trouble {
    failures: u32,
    until: Instant,
    said: String,
}

/// Mails wait because of the mail server or its settings.
#[derive(Debug)]
struct MailsWait {
    count: i64,
    since: String,
    said: String,
}

impl fmt::Display for MailsWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, since, said } = self;
        match count {
            0 => write!(f, "mail cannot be sent (none waits): {said}"),
            1 => write!(f, "1 mail waits since {since}: {said}"),
            _ => write!(f, "{count} mails wait, the oldest since {since}: {said}"),
        }
    }
}

impl std::error::Error for MailsWait {}

impl Sender {
    /// For the jobs of this replica.
    pub(crate) fn new(core: &Core) -> Self {
        Self { core: core.for_work(), free: Arc::new(Semaphore::new(CONNECTIONS)), trouble: Arc::default() }
    }

    /// A run of the job: drops what has expired, starts senders for what is due, and fails while the mail server does.
    pub(crate) async fn run(self) -> Result<()> {
        for mail in store::expire(&self.core.db).await? {
            let (attempts, error) = (mail.attempts, &mail.last_error);
            tracing::warn!(mail = %mail.id, kind = mail.kind, attempts, error, "mail expired before it could be sent");
        }
        if self.core.mail().enabled() {
            self.start_senders().await?;
        }
        let trouble = self.trouble().clone();
        let Some(trouble) = trouble else { return Ok(()) };
        let waiting = store::waiting(&self.core.db).await?;
        let since = waiting.since.map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
        Err(Error::internal(MailsWait { count: waiting.count, since, said: trouble.said }))
    }

    async fn start_senders(&self) -> Result<()> {
        let trouble = self.trouble().clone();
        if let Some(trouble) = trouble {
            // One connection tries whether the server is well again, also if no mail is due.
            if Instant::now() >= trouble.until && self.free.available_permits() == CONNECTIONS {
                self.start_sender();
            }
            return Ok(());
        }
        while store::is_due(&self.core.db).await? && self.start_sender() {}
        Ok(())
    }

    /// False if there are as many as there may be.
    fn start_sender(&self) -> bool {
        let Ok(permit) = self.free.clone().try_acquire_owned() else { return false };
        let sender = self.clone();
        self.core.tasks.connection_until("mail sender", |stop| sender.send_due(permit, stop));
        true
    }

    /// Sends what is due until nothing is, or the mail server fails. A stop lets the current mail end.
    async fn send_due(self, _permit: OwnedSemaphorePermit, stop: CancellationToken) {
        let mut connection = self.connection_after_trouble().await;
        if connection.is_none() && self.trouble().is_some() {
            return self.core.hints.wake(Hint::Mails);
        }
        for _ in 0..MAILS_PER_CONNECTION {
            if stop.is_cancelled() {
                break;
            }
            match self.send_next(&mut connection).await {
                Ok(true) => {}
                Ok(false) => {
                    if connection.is_some() {
                        // The server is well, and no mail is due that could tell otherwise.
                        *self.trouble() = None;
                    }
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "mail sender cannot use the outbox");
                    break;
                }
            }
        }
        if let Some(connection) = connection {
            connection.quit().await;
        }
        // The job starts the next sender, and shows how mail goes.
        self.core.hints.wake(Hint::Mails);
    }

    /// After a failure no mail is claimed before the server lets this replica in.
    async fn connection_after_trouble(&self) -> Option<Connection> {
        self.trouble().as_ref()?;
        match Connection::open(self.core.mail().smtp()?, self.core.times.mail_answer).await {
            Ok(connection) => Some(connection),
            Err(failure) => {
                self.fails(failure.said());
                None
            }
        }
    }

    /// Sends the next mail; false if none is due or none can be sent.
    async fn send_next(&self, connection: &mut Option<Connection>) -> Result<bool> {
        let (core, times) = (&self.core, &self.core.times);
        let Some(smtp) = core.mail().smtp() else { return Ok(false) };
        let Some(mail) = store::claim(&core.db, times.mail_claim).await? else { return Ok(false) };
        failpoint!("controller.mail.claimed");
        let content = Content::open(&core.vault, mail.id, &mail.sealed);
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                let error = chain(&error);
                tracing::error!(mail = %mail.id, kind = mail.kind, error, "mail cannot be opened");
                store::delay(
                    &core.db,
                    &mail,
                    times.mail_retry_most,
                    "it cannot be opened with the master key",
                )
                .await?;
                return Ok(true);
            }
        };
        let sending = deliver(smtp, core, connection, &mail, &content);
        let sent = timeout(times.mail_send, sending).await;
        let sent = match sent {
            Ok(sent) => sent?,
            Err(_) => Err(Failure::too_slow(times.mail_send)),
        };
        let url = content.link.as_ref().map(|(_, url)| url.as_str());
        self.note(&mail, sent.map_err(|failure| failure.without(url)), connection).await
    }

    /// Writes down how it went; false if no other mail can be sent either.
    async fn note(
        &self,
        mail: &Claimed,
        sent: Result<String, Failure>,
        connection: &mut Option<Connection>,
    ) -> Result<bool> {
        let db = &self.core.db;
        let (id, kind, attempts) = (mail.id, &mail.kind, mail.attempts);
        let failure = match sent {
            Ok(said) => {
                failpoint!("controller.mail.taken");
                *self.trouble() = None;
                store::end(db, mail, End::Sent, "").await?;
                tracing::info!(mail = %id, kind, attempts, said, "mail sent");
                return Ok(true);
            }
            Err(failure) => failure,
        };
        let error = failure.said();
        if failure.blame != Blame::Server {
            *self.trouble() = None;
        }
        match failure.blame {
            Blame::Refused => {
                tracing::warn!(mail = %id, kind, attempts, error, "mail refused for good");
                store::end(db, mail, End::Refused, error).await?;
            }
            Blame::Later => {
                let pause =
                    pause(u32::try_from(attempts).unwrap_or(1), &self.core.times, rand::rng().random());
                tracing::warn!(mail = %id, kind, attempts, pause = pause.as_secs(), error, "mail delayed");
                store::delay(db, mail, pause, error).await?;
            }
            Blame::Server => {
                *connection = None;
                let pause = self.fails(error);
                tracing::warn!(mail = %id, kind, attempts, pause = pause.as_secs(), error, "mail server failed");
                store::delay(db, mail, pause, error).await?;
                return Ok(false);
            }
        }
        // What was begun of this mail is taken back; a server that cannot is asked on another connection.
        if let Some(open) = connection
            && open.reset().await.is_err()
        {
            *connection = None;
        }
        Ok(true)
    }

    /// Notes a failure of the mail server; returns the pause until it is asked again.
    fn fails(&self, said: &str) -> Duration {
        let mut trouble = self.trouble();
        let failures = trouble.as_ref().map_or(0, |trouble| trouble.failures).saturating_add(1);
        let pause = pause(failures, &self.core.times, rand::rng().random());
        *trouble = Some(Trouble { failures, until: Instant::now() + pause, said: said.to_owned() });
        pause
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a claimed mail on the connection, and opens one if there is none.
async fn deliver(
    smtp: &Smtp,
    core: &Core,
    connection: &mut Option<Connection>,
    mail: &Claimed,
    content: &Content,
) -> Result<Result<String, Failure>> {
    let to = address("email", &mail.recipient)?;
    let message = message::build(mail.id, mail.created_at, &to, &smtp.from, core.mail(), content)?;
    let open = match connection.take() {
        Some(open) => open,
        None => match Connection::open(smtp, core.times.mail_answer).await {
            Ok(open) => open,
            Err(failure) => return Ok(Err(failure)),
        },
    };
    Ok(connection.insert(open).send(&message).await)
}

/// The pause after so many failures: from `mail_retry` on about doubled each time, with jitter, so that mails that failed
/// together do not come back together. `random` is between 0 and 1.
fn pause(failures: u32, times: &Times, random: f64) -> Duration {
    let doubled = times.mail_retry.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(times.mail_retry_most).mul_f64(0.75 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let times = Times::default();
        let millis = |failures, random| pause(failures, &times, random).as_millis();
        assert_eq!([1, 2, 3, 4].map(|failures| millis(failures, 0.5)), [5000, 10_000, 20_000, 40_000]);
        assert_eq!(millis(100, 0.5), times.mail_retry_most.as_millis());
        assert_eq!((millis(1, 0.0), millis(1, 1.0)), (3750, 6250));
        assert_eq!(millis(0, 0.5), 5000, "also without a failure there is a pause");
        assert_eq!(millis(u32::MAX, 1.0), 375_000);
    }

    #[test]
    fn an_operator_reads_how_many_wait_since_when_and_why() {
        let text = |count| {
            MailsWait { count, since: "2026-11-30T04:00:00Z".into(), said: "no answer".into() }.to_string()
        };
        assert_eq!(text(1), "1 mail waits since 2026-11-30T04:00:00Z: no answer");
        assert_eq!(text(3), "3 mails wait, the oldest since 2026-11-30T04:00:00Z: no answer");
        assert_eq!(text(0), "mail cannot be sent (none waits): no answer");
    }
}
