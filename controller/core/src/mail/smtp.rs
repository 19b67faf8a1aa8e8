//! A connection to the mail server. The commands are lettre's; connecting is done here, so that TLS is the program's own, a
//! server without STARTTLS gets nothing, and each answer has its time and its size: lettre reads a line until it ends.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use lettre::transport::smtp::{
    authentication::DEFAULT_MECHANISMS,
    client::{AsyncSmtpConnection, AsyncTokioStream},
    commands::{Data, Mail as MailFrom, Quit, Rcpt},
    extension::{ClientId, Extension, MailParameter},
};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
        ReadBuf,
    },
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    message::Rendered,
    settings::{Security, Smtp},
};

/// Bytes of a line, and lines of an answer, before TLS (RFC 5321, 4.5.3.1.5: 512 bytes).
const LINE_BYTES: usize = 1024;
const LINES: usize = 64;
/// Bytes of all that a server says to one command, and at the beginning.
const ANSWER_BYTES: usize = LINE_BYTES * LINES;
/// Characters of what a server says that are kept.
const SAID_CHARS: usize = 500;
/// What lettre waits for on a connection on which the server has greeted already.
const GREETING: &[u8] = b"220 connected\r\n";

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(super) blame: Blame,
    said: String,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The mail server, or the settings: no mail can be sent now.
    Server,
    /// This mail has to wait.
    Later,
    /// This mail is never taken.
    Refused,
}

/// Where in the conversation a failure happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connect,
    Tls,
    Hello,
    SignIn,
    Sender,
    Recipient,
    Content,
}

impl Step {
    /// What failed, for a log line: the server has answered with a code, or not at all.
    fn failed(self, answered: bool) -> &'static str {
        match (self, answered) {
            (Self::Connect, _) => "cannot connect to the mail server",
            (Self::Tls, _) => "TLS with the mail server failed",
            (Self::Hello, true) => "the mail server does not serve",
            (Self::Hello, false) => "the mail server does not greet",
            (Self::SignIn, true) => "the mail server refuses user or password",
            (Self::SignIn, false) => "the mail server failed at the sign-in",
            (Self::Sender, true) => "the mail server refuses the sender (--mail-from)",
            (Self::Sender, false) => "the mail server failed at the sender",
            (Self::Recipient, true) => "the mail server refuses the recipient",
            (Self::Recipient, false) => "the mail server failed at the recipient",
            (Self::Content, true) => "the mail server refuses the content",
            (Self::Content, false) => "the mail server failed at the content",
        }
    }

    /// Judges the code of an answer; no code means that the connection broke or the time was up. 5xx is final, 421 closes the
    /// connection (RFC 5321, 4.2.1 and 3.8).
    fn blame(self, code: Option<u16>) -> Blame {
        match (self, code) {
            (Self::Recipient | Self::Content, Some(500..=599)) => Blame::Refused,
            (Self::Recipient | Self::Content, Some(code)) if code != 421 => Blame::Later,
            _ => Blame::Server,
        }
    }
}

impl Failure {
    fn new(step: Step, code: Option<u16>, said: &str) -> Self {
        let text = match code {
            Some(code) => format!("{}: {code} {said}", step.failed(true)),
            None => format!("{}: {said}", step.failed(false)),
        };
        Self { blame: step.blame(code), said: super::tidy(&text).chars().take(SAID_CHARS).collect() }
    }

    /// The conversation took longer than it may.
    pub(super) fn too_slow(limit: Duration) -> Self {
        Self {
            blame: Blame::Server,
            said: format!("the mail server is too slow: the mail was not taken within {} s", limit.as_secs()),
        }
    }

    /// The mail server cannot be given this mail.
    fn impossible(said: &str) -> Self {
        Self { blame: Blame::Refused, said: said.to_owned() }
    }

    /// What failed, and what the mail server said. Without secrets if the server does not repeat any; see [`Failure::without`].
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Takes a link out of what the server said: filters quote addresses that they do not like, and this one holds a token.
    pub(super) fn without(mut self, url: Option<&str>) -> Self {
        let Some(url) = url else { return self };
        let secret = url.split_once(['#', '?']).map(|(_, rest)| rest).into_iter();
        let values = secret.clone().flat_map(|rest| rest.split(['&', '='])).filter(|value| value.len() >= 8);
        for part in [url].into_iter().chain(secret.filter(|rest| !rest.is_empty())).chain(values) {
            self.said = self.said.replace(part, "[link]");
        }
        self
    }
}

