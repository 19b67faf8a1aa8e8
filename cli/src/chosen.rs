//! The choice of `supalove use`: a default organization and project per API address, in a file beside the session.
//! Environment variables override it.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{args::variable, credentials, error::Error};

/// A choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Slug of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Ref of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// The choices, by address of the API.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Contents {
    contexts: BTreeMap<String, Chosen>,
}

impl Chosen {
    /// Returns the effective choice: the variables, else the file.
    pub fn now(store: &credentials::Store, api: &str) -> Result<Self, Error> {
        let stored = Self::stored(store, api)?;
        let organization = variable("SUPALOVE_ORGANIZATION");
        // A variable that names another organization makes the stored project meaningless.
        let moved = organization.is_some() && organization != stored.organization;
        let project = variable("SUPALOVE_PROJECT").or(stored.project.filter(|_| !moved));
        Ok(Self { organization: organization.or(stored.organization), project })
    }

    /// Reads the choice from the file.
    pub fn stored(store: &credentials::Store, api: &str) -> Result<Self, Error> {
        Ok(read(&path(store))?.contexts.remove(api).unwrap_or_default())
    }

    /// Stores the choice; removes it if it is empty.
    pub fn keep(self, store: &credentials::Store, api: &str) -> Result<(), Error> {
        store.make_directory()?;
        let path = path(store);
        let mut contents = read(&path)?;
        if self == Self::default() {
            contents.contexts.remove(api);
        } else {
            contents.contexts.insert(api.to_owned(), self);
        }
        let text = serde_json::to_vec_pretty(&contents).map_err(|e| Error::Answer(e.to_string()))?;
        credentials::replace(&path.with_extension("new"), &path, &text)
            .map_err(|source| Error::File { path, source })
    }
}

fn path(store: &credentials::Store) -> PathBuf {
    store.path().with_file_name("context.json")
}

fn read(path: &PathBuf) -> Result<Contents, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        Err(source) => return Err(Error::File { path: path.clone(), source }),
    };
    parse(&text).map_err(|source| {
        Error::Usage(format!("{} is not a context file: {source}; remove it", path.display()))
    })
}

pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Contents> {
    serde_json::from_slice(text)
}
