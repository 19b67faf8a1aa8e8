//! What the agent knows of each project's volumes, kept outside of them: one sealed file per project. A volume whose mark
//! is not the one that is written here is not the project's own.

use std::path::{Path, PathBuf};

use prost::Message;

/// All volumes of a project.
#[derive(Clone, PartialEq, Message)]
pub struct Volumes {
    #[prost(string, tag = "1")]
    pub project_ref: String,
    #[prost(message, repeated, tag = "2")]
    pub volumes: Vec<KnownVolume>,
}

/// One volume.
#[derive(Clone, PartialEq, Eq, Message)]
#[expect(clippy::struct_excessive_bools, reason = "facts, each of which holds or not")]
pub struct KnownVolume {
    /// Full name, as the engine has it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Random; written beside the data as well.
    #[prost(string, tag = "2")]
    pub id: String,
    /// Folder of the agent's that holds it; empty for one that lies in a folder of the engine's.
    #[prost(string, tag = "3")]
    pub folder: String,
    /// The generation that it was made for.
    #[prost(uint64, tag = "4")]
    pub generation: u64,
    /// A service was ready on it.
    #[prost(bool, tag = "5")]
    pub was_ready: bool,
    /// Its data is on its way from the engine's folder to this one.
    #[prost(bool, tag = "6")]
    pub moving: bool,
    /// The node that made it, as on its label.
    #[prost(string, tag = "7")]
    pub node: String,
    /// Generation of the last act that made it anew although it had been ready.
    #[prost(uint64, tag = "8")]
    pub remade_for: u64,
    /// A database was ready on it with files in it: it never becomes empty again.
    #[prost(bool, tag = "9")]
    pub was_filled: bool,
    /// It holds a tenant's data, no cache.
    #[prost(bool, tag = "10")]
    pub is_data: bool,
    /// The database on it was told to refuse writes, since it was full.
    #[prost(bool, tag = "11")]
    pub read_only: bool,
    /// What the last measurement that changed anything found.
    #[prost(message, optional, tag = "12")]
    pub usage: Option<KnownUsage>,
}

/// How full a volume is, and what it may hold in a generation.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct KnownUsage {
    /// The generation that this holds for: the next one begins anew.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// What writes beyond it is stopped.
    #[prost(uint64, tag = "2")]
    pub ceiling_mib: u64,
    /// As `stack::disk` numbers its levels.
    #[prost(uint32, tag = "3")]
    pub level: u32,
    #[prost(uint64, tag = "4")]
    pub used_mib: u64,
}

impl KnownVolume {
    /// Its folder, if it is one of the agent's.
    pub fn folder(&self) -> Option<PathBuf> {
        (!self.folder.is_empty()).then(|| Path::new(&self.folder).to_owned())
    }
}

impl Volumes {
    pub fn get(&self, name: &str) -> Option<&KnownVolume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// Puts a volume in the place of the one of that name.
    pub fn put(&mut self, volume: KnownVolume) {
        self.volumes.retain(|old| old.name != volume.name);
        self.volumes.push(volume);
    }
}