/// An open connection to the mail server, signed in.
pub(super) struct Connection {
    smtp: AsyncSmtpConnection,
    answer: Duration,
}

impl Connection {
    /// Connects, makes TLS and signs in. Each answer has `answer` to arrive.
    pub async fn open(server: &Smtp, answer: Duration) -> Result<Self, Failure> {
        let stream =
            within(Step::Connect, answer, TcpStream::connect((server.host.as_str(), server.port))).await?;
        let hello = stream.local_addr().map_or_else(|_| ClientId::default(), client_id);
        let stream = secured(server, stream, &hello, answer).await?;
        let opened = AsyncSmtpConnection::connect_with_transport(stream, &hello);
        let smtp = within(Step::Hello, answer, opened).await?;
        let mut connection = Self { smtp, answer };
        if let Some(credentials) = &server.credentials {
            within(Step::SignIn, answer, connection.smtp.auth(DEFAULT_MECHANISMS, credentials)).await?;
        }
        Ok(connection)
    }

    /// Sends a mail; returns what the server said when it took it. After a failure of [`Blame::Server`] the connection is of
    /// no use.
    pub async fn send(&mut self, mail: &Rendered) -> Result<String, Failure> {
        let answer = self.answer;
        let mut options = Vec::new();
        if !mail.to.to_string().is_ascii() {
            if !self.smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Failure::impossible(
                    "the mail server takes no addresses beyond ASCII (SMTPUTF8)",
                ));
            }
            options.push(MailParameter::SmtpUtfEight);
        }
        let from = MailFrom::new(Some(mail.from.clone()), options);
        within(Step::Sender, answer, self.smtp.command(from)).await?;
        let recipient = Rcpt::new(mail.to.clone(), Vec::new());
        within(Step::Recipient, answer, self.smtp.command(recipient)).await?;
        within(Step::Content, answer, self.smtp.command(Data)).await?;
        let taken = within(Step::Content, answer, self.smtp.message(&mail.bytes)).await?;
        let said = taken.message().collect::<Vec<_>>().join(" ");
        Ok(super::tidy(&format!("{} {said}", taken.code())).chars().take(SAID_CHARS).collect())
    }

    /// Takes back what was begun of a mail, before the next one on this connection.
    pub async fn reset(&mut self) -> Result<(), Failure> {
        within(Step::Hello, self.answer, self.smtp.command(lettre_reset())).await.map(drop)
    }

    /// Says goodbye, as a server may ask for; whether the server answers is of no interest.
    pub async fn quit(mut self) {
        let _ = timeout(self.answer.min(Duration::from_secs(2)), self.smtp.command(Quit)).await;
    }
}

/// RSET, which lettre has under a private name only.
fn lettre_reset() -> &'static str {
    "RSET\r\n"
}

/// What went wrong, as the steps tell it.
trait Told {
    fn code(&self) -> Option<u16>;
    fn text(&self) -> String;
}

impl Told for io::Error {
    fn code(&self) -> Option<u16> {
        None
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Told for lettre::transport::smtp::Error {
    fn code(&self) -> Option<u16> {
        self.status().map(u16::from)
    }

    fn text(&self) -> String {
        match (std::error::Error::source(self), self.status()) {
            (Some(source), _) => source.to_string(),
            (None, Some(_)) => String::new(),
            (None, None) => self.to_string(),
        }
    }
}

/// Does a step within its time.
async fn within<T, E: Told>(
    step: Step,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure::new(step, error.code(), &error.text())),
        Err(_) => Err(Failure::new(step, None, &format!("no answer within {} s", limit.as_secs_f32()))),
    }
}

/// The name of a client without one: its address (RFC 5321, 4.1.3).
fn client_id(address: SocketAddr) -> ClientId {
    match address {
        SocketAddr::V4(address) => ClientId::Ipv4(*address.ip()),
        SocketAddr::V6(address) => ClientId::Ipv6(*address.ip()),
    }
}

