//! The state of the fake API: sessions, what was asked, and the answers it is told to give.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use supalove_proto::v1::{
    Operation, OperationState, Project, SessionTokens, TailLogsRequest, TailLogsResponse, User,
    WatchProjectResponse, WatchResponse, WatchSubscription,
};
use tonic::{Request, Status};

pub const PASSWORD: &str = "correct horse battery";
pub const SETUP_TOKEN: &str = "one-time-token";

#[derive(Default)]
pub struct Fake {
    state: Mutex<State>,
}

/// What tests set and look at.
#[derive(Default)]
pub struct State {
    /// Number of the pair of tokens that works; 0 = none.
    pub session: u32,
    /// New tokens have ended when they arrive.
    pub stale_tokens: bool,
    pub refreshes: u32,
    /// A refresh takes this long, so that two of them would meet.
    pub refresh_takes: Duration,
    /// Answers for the next calls that need a session.
    pub failures: VecDeque<Status>,
    /// What CheckConsistency answers.
    pub differences: Vec<supalove_proto::v1::Difference>,
    /// (method, request id) of the calls that arrived, those that failed as well.
    pub calls: Vec<(&'static str, String)>,
    /// What WaitOperation answers, in turn; when it is empty the operation goes on.
    pub ended: Option<Operation>,
    /// Streams of WatchProject, in turn; each ends when its messages have been sent.
    pub watches: VecDeque<Vec<WatchProjectResponse>>,
    /// `after_seq` of the watches that were opened.
    pub watched_after: Vec<Option<u64>>,
    /// Streams of Watch, in turn; each ends when its messages have been sent.
    pub watches_of_many: VecDeque<Vec<WatchResponse>>,
    /// Subscriptions of the watches that were opened.
    pub subscribed: Vec<Vec<WatchSubscription>>,
    /// Streams of TailLogs, in turn; each ends when its messages have been sent.
    pub tails: VecDeque<Vec<Result<TailLogsResponse, Status>>>,
    /// The tails that were asked for.
    pub tailed: Vec<TailLogsRequest>,
    /// What ListProjects answers.
    pub projects: Vec<Project>,
    /// What GetProject answers; without one a healthy project.
    pub shown: Option<Project>,
    /// The caller's only organization; without one there are three.
    pub only_organization: Option<String>,
    /// Organizations of the projects that were created.
    pub created_in: Vec<String>,
    /// Bytes of images' content that were uploaded, by digest.
    pub uploaded: std::collections::BTreeMap<String, Vec<u8>>,
    /// The next upload breaks in the middle of its first chunk.
    pub cut_upload: bool,
    /// Every call takes this long.
    pub delay: Duration,
}

impl Fake {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Notes a call, checks its token and gives the answer a test asked for.
    pub async fn enter<T>(&self, request: &Request<T>, method: &'static str, id: &str) -> Result<(), Status> {
        let delay = self.state().delay;
        tokio::time::sleep(delay).await;
        let mut state = self.state();
        state.calls.push((method, id.to_owned()));
        let expected = format!("Bearer access-{}", state.session);
        let given = request.metadata().get("authorization");
        if state.session == 0 || given.is_none_or(|token| token != expected.as_str()) {
            return Err(Status::unauthenticated("no session"));
        }
        // Which organization is meant is looked up first; the failures are for the call that a test is about.
        let failure = if method == "ListOrganizations" { None } else { state.failures.pop_front() };
        match failure {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    /// Notes a call that needs no session.
    pub fn note(&self, method: &'static str, id: &str) {
        self.state().calls.push((method, id.to_owned()));
    }

    pub fn calls_of(&self, method: &str) -> Vec<String> {
        let calls = &self.state().calls;
        calls.iter().filter(|(name, _)| *name == method).map(|(_, id)| id.clone()).collect()
    }
}

impl State {
    pub fn new_tokens(&mut self) -> SessionTokens {
        self.session += 1;
        let lives = if self.stale_tokens { -60 } else { 600 };
        SessionTokens {
            access_token: format!("access-{}", self.session),
            access_token_expire_time: Some(prost_types::Timestamp {
                seconds: chrono::Utc::now().timestamp() + lives,
                nanos: 0,
            }),
            refresh_token: format!("refresh-{}", self.session),
        }
    }
}

pub fn user() -> User {
    User {
        id: "usr_1".into(),
        email: "ada@example.com".into(),
        display_name: "Ada".into(),
        operator: true,
        ..User::default()
    }
}

pub fn operation(state: OperationState) -> Operation {
    Operation {
        id: "opr_1".into(),
        project_ref: "abcdefghijklmnopqrst".into(),
        state: state.into(),
        kind: supalove_proto::v1::OperationKind::CreateProject.into(),
        ..Default::default()
    }
}
