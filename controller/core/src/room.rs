//! A room: one part of the control plane, as the server mounts it.

use std::convert::Infallible;

use axum::{Router, response::IntoResponse};
use http::Request;
use tonic::{body::Body, server::NamedService, service::RoutesBuilder};
use tower::Service;

use crate::{access::Rule, consistency::LiveCheck, jobs::Job, watch::StreamSource};

type Mount = Box<dyn FnOnce(&mut RoutesBuilder) + Send>;

/// What a room brings: its gRPC services, its HTTP routes, the rows of its methods, its jobs, the streams of its objects,
/// its checks of consistency.
pub struct Room {
    /// The room's name in logs.
    pub name: &'static str,
    /// Rows of the methods of its services.
    pub rules: &'static [Rule],
    /// Routes beside gRPC.
    pub http: Router,
    /// Its work in the background.
    pub jobs: Vec<Job>,
    /// Streams of its objects, for the one watch.
    pub streams: Vec<Box<dyn StreamSource>>,
    /// Comparisons of its memory, or of nodes, with the rows. Those of rows among themselves are its `ROW_CHECKS`.
    pub checks: Vec<Box<dyn LiveCheck>>,
    grpc: Vec<Mount>,
}

impl Room {
    /// A room without services or jobs.
    pub fn new(name: &'static str, rules: &'static [Rule]) -> Self {
        Self {
            name,
            rules,
            http: Router::new(),
            jobs: Vec::new(),
            streams: Vec::new(),
            checks: Vec::new(),
            grpc: Vec::new(),
        }
    }

    /// Adds a gRPC service.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.grpc.push(Box::new(move |routes| {
            routes.add_service(service);
        }));
        self
    }

    /// Adds a job.
    #[must_use]
    pub fn job(mut self, job: Job) -> Self {
        self.jobs.push(job);
        self
    }

    /// Adds the streams of a kind of object.
    #[must_use]
    pub fn stream(mut self, source: impl StreamSource) -> Self {
        self.streams.push(Box::new(source));
        self
    }

    /// Adds a comparison of memory, or of nodes, with the rows.
    #[must_use]
    pub fn check(mut self, check: impl LiveCheck) -> Self {
        self.checks.push(Box::new(check));
        self
    }

    /// Mounts the room's services; once.
    pub fn mount(&mut self, routes: &mut RoutesBuilder) {
        for mount in self.grpc.drain(..) {
            mount(routes);
        }
    }
}