/// The stream with TLS, as the settings ask for it.
async fn secured(
    server: &Smtp,
    stream: TcpStream,
    hello: &ClientId,
    answer: Duration,
) -> Result<Box<dyn AsyncTokioStream>, Failure> {
    let mut greeted = &[][..];
    let mut stream = stream;
    if server.security != Security::Tls {
        let (offered, inner) = start_tls(stream, hello, answer).await?;
        stream = inner;
        greeted = GREETING;
        if !offered && server.security == Security::StartTlsOnLoopback {
            return Ok(Box::new(Answers::new(greeted, stream)));
        }
        if !offered {
            let said = "the server does not offer STARTTLS, so nothing was sent; use smtps:// if it has a port with TLS";
            return Err(Failure::new(Step::Tls, None, said));
        }
    }
    let handshake = TlsConnector::from(server.tls.clone()).connect(server.tls_name.clone(), stream);
    let stream = within(Step::Tls, answer, handshake).await?;
    Ok(Box::new(Answers::new(greeted, stream)))
}

/// Greets and asks for STARTTLS; false if the server does not offer it. Not through lettre, which would take what somebody
/// between has sent before TLS for the server's answer within TLS (CVE-2011-0411 and others).
async fn start_tls(
    stream: TcpStream,
    hello: &ClientId,
    answer: Duration,
) -> Result<(bool, TcpStream), Failure> {
    let mut stream = BufReader::new(stream);
    ask(Step::Hello, &mut stream, None, 220, answer).await?;
    let features = ask(Step::Hello, &mut stream, Some(&format!("EHLO {hello}")), 250, answer).await?;
    let offered = features.iter().skip(1).any(|feature| feature.trim().eq_ignore_ascii_case("STARTTLS"));
    if offered {
        ask(Step::Tls, &mut stream, Some("STARTTLS"), 220, answer).await?;
    }
    if !stream.buffer().is_empty() {
        return Err(Failure::new(Step::Tls, None, "somebody sent answers before TLS had begun"));
    }
    Ok((offered, stream.into_inner()))
}

/// Sends a command, if there is one, and reads the answer; it must have this code.
async fn ask(
    step: Step,
    stream: &mut BufReader<TcpStream>,
    command: Option<&str>,
    expected: u16,
    answer: Duration,
) -> Result<Vec<String>, Failure> {
    let conversation = async {
        if let Some(command) = command {
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        }
        read_answer(stream).await
    };
    let (code, lines) = within(step, answer, conversation).await?;
    if code == expected { Ok(lines) } else { Err(Failure::new(step, Some(code), &lines.join(" "))) }
}

/// Reads an answer of one or more lines: `250-text`, the last one `250 text`.
async fn read_answer(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, Vec<String>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        (&mut *stream).take(LINE_BYTES as u64).read_until(b'\n', &mut line).await?;
        let (code, last, text) =
            parse_line(&line).ok_or_else(|| io::Error::other("this is no mail server"))?;
        lines.push(text);
        if last {
            return Ok((code, lines));
        }
        if lines.len() == LINES {
            return Err(io::Error::other("the answer has too many lines"));
        }
    }
}

/// Code, whether it is the last line, and the text.
pub(super) fn parse_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (code, rest) = line.split_at_checked(3)?;
    let code = std::str::from_utf8(code)
        .ok()
        .filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?
        .parse()
        .ok()?;
    let last = match rest.first() {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    Some((code, last, String::from_utf8_lossy(rest.get(1..).unwrap_or_default()).into_owned()))
}

/// A stream that begins with a greeting, because lettre waits for one and after STARTTLS the server sends none, and on which no
/// answer is longer than it may be.
#[derive(Debug)]
struct Answers<S> {
    greeting: &'static [u8],
    /// Bytes that were read since the last command.
    answered: usize,
    stream: S,
}

