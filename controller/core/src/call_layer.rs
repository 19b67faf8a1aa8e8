//! Processes every call before its handler: trace id, client address, deadline, authorization rule,
//! authentication, and an audit row if the layer or the handler refuses a changing call.
//!
//! Before anything else it admits the call: how many at once from an address or by a user, how many bytes, how slowly
//! ([`body`]).
//!
//! Input: an HTTP request of a gRPC method. Output: the same request with a [`Call`] in its extensions, or a status.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

mod body;
mod until;

use axum::{body::Body, extract::ConnectInfo};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use ipnet::IpNet;
use supalove_net::{
    allowance::{Allowance, Full, Refusals, network},
    serve::{EndsAt, Held},
};
use tokio::{sync::Semaphore, time::Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};
use tracing::Instrument as _;

use self::until::Until;

use crate::{
    access::{Authenticator, Call, Lasts, Principal, Rule, Rules, Scope, unauthenticated},
    audit,
    database::{Db, Statements},
    error::{Error, Result},
    ids::UserId,
    limits::Limits,
    refused_calls::RefusedCalls,
    times::Times,
};

/// For the audit row of a refusal whose call has used its time up.
const RECORD: Duration = Duration::from_secs(1);

/// Dependencies and settings of the layer.
pub struct Gate {
    /// For audit rows of refusals.
    pub db: Db,
    /// Authorization rules of all methods.
    pub rules: Rules,
    /// Authenticates callers.
    pub authenticator: Arc<dyn Authenticator>,
    /// Upper bounds of call durations.
    pub times: Arc<Times>,
    /// Networks of proxies whose X-Forwarded-For header the layer trusts.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins from which browsers may call methods with cookies, beside the API's own.
    pub origins: Vec<HeaderValue>,
    /// Counts refused calls of strangers.
    pub refused_calls: RefusedCalls,
    /// Bounds what callers have open.
    pub admission: Admission,
}

/// Bounds the calls and bytes of all callers together, of one address and of one user.
pub struct Admission {
    limits: Limits,
    open_calls: Allowance<IpAddr>,
    open_streams: Allowance<IpAddr>,
    unknown_calls: Allowance<IpAddr>,
    users: Allowance<UserId>,
    open_memory: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    refusals: Refusals,
}

impl Admission {
    /// With these limits; refusals are counted there.
    pub fn new(limits: &Limits, refusals: &Refusals) -> Self {
        let bytes = |bytes: usize| Arc::new(Semaphore::new(bytes));
        Self {
            open_calls: Allowance::new(limits.open_calls, limits.open_calls_per_address),
            open_streams: Allowance::new(limits.open_streams, limits.open_streams_per_address),
            unknown_calls: Allowance::new(limits.unknown_calls, limits.unknown_calls_per_address),
            users: Allowance::new(usize::MAX, limits.calls_per_user),
            open_memory: bytes(limits.open_memory),
            memory: bytes(limits.request_memory),
            limits: limits.clone(),
            refusals: refusals.clone(),
        }
    }

    /// A part of the calls, or of the streams, of an address, for a method that anyone may call. Streams stay open for long:
    /// those of strangers must not keep others from signing in.
    fn open_call(&self, rule: &Rule, client: IpAddr) -> Result<Box<dyn Send + Unpin>> {
        let (allowance, what) = match rule.lasts {
            Lasts::Stream => (&self.open_streams, "streams from your address"),
            Lasts::Call | Lasts::Wait => (&self.open_calls, "calls from your address"),
        };
        self.take(allowance, client, what, "call of a method that anyone may call: too many at once")
    }

    /// A part of the calls of an address until it is known who calls: each of them holds some 24 KB and waits for the database.
    fn unknown_call(&self, client: IpAddr) -> Result<Box<dyn Send + Unpin>> {
        let what = "calls from your address whose tokens are being checked";
        self.take(&self.unknown_calls, client, what, "call with a token: too many at once")
    }

    fn take(
        &self,
        allowance: &Allowance<IpAddr>,
        client: IpAddr,
        what: &'static str,
        refusal: &'static str,
    ) -> Result<Box<dyn Send + Unpin>> {
        match allowance.take(network(client), 1) {
            Ok(taken) => Ok(Box::new(taken)),
            Err(full) => {
                self.refusals.note(refusal, client);
                Err(Error::full(full, what))
            }
        }
    }

    /// A part of the calls of a user.
    fn user_call(&self, user: UserId) -> Result<Box<dyn Send + Unpin>> {
        match self.users.take(user, 1) {
            Ok(taken) => Ok(Box::new(taken)),
            Err(Full::All(most) | Full::Key(most)) => {
                self.refusals.note("call of a user: too many at once", user);
                Err(Error::TooMany { what: "calls", most })
            }
        }
    }

    fn body(&self, rule: &Rule, body: Body) -> Body {
        let open = rule.scope == Scope::Anyone;
        let limits = &self.limits;
        Body::new(body::RequestBody::new(
            body,
            body::Allowed {
                bytes: if open { limits.open_request_bytes } else { limits.request_bytes },
                memory: if open { self.open_memory.clone() } else { self.memory.clone() },
                time: limits.body,
                streaming: rule.lasts == Lasts::Stream,
            },
        ))
    }
}

