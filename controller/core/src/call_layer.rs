//! Processes every call before its handler: trace id, client address, deadline, authorization rule,
//! authentication, and an audit row if the layer or the handler refuses a changing call.
//!
//! Input: an HTTP request of a gRPC method. Output: the same request with a [`Call`] in its extensions, or a status.

use crate::database::Db;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::ConnectInfo};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use ipnet::IpNet;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{
    access::{Authenticator, Call, Lasts, Rule, Rules, Scope, unauthenticated},
    audit,
    error::{Error, Result},
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
                    authenticator: gate.authenticator.clone(),
                };
                let deadline = call.deadline;
                let answered = tokio::time::timeout_at(deadline, async {
                    if let Err(status) = gate.admit(&mut call, request.headers()).await {
                        return Ok(status.into_http());
                    }
                    request.extensions_mut().insert(call.clone());
                    inner.call(request).await
                });
                let mut response = match answered.await {
                    Ok(answer) => answer?,
                    Err(_) => too_late(time),
                };
                let code =
                    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
                gate.finish(&call, code, started).await;
                // `supalove version` reads it without signing in.
                let version = http::HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
                response.headers_mut().insert("supalove-version", version);
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
    /// Authenticates, then checks rules without an object. The handler checks the permission on an object.
    async fn admit(&self, call: &mut Call, headers: &HeaderMap) -> Result<(), Status> {
        if call.rule.scope == Scope::Anyone {
            return Ok(());
        }
        let token = bearer(headers).ok_or_else(unauthenticated)?;
        let principal = self.authenticator.authenticate(token).await?;
        let operator = principal.operator;
        call.principal = Some(principal);
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
    async fn finish(&self, call: &Call, code: Code, started: Instant) {
        let user = call.principal.as_ref().map(|p| p.user.to_string());
        tracing::info!(code = ?code, user, milliseconds = started.elapsed().as_millis(), "call");
        // Unauthenticated refusals are not audited (except of public methods), so that strangers cannot flood the
        // table.
        let known = call.principal.is_some() || call.rule.scope == Scope::Anyone;
        if code != Code::Ok && call.rule.changes && known {
            let entry = audit::Entry::refused(call, code);
            let until = call.deadline.max(Instant::now() + RECORD);
            match tokio::time::timeout_at(until, audit::record(&self.db, &entry)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "cannot record a refused call in the audit log"),
                Err(_) => tracing::error!("cannot record a refused call in the audit log in time"),
            }
        }
    }
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
