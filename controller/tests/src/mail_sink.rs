//! A mail server for a test: aiosmtpd, with TLS and authentication on, that tells what it took.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use super::{Process, SLACK, free_port, wait_for};

const PROGRAM: &str = include_str!("mail_sink.py");
/// Debian's, for which python3-aiosmtpd installs the module; another Python may be first in PATH.
const PYTHON: &str = "/usr/bin/python3";
/// How long a mail takes at most, from the commit of its act on.
const ARRIVES: Duration = Duration::from_secs(10);

/// What the server does about TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkTls {
    /// From the first byte.
    Tls,
    /// Demands STARTTLS.
    StartTls,
    /// Offers none, like a server of whose answers somebody between has taken STARTTLS out.
    Stripped,
}

/// A step of the conversation at which a test decides the answer.
#[derive(Debug, Clone, Copy)]
pub enum SinkStep {
    /// The recipient.
    Recipient,
    /// The content.
    Content,
}

/// A running mail server with its files.
pub struct MailSink {
    dir: TempDir,
    port: u16,
    tls: SinkTls,
    process: Option<Process>,
}

/// A mail that the server took.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Mail {
    /// Addresses of RCPT.
    pub recipients: Vec<String>,
    /// Address of MAIL.
    pub sender: String,
    /// Who signed in.
    pub user: String,
    /// Whether the connection had TLS.
    pub tls: bool,
    /// Content type.
    #[serde(rename = "type")]
    pub content_type: String,
    /// Names and values, decoded.
    pub headers: Vec<(String, String)>,
    /// The text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// All of it as it came.
    pub source: String,
}

impl Mail {
    /// The value of a header; panics if it is not there just once.
    pub fn header(&self, name: &str) -> &str {
        let found: Vec<_> =
            self.headers.iter().filter(|header| header.0.eq_ignore_ascii_case(name)).collect();
        assert_eq!(found.len(), 1, "{name} in {:?}", self.headers);
        &found[0].1
    }

    /// The addresses in the text part, each on a line of its own.
    pub fn links(&self) -> Vec<String> {
        let lines = self.text.lines().map(str::trim);
        lines
            .filter(|line| line.starts_with("http://") || line.starts_with("https://"))
            .map(str::to_owned)
            .collect()
    }

    /// Its only link.
    pub fn link(&self) -> String {
        let links = self.links();
        assert_eq!(links.len(), 1, "{}", self.text);
        links[0].clone()
    }
}

impl MailSink {
    /// Starts one with TLS.
    pub async fn start() -> Self {
        Self::start_with(SinkTls::Tls).await
    }

    /// Starts one.
    pub async fn start_with(tls: SinkTls) -> Self {
        let dir = tempfile::Builder::new().prefix("supalove-test-mail-").tempdir().unwrap();
        fs::create_dir(dir.path().join("mails")).unwrap();
        let password = format!("p$ä \"{}", uuid::Uuid::new_v4().simple());
        fs::write(dir.path().join("password"), password).unwrap();
        fs::write(dir.path().join("mail_sink.py"), PROGRAM).unwrap();
        make_certificates(dir.path());
        let mut sink = Self { dir, port: free_port(), tls, process: None };
        sink.restart().await;
        sink
    }

    /// Starts it again, after [`MailSink::stop`].
    pub async fn restart(&mut self) {
        let mode = match self.tls {
            SinkTls::Tls => "tls",
            SinkTls::StartTls => "starttls",
            SinkTls::Stripped => "stripped",
        };
        let mut command = Command::new(PYTHON);
        command.arg("-W").arg("ignore").arg(self.file("mail_sink.py")).arg(self.dir.path());
        command.args([&self.port.to_string(), mode]);
        let mut process = Process::start(&mut command, &self.file("log"));
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            process.assert_alive();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.process = Some(process);
    }

    /// Ends it: nobody listens on its port then.
    pub fn stop(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Arguments of a controller that sends mail through it.
    pub fn arguments(&self) -> Vec<String> {
        let (scheme, host) = match self.tls {
            SinkTls::Tls => ("smtps", "127.0.0.1"),
            // Connects to this host like 127.0.0.1, but is no loopback address, on which TLS is optional.
            SinkTls::StartTls | SinkTls::Stripped => ("smtp", "0.0.0.0"),
        };
        let path = |name: &str| self.file(name).display().to_string();
        [
            ("--public-url", "https://dashboard.example.com".to_owned()),
            ("--smtp-url", format!("{scheme}://supalove@{host}:{}", self.port)),
            ("--smtp-password-file", path("password")),
            ("--smtp-ca-file", path("ca.pem")),
            ("--mail-from", "Supalove <no-reply@example.com>".to_owned()),
            ("--mail-retry", "1".to_owned()),
            ("--mail-answer", "2".to_owned()),
        ]
        .map(|(name, value)| [name.to_owned(), value])
        .concat()
    }

    /// Answers the step like this from now on, after a delay; `None` as usual.
    pub fn answer(&self, step: SinkStep, delay: Duration, answer: Option<&str>) {
        let text = format!("{} {}", delay.as_secs_f64(), answer.unwrap_or("-"));
        fs::write(self.file("answer.new"), text).unwrap();
        fs::rename(self.file("answer.new"), self.file(step_file(step))).unwrap();
    }

    /// Answers the step as usual again, at once.
    pub fn answer_as_usual(&self, step: SinkStep) {
        fs::remove_file(self.file(step_file(step))).unwrap();
    }

    /// What it took, in order.
    pub fn mails(&self) -> Vec<Mail> {
        let entries = fs::read_dir(self.file("mails")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        files.sort();
        files.iter().map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap()).collect()
    }

    /// What it took for a recipient, in order.
    pub fn mails_to(&self, recipient: &str) -> Vec<Mail> {
        self.mails().into_iter().filter(|mail| mail.recipients == [recipient]).collect()
    }

    /// Waits for the newest mail to a recipient.
    pub async fn wait_for(&self, recipient: &str) -> Mail {
        self.wait_for_count(recipient, 1).await
    }

    /// Waits until the recipient has so many mails; returns the newest.
    pub async fn wait_for_count(&self, recipient: &str, count: usize) -> Mail {
        wait_for(&format!("mail {count} to {recipient}"), ARRIVES * SLACK, async || {
            let mut mails = self.mails_to(recipient);
            if mails.len() >= count { mails.pop() } else { None }
        })
        .await
    }

    /// The most connections that were open at once.
    pub fn most_connections(&self) -> u32 {
        fs::read_to_string(self.file("most")).map_or(0, |text| text.trim().parse().unwrap())
    }

    /// The password that it wants; a test changes it to make the controller's wrong.
    pub fn change_password(&self) {
        // The controller has read the file when it started.
        fs::write(self.file("password"), "another").unwrap();
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// File with the certificate of its CA.
    pub fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }
}

fn step_file(step: SinkStep) -> &'static str {
    match step {
        SinkStep::Recipient => "rcpt",
        SinkStep::Content => "data",
    }
}

/// A CA, and a certificate of it for this host's addresses.
fn make_certificates(dir: &Path) {
    let names = "subjectAltName=IP:127.0.0.1,IP:0.0.0.0\n";
    fs::write(dir.join("names"), names).unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = ["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=CA of a test", "-days", "2"];
    openssl(dir, &[&["req"][..], &key, &ca].concat());
    openssl(
        dir,
        &[&["req"][..], &key, &["-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=mail"]].concat(),
    );
    let sign = ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(dir, &[&sign[..], &["-days", "2", "-extfile", "names", "-out", "cert.pem"]].concat());
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(dir).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