/// Wraps services with the gate.
#[derive(Clone)]
pub struct CallLayer(pub Arc<Gate>);

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { gate: self.0.clone(), inner }
    }
}

/// A service wrapped with the gate.
#[derive(Clone)]
pub struct CallService<S> {
    gate: Arc<Gate>,
    inner: S,
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let gate = self.gate.clone();
        let trace_id = trace_id(request.headers());
        let span = tracing::info_span!("call", method = %request.uri().path(), trace_id = %trace_id);
        Box::pin(
            async move {
                let Some(rule) = gate.rules.find(request.uri().path()) else {
                    return Ok(no_such_method());
                };
                let started = Instant::now();
                let time = gate.time_allowed(rule, request.headers());
                let mut call = Call {
                    method: rule.method,
                    rule,
                    principal: None,
                    client: gate.client(&request),
                    trace_id: trace_id.clone(),
                    deadline: started + time,
                    named: Arc::default(),
                    organization: Arc::default(),
                    refused_as: Arc::default(),
                    authenticator: gate.authenticator.clone(),
                };
                let deadline = call.deadline;
                // Of a refused call until its audit row is written.
                let mut admitted = None;
                let statements = Statements::default();
                let answered = statements.count(async {
                    if let Err(status) =
                        gate.admit(&mut call, &AdmittedParts::of(&request), &mut admitted).await
                    {
                        return Ok(status.into_http());
                    }
                    let admitted = admitted.take();
                    request.extensions_mut().insert(call.clone());
                    let request = request.map(|body| gate.admission.body(rule, body));
                    let answer = inner.call(request).await?;
                    // A stream counts until it ends, and ends with its time.
                    Ok(answer.map(|body| Body::new(Until::new(Held::new(body, admitted), deadline, time))))
                });
                let mut response = match tokio::time::timeout_at(deadline, answered).await {
                    Ok(answer) => answer?,
                    Err(_) => too_late(time),
                };
                let status = Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""));
                gate.finish(&call, &status, started, &statements).await;
                // `supalove version` reads it without signing in.
                let version = http::HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
                response.headers_mut().insert("supalove-version", version);
                response.extensions_mut().insert(EndsAt(deadline));
                if let Ok(value) = trace_id.parse() {
                    response.headers_mut().insert("x-trace-id", value);
                }
                Ok(response)
            }
            .instrument(span),
        )
    }
}

impl Gate {
    /// Authenticates, then checks rules without an object. The handler checks the permission on an object. `admitted` becomes
    /// the call's part of what its address or its user may have open.
    async fn admit(
        &self,
        call: &mut Call,
        request: &AdmittedParts<'_>,
        admitted: &mut Option<Box<dyn Send + Unpin>>,
    ) -> Result<(), Status> {
        if call.rule.cookies {
            check_origin(call, request, &self.origins)?;
        }
        let headers = request.headers;
        let client = call.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if call.rule.scope == Scope::Anyone {
            *admitted = Some(self.admission.open_call(call.rule, client)?);
            return Ok(());
        }
        let token = bearer(headers).ok_or_else(unauthenticated)?;
        let unknown = self.admission.unknown_call(client)?;
        let principal = self.authenticator.authenticate(token).await?;
        drop(unknown);
        *admitted = Some(self.admission.user_call(principal.user)?);
        let operator = principal.operator;
        // Of a method on an object the handler asks, so that the audit row names the object.
        let in_scope = match call.rule.scope {
            Scope::On(_) => Ok(()),
            _ => principal.check_scope(call.rule.permission, call.short_method()),
        };
        call.principal = Some(principal);
        in_scope?;
        if call.rule.scope == Scope::OperatorOnly && !operator {
            return Err(Error::PermissionDenied {
                action: call.short_method().to_owned(),
                needs: "the platform's operator".to_owned(),
            }
            .into());
        }
        Ok(())
    }

    /// Returns the caller's timeout, at most the bound of the rule.
    fn time_allowed(&self, rule: &Rule, headers: &HeaderMap) -> Duration {
        let most = match rule.lasts {
            Lasts::Call => self.times.call,
            Lasts::Wait => self.times.wait_operation + self.times.call,
            Lasts::Stream if rule.scope == Scope::Anyone => self.admission.limits.open_stream,
            Lasts::Stream => self.times.stream,
        };
        headers
            .get("grpc-timeout")
            .and_then(|value| value.to_str().ok())
            .and_then(parse_grpc_timeout)
            .map_or(most, |asked| asked.min(most))
    }

