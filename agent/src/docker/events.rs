//! The engine's events, as hints to inspect a container. Events may be lost; the periodic list is the truth.

use std::collections::HashMap;

use bollard::query_parameters::EventsOptionsBuilder;
use futures::{Stream, StreamExt as _};

use super::{Engine, EngineError, labels};

/// A container of this fleet has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub project_ref: String,
    pub container: String,
}

impl Engine {
    /// Hints from now on; ends when the engine becomes unreachable.
    pub fn hints(&self) -> impl Stream<Item = Result<Hint, EngineError>> + Send + use<> {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("label", vec![self.fleet_label()]),
            ("event", ["die", "destroy", "oom", "start"].map(str::to_owned).to_vec()),
        ]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let docker = self.docker.clone();
        docker.events(Some(options)).filter_map(|event| async {
            match event {
                Ok(event) => {
                    let actor = event.actor?;
                    let project_ref = actor.attributes?.remove(labels::PROJECT)?;
                    Some(Ok(Hint { project_ref, container: actor.id? }))
                }
                Err(error) => Some(Err(error.into())),
            }
        })
    }
}