impl<S> Answers<S> {
    fn new(greeting: &'static [u8], stream: S) -> Self {
        Self { greeting, answered: 0, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Answers<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let (now, later) = self.greeting.split_at(self.greeting.len().min(buf.remaining()));
            buf.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        if self.answered >= ANSWER_BYTES {
            return Poll::Ready(Err(io::Error::other("the answer is too long for a mail server")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.answered += buf.filled().len().saturating_sub(before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answers<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // What follows answers another command.
        self.answered = 0;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who is at the other end.
trait Peer {
    fn peer(&self) -> io::Result<SocketAddr>;
}

impl Peer for TcpStream {
    fn peer(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }
}

impl Peer for tokio_rustls::client::TlsStream<TcpStream> {
    fn peer(&self) -> io::Result<SocketAddr> {
        self.get_ref().0.peer_addr()
    }
}

impl<S> AsyncTokioStream for Answers<S>
where
    S: Peer + AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug,
{
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_final_answer_about_the_mail_itself_gives_it_up() {
        let refused = |step: Step, code| step.blame(code) == Blame::Refused;
        let steps = [
            Step::Connect,
            Step::Tls,
            Step::Hello,
            Step::SignIn,
            Step::Sender,
            Step::Recipient,
            Step::Content,
        ];
        for step in steps {
            let of_the_mail = matches!(step, Step::Recipient | Step::Content);
            assert_eq!(refused(step, Some(550)), of_the_mail, "{step:?}");
            let later = if of_the_mail { Blame::Later } else { Blame::Server };
            assert_eq!(step.blame(Some(450)), later, "{step:?}");
            assert_eq!(step.blame(Some(421)), Blame::Server, "the server closes: {step:?}");
            assert_eq!(step.blame(None), Blame::Server, "{step:?}");
        }
    }

    #[test]
    fn a_server_that_quotes_the_link_reveals_no_token() {
        let url = "https://example.com/reset#token=sbr_canary123";
        for quoted in [url, "token=sbr_canary123", "sbr_canary123"] {
            let failure = Failure::new(Step::Content, Some(554), &format!("spam: {quoted} is listed"));
            let said = failure.without(Some(url)).said;
            assert!(!said.contains("canary") && said.contains("554 spam: "), "{said}");
        }
        let failure = Failure::new(Step::Content, Some(554), "no").without(Some("https://example.com/"));
        assert_eq!(failure.said(), "the mail server refuses the content: 554 no");
    }

    #[test]
    fn what_a_server_says_is_one_short_line() {
        let failure =
            Failure::new(Step::Recipient, Some(550), &format!("a\r\n\u{1b}[31mb {}", "x".repeat(2000)));
        assert!(failure.said().starts_with("the mail server refuses the recipient: 550 a [31mb x"));
        assert_eq!(failure.said().chars().count(), SAID_CHARS);
    }

    #[test]
    fn lines_of_answers_are_read_strictly() {
        assert_eq!(parse_line(b"250-SIZE 100\r\n"), Some((250, false, "SIZE 100".to_owned())));
        assert_eq!(parse_line(b"250 ok\n"), Some((250, true, "ok".to_owned())));
        assert_eq!(parse_line(b"220\r\n"), Some((220, true, String::new())));
        for wrong in [&b""[..], b"25", b"HTTP/1.1 400\r\n", b"250 cut off", b"250_x\r\n", b"+12 x\r\n"] {
            assert_eq!(parse_line(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_greeting_comes_before_what_the_server_says() {
        let mut stream = Answers::new(GREETING, &b"250 ok\r\n"[..]);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"220 connected\r\n250 ok\r\n");
    }

    /// Greets, and then answers the first command with a line that does not end, until the client hangs up. Returns how many bytes
    /// it could send.
    async fn serve_endless(listener: tokio::net::TcpListener, line: &[u8]) -> usize {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 hello\r\n").await.unwrap();
        let mut sent = 0;
        while let Ok(more) = stream.write(line).await {
            sent += more;
        }
        sent
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_given_up() {
        for line in [&[b'2'; 8192][..], &b"250-more\r\n".repeat(800)[..]] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let asking = async {
                let stream = TcpStream::connect(address).await.unwrap();
                let stream = Box::new(Answers::new(&[], stream));
                let hello = ClientId::default();
                let opened = AsyncSmtpConnection::connect_with_transport(stream, &hello);
                within(Step::Hello, Duration::from_secs(20), opened).await.err().unwrap()
            };
            let (sent, failure) = tokio::join!(serve_endless(listener, line), asking);
            assert!(failure.said().contains("too long for a mail server"), "{}", failure.said());
            // Buffers of the system take some more.
            assert!(sent < 64 << 20);
        }
    }

    #[tokio::test]
    async fn each_command_has_an_answer_of_its_own() {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let mut stream = Answers::new(&[], client);
        let mut buffer = vec![0; ANSWER_BYTES];
        for _ in 0..3 {
            stream.write_all(b"NOOP\r\n").await.unwrap();
            server.write_all(&vec![b'x'; ANSWER_BYTES]).await.unwrap();
            stream.read_exact(&mut buffer).await.unwrap();
        }
        server.write_all(b"x").await.unwrap();
        assert!(stream.read_u8().await.is_err());
    }
}