    /// Returns the socket's peer, or behind a trusted proxy the last forwarded address that is not a trusted proxy.
    fn client(&self, request: &Request<Body>) -> Option<IpAddr> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip();
        Some(client_address(peer, request.headers(), &self.trusted_proxies))
    }

    /// Logs the call and audits a refused change. A successful change has written its audit row in its own transaction.
    async fn finish(&self, call: &Call, status: &Status, started: Instant, statements: &Statements) {
        let code = status.code();
        let user = call.principal.as_ref().map(Principal::to_string);
        let milliseconds = started.elapsed().as_millis();
        tracing::info!(code = ?code, user, milliseconds, statements = statements.total(), "call");
        if code == Code::Ok || !call.rule.changes {
            return;
        }
        let Some(principal) = &call.principal else {
            // No row for each of them, so that strangers cannot fill the table.
            self.refused_calls.count(call.method, &reason(status), call.client);
            return;
        };
        // A wrong password has a row each time: guesses have a limit of their own.
        let is_named = call.refused_as.get().is_some();
        if !is_named && !self.refused_calls.is_audited(call.method, &reason(status), principal.user) {
            return;
        }
        let entry = audit::Entry::refused(call, code);
        let until = call.deadline.max(Instant::now() + RECORD);
        match tokio::time::timeout_at(until, audit::record(&self.db, &entry)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot record a refused call in the audit log"),
            Err(_) => tracing::error!("cannot record a refused call in the audit log in time"),
        }
    }
}

/// What decides whether a call is admitted.
struct AdmittedParts<'a> {
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> AdmittedParts<'a> {
    fn of<B>(request: &'a Request<B>) -> Self {
        Self { uri: request.uri(), headers: request.headers() }
    }
}

/// The stable reason of a refusal, or its code.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| format!("{:?}", status.code()), |info| info.reason)
}

/// Refuses browsers of foreign sites, which send the user's cookies along, or would set another user's. Programs send no
/// Origin. A browser asks for its own origin's API without CORS, so that is allowed, too.
fn check_origin(call: &Call, request: &AdmittedParts<'_>, allowed: &[HeaderValue]) -> Result<()> {
    for origin in request.headers.get_all(header::ORIGIN) {
        if !allowed.contains(origin) && !is_own(origin, request) {
            return Err(Error::PermissionDenied {
                action: format!("{} from a page of this origin", call.short_method()),
                needs: "an origin that the operator allows with --cors-origin".to_owned(),
            });
        }
    }
    Ok(())
}

/// True if the page came from the host and port that the call goes to. A TLS proxy hides the scheme.
fn is_own(origin: &HeaderValue, request: &AdmittedParts<'_>) -> bool {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri.authority().map(http::uri::Authority::as_str).or(host);
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((host, origin), (Some(host), Some((_, page))) if host.eq_ignore_ascii_case(page))
}

fn no_such_method() -> Response<Body> {
    Status::from(Error::NoSuchMethod).into_http()
}

fn too_late(time: Duration) -> Response<Body> {
    Status::from(Error::TooLate(time)).into_http()
}

/// Returns the bearer token of a call.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let trusted = |address: &IpAddr| trusted_proxies.iter().any(|net| net.contains(address));
    if !trusted(&peer) {
        return peer;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
    let addresses: Vec<IpAddr> =
        forwarded.flat_map(|v| v.split(',')).filter_map(|part| part.trim().parse().ok()).collect();
    addresses.into_iter().rev().find(|address| !trusted(address)).unwrap_or(peer)
}

/// Returns the caller's trace id if it is well-formed (W3C traceparent), else a new one.
fn trace_id(headers: &HeaderMap) -> String {
    headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split('-').nth(1))
        .filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        .map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_ascii_lowercase)
}

/// Parses `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2, "Timeout").
fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_follow_the_grpc_syntax() {
        assert_eq!(parse_grpc_timeout("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_grpc_timeout("2S"), Some(Duration::from_secs(2)));
        for wrong in ["", "S", "123456789S", "-1S", "1x", "1.5S", "é"] {
            assert_eq!(parse_grpc_timeout(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_page_of_the_same_host_and_port_is_no_stranger() {
        let own = |origin: &str, host: &str| {
            let request = Request::builder().uri("/x").header("host", host).body(()).unwrap();
            is_own(&origin.parse().unwrap(), &AdmittedParts::of(&request))
        };
        assert!(
            own("https://api.example.com", "api.example.com")
                && own("http://localhost:8000", "LOCALHOST:8000")
        );
        for (origin, host) in [
            ("null", "api.example.com"),
            ("https://example.com", "api.example.com"),
            ("https://api.example.com:444", "api.example.com"),
            ("https://api.example.com.evil.com", "api.example.com"),
        ] {
            assert!(!own(origin, host), "{origin}");
        }
        let h2 = Request::builder().uri("http://api.example.com/x").body(()).unwrap();
        assert!(is_own(&"https://api.example.com".parse().unwrap(), &AdmittedParts::of(&h2)));
    }

    #[test]
    fn a_trace_id_is_taken_over_only_if_well_formed() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap(),
        );
        assert_eq!(trace_id(&headers), "4bf92f3577b34da6a3ce929d0e0e4736");
        headers.insert("traceparent", "00-evil\"-x".parse().unwrap());
        assert_eq!(trace_id(&headers).len(), 32);
    }
}
