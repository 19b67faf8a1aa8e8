//! What `supalove-agent status` shows. In: the session's and the projects' state. Out: JSON on a Unix socket that only
//! the agent's own user may open.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use supalove_proto::node::v1::StackPhase;
use supalove_tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::conditions::Conditions;
use crate::identity::LiveIdentity;
use crate::reports::Reports;

const SOCKET: &str = "agent.sock";
/// Time limit of one answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Pause before an agent that is not ready is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The session with the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum SessionStatus {
    #[default]
    Connecting,
    /// The controller has said Hello.
    Connected {
        since: DateTime<Utc>,
        /// Number of the session.
        epoch: u64,
    },
    /// Waiting to dial again.
    Waiting {
        /// Why the last session or try ended.
        reason: String,
        /// When it dials again.
        next_try: DateTime<Utc>,
    },
    /// The controller has sent this node away.
    Refused {
        /// Stable reason: "REVOKED" or "DUPLICATE_IDENTITY".
        reason: String,
        /// For people.
        message: String,
        /// When it dials again.
        next_try: DateTime<Utc>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectStatus {
    pub project_ref: String,
    pub generation: u64,
    /// Where the agent is with it, e.g. "HEALTHY".
    pub phase: String,
    /// What is wrong; empty if nothing.
    pub error: String,
}

/// Something that is wrong with the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionStatus {
    /// Stable reason, e.g. "ENGINE_SILENT".
    pub reason: String,
    /// For people, with the remedy.
    pub message: String,
    /// When it began.
    pub since: DateTime<Utc>,
    /// True if the node takes no new projects meanwhile.
    pub blocking: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// "nod_…".
    pub node_id: String,
    pub controller: String,
    /// Version of the running agent.
    pub version: String,
    pub session: SessionStatus,
    /// End of the node's certificate, RFC 3339.
    #[serde(default)]
    pub certificate_ends: String,
    /// What is wrong with the node; empty if nothing.
    #[serde(default)]
    pub conditions: Vec<ConditionStatus>,
    pub projects: Vec<ProjectStatus>,
}

/// Where the session writes its state; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard(Arc<Mutex<SessionStatus>>);

