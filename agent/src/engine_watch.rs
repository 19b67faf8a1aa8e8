//! Watches the Docker Engine: whether it answers, whether it left a call unanswered, whether its restart would stop containers,
//! and whether its chains are in the packet filter. In: calls to the engine, listings of the packet filter. Out: conditions of the node.

use std::path::{Path, PathBuf};

use tokio::time::{Instant, sleep};

use crate::conditions::{
    CHAINS_ADVICE, Conditions, ENGINE_SILENT, ENGINE_SLOW, FIREWALL_CHAINS_MISSING, LIVE_RESTORE_OFF,
};
use crate::config::Times;
use crate::docker::{Engine, EngineError};
use crate::fsio;
use crate::network::{Chains, engine_chains};

/// Exists once the engine's chains have been seen on this host. An engine can be set up to make none, and an agent that
/// starts after they were flushed must still miss them.
const CHAINS_SEEN: &str = "engine-chains";

/// Says that the engine does not answer.
pub fn tell_silent(conditions: &Conditions, error: &EngineError) {
    let cause = match error {
        EngineError::Timeout(limit) => format!("no answer within {limit:?}"),
        other => other.to_string(),
    };
    let said = format!(
        "the Docker Engine does not answer ({cause}); containers run on, but nothing can be started or stopped, names of \
         services cannot be looked up, and ports on loopback may be gone: look at `systemctl status docker` on this host, \
         and restart it (systemctl restart docker)"
    );
    conditions.raise_blocking(ENGINE_SILENT, said);
}

/// Asks the engine for a sign of life. Never returns.
pub async fn signs_of_life(engine: Engine, conditions: Conditions, times: Times) {
    let mut answered = Instant::now();
    conditions.clear(ENGINE_SILENT);
    loop {
        let patience = times.engine_silent.saturating_sub(answered.elapsed()).max(times.engine_check);
        match engine.answers(patience).await {
            Ok(()) => {
                answered = Instant::now();
                conditions.clear(ENGINE_SILENT);
                tell_slow(&engine, &conditions, &times);
            }
            Err(error) if answered.elapsed() >= times.engine_silent => {
                conditions.clear(ENGINE_SLOW);
                // The last call had less time than the engine has had since it last answered.
                let error = match error {
                    EngineError::Timeout(_) => EngineError::Timeout(times.engine_silent),
                    other => other,
                };
                tell_silent(&conditions, &error);
            }
            // It may be about to start again.
            Err(error) => tracing::debug!(%error, "Docker Engine gave no sign of life"),
        }
        sleep(times.engine_check).await;
    }
}

fn tell_slow(engine: &Engine, conditions: &Conditions, times: &Times) {
    if engine.late_calls() == 0 {
        conditions.clear(ENGINE_SLOW);
        return;
    }
    let limit = times.engine_silent;
    let said = format!(
        "the Docker Engine answers, but has left a call of the agent unanswered for more than {limit:?}; the project that \
         waits for it makes no progress: if this stays, look at the engine's log and restart it (systemctl restart docker)"
    );
    conditions.raise_note(ENGINE_SLOW, said);
}

/// Asks the engine whether containers outlive its restart: `systemctl reload docker` changes that. Never returns.
pub async fn live_restore(engine: Engine, conditions: Conditions, times: Times) {
    loop {
        match engine.info().await {
            Ok(info) => tell_live_restore(&conditions, info.live_restore),
            // Whether it answers, `signs_of_life` tells.
            Err(error) => tracing::debug!(%error, "cannot ask the Docker Engine for its settings"),
        }
        sleep(times.live_restore_check).await;
    }
}

fn tell_live_restore(conditions: &Conditions, on: bool) {
    if on {
        return conditions.clear(LIVE_RESTORE_OFF);
    }
    let said = "the Docker Engine runs without live-restore: its next restart stops every project of this host; add \
        \"live-restore\": true to /etc/docker/daemon.json, then: systemctl reload docker (which restarts nothing)";
    conditions.raise_note(LIVE_RESTORE_OFF, said.to_owned());
}

/// Looks for the engine's chains. Never returns.
pub async fn chains(state_dir: PathBuf, conditions: Conditions, times: Times) {
    let mark = state_dir.join(CHAINS_SEEN);
    let mut seen = was_seen(&mark).await;
    loop {
        match engine_chains(times.rules_call).await {
            Chains::Present => {
                conditions.clear(FIREWALL_CHAINS_MISSING);
                if !seen {
                    seen = remember_seen(&mark).await;
                }
            }
            Chains::Missing if seen => {
                conditions.raise_blocking(FIREWALL_CHAINS_MISSING, CHAINS_ADVICE.to_owned());
            }
            Chains::Missing => {}
            Chains::Unknown(why) => tracing::debug!(why, "cannot look for the Docker Engine's chains"),
        }
        sleep(times.chains_check).await;
    }
}

async fn was_seen(mark: &Path) -> bool {
    let mark = mark.to_owned();
    tokio::task::spawn_blocking(move || mark.exists()).await.unwrap_or_default()
}

/// True even if it cannot be written down: this run of the agent knows.
async fn remember_seen(mark: &Path) -> bool {
    let path = mark.to_owned();
    let written = tokio::task::spawn_blocking(move || fsio::write_atomic(&path, b"", 0o600)).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(%error, "cannot record that the Docker Engine's chains were seen");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::Reports;

    #[test]
    fn an_engine_without_live_restore_is_a_note_until_it_is_set() {
        let conditions = Conditions::new(Reports::default());
        tell_live_restore(&conditions, true);
        assert!(conditions.all().is_empty());
        tell_live_restore(&conditions, false);
        let [told] = conditions.all().try_into().unwrap();
        assert_eq!((told.reason.as_str(), told.blocking), (LIVE_RESTORE_OFF, false));
        assert!(told.message.contains("daemon.json") && told.message.contains("systemctl reload docker"));
        tell_live_restore(&conditions, true);
        assert!(conditions.all().is_empty());
    }
}