impl StatusBoard {
    /// Notes the session's state.
    pub fn set(&self, status: SessionStatus) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    pub fn get(&self) -> SessionStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Opens the socket. A file that a dead agent left is replaced.
pub fn listen(state_dir: &Path) -> io::Result<UnixListener> {
    let path = socket(state_dir);
    crate::fsio::remove(&path)?;
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers whoever connects. Never returns.
pub async fn serve(
    tasks: Tasks,
    listener: UnixListener,
    identity: LiveIdentity,
    board: StatusBoard,
    reports: Reports,
    conditions: Conditions,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let identity = identity.get();
                let status = Status {
                    node_id: identity.node_id.clone(),
                    controller: identity.controller.clone(),
                    certificate_ends: identity.expire_time.clone(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    session: board.get(),
                    conditions: self::conditions(&conditions),
                    projects: projects(&reports),
                };
                tasks.connection("status request", tokio::time::timeout(LIMIT, answer(stream, status)));
            }
            // Most likely no file descriptor is free: wait until other tasks close some.
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Asks the agent that runs on a state directory.
pub async fn ask(state_dir: &Path) -> io::Result<Status> {
    let read = async {
        let mut stream = UnixStream::connect(socket(state_dir)).await?;
        let mut content = Vec::new();
        stream.read_to_end(&mut content).await?;
        serde_json::from_slice(&content).map_err(io::Error::from)
    };
    tokio::time::timeout(LIMIT, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Returns when the agent on a state directory is connected and nothing keeps projects away from the node; errs with what is in
/// the way when the time is over.
pub async fn wait_until_ready(state_dir: &Path, limit: Duration) -> Result<(), String> {
    let mut obstacle = "the agent has not said anything".to_owned();
    let waiting = async {
        loop {
            match ask(state_dir).await.map(|status| status.obstacle()) {
                Ok(None) => return,
                Ok(Some(found)) => obstacle = found,
                Err(error) => obstacle = format!("the agent does not run ({error}); look at its log"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let ready = tokio::time::timeout(limit, waiting).await.is_ok();
    if ready { Ok(()) } else { Err(obstacle) }
}

impl Status {
    /// Why the node is not ready; none if it is.
    pub fn obstacle(&self) -> Option<String> {
        self.session_obstacle().or_else(|| {
            let blocking = self.conditions.iter().find(|condition| condition.blocking)?;
            Some(format!("{}: {}", blocking.reason, blocking.message))
        })
    }

    /// Why there is no session; none if there is one.
    pub fn session_obstacle(&self) -> Option<String> {
        match &self.session {
            SessionStatus::Connected { .. } => None,
            SessionStatus::Connecting => {
                Some(format!("no session with the controller at {} yet", self.controller))
            }
            SessionStatus::Waiting { reason, .. } => {
                Some(format!("no session with the controller at {}: {reason}", self.controller))
            }
            SessionStatus::Refused { reason, message, .. } => {
                Some(format!("the controller refused this node ({reason}): {message}"))
            }
        }
    }
}

async fn answer(mut stream: UnixStream, status: Status) {
    if let Ok(content) = serde_json::to_vec(&status) {
        // The caller may be gone.
        let _ = stream.write_all(&content).await;
    }
}

fn conditions(conditions: &Conditions) -> Vec<ConditionStatus> {
    let status = |one: supalove_proto::node::v1::NodeCondition| {
        let since = one.since.and_then(|time| SystemTime::try_from(time).ok());
        ConditionStatus {
            reason: one.reason,
            message: one.message,
            since: since.unwrap_or(SystemTime::UNIX_EPOCH).into(),
            blocking: one.blocking,
        }
    };
    conditions.all().into_iter().map(status).collect()
}

fn projects(reports: &Reports) -> Vec<ProjectStatus> {
    reports
        .all()
        .into_iter()
        .filter(|stack| stack.phase() != StackPhase::Removed)
        .map(|stack| ProjectStatus {
            phase: stack.phase().as_str_name().trim_start_matches("STACK_PHASE_").to_owned(),
            project_ref: stack.project_ref,
            generation: stack.generation,
            error: stack
                .error
                .map(|error| format!("{}: {}", error.reason, error.message))
                .unwrap_or_default(),
        })
        .collect()
}

fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_running_agent_answers_and_a_dead_one_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ask(dir.path()).await.is_err());
        let board = StatusBoard::default();
        board.set(SessionStatus::Waiting { reason: "refused".into(), next_try: Utc::now() });
        let listener = listen(dir.path()).unwrap();
        let identity = LiveIdentity::new(crate::identity::sample(), dir.path().to_owned());
        let tasks = Tasks::default();
        let reports = Reports::default();
        let conditions = Conditions::new(reports.clone());
        conditions.raise_blocking("ENGINE_SILENT", "it does not answer".into());
        let waits = conditions.clone();
        let server = serve(tasks.clone(), listener, identity, board.clone(), reports, conditions);
        let server = tasks.job("status socket", server);
        let status = ask(dir.path()).await.unwrap();
        assert_eq!((status.node_id.as_str(), &status.session), ("nod_1", &board.get()));
        assert_eq!(status.conditions[0].message, "it does not answer");
        let soon = Duration::from_millis(500);
        let why = wait_until_ready(dir.path(), soon).await.unwrap_err();
        assert_eq!(why, "no session with the controller at 127.0.0.1:1: refused");
        board.set(SessionStatus::Connected { since: Utc::now(), epoch: 1 });
        let why = wait_until_ready(dir.path(), soon).await.unwrap_err();
        assert_eq!(why, "ENGINE_SILENT: it does not answer");
        waits.clear("ENGINE_SILENT");
        wait_until_ready(dir.path(), soon).await.unwrap();
        server.abort();
        server.await.unwrap_err();
        assert!(ask(dir.path()).await.is_err());
        listen(dir.path()).unwrap();
    }
}
