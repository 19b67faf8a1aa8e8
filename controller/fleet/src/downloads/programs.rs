//! The agent's programs on this controller's disk. A program is given away only if it is for the host's processor and of the
//! controller's version, both read from the file: programs of other processors cannot be asked. In: a folder. Out: an open file
//! with its digest.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    io::{self, Read, Seek as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use supalove_spec::program::{VERSION_BYTES, VERSION_END, VERSION_MARK, is_version};

/// The version that programs must have.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;
/// The beginning of an ELF file up to its machine: magic, 64 bits, little-endian (System V ABI, "ELF header").
const ELF: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
/// Where the ELF header has its machine.
const MACHINE: usize = 18;

/// A kind of processor that the agent is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// As `uname -m` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The architecture of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Name of its program.
    pub fn program(self) -> String {
        format!("supalove-agent-{}", self.name())
    }

    /// `e_machine` of the ELF header.
    const fn machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    /// True for that of this program.
    fn is_own(self) -> bool {
        self.name() == std::env::consts::ARCH
    }
}

/// Why there is no program. The texts go to strangers: they name no path of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// No file.
    Absent(Architecture),
    /// A file that is for another processor, or no program.
    OtherProcessor(Architecture),
    /// A file of another version, or of none.
    OtherVersion(Architecture, Option<String>),
    /// The file cannot be read.
    Unreadable(Architecture),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (architecture, wrong) = match self {
            Self::Absent(a) => (a, String::new()),
            Self::OtherProcessor(a) => {
                (a, ": its file is a program for another processor, or none".to_owned())
            }
            Self::OtherVersion(a, Some(version)) => (a, format!(": its file has version {version}")),
            Self::OtherVersion(a, None) => (a, ": its file names no version".to_owned()),
            Self::Unreadable(a) => (a, ": its file cannot be read".to_owned()),
        };
        let name = architecture.name();
        write!(
            f,
            "this controller has no agent of version {VERSION} for {name}{wrong}; its operator puts it beside the controller's \
             program, or into --agents-dir, as {}",
            architecture.program()
        )
    }
}

/// A program that may be given away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// SHA-256, hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// What tells whether a file has changed since it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

type Found = Result<Program, Missing>;

/// The programs in a folder. A file is read once, and again when it has changed.
#[derive(Debug)]
pub struct Programs {
    dir: Option<PathBuf>,
    /// The lock is held while a file is read: others wait, and do not read it, too.
    known: Mutex<HashMap<Architecture, (Stamp, Arc<Found>)>>,
}

impl Programs {
    /// For a folder, by default that of this program.
    pub fn new(dir: Option<PathBuf>) -> Self {
        let own = || Some(std::env::current_exe().ok()?.parent()?.to_owned());
        Self { dir: dir.or_else(own), known: Mutex::default() }
    }

    /// Architectures that have a file for that processor. Reads only the beginning of each.
    pub fn present(&self) -> Vec<Architecture> {
        let is_for = |one: &Architecture| {
            let mut head = [0; MACHINE + 2];
            self.file(*one).is_some_and(|mut file| {
                file.read_exact(&mut head).is_ok() && machine(&head) == Some(one.machine())
            })
        };
        Architecture::ALL.into_iter().filter(is_for).collect()
    }

    /// Opens a program. Blocks: it reads a file that it does not know.
    pub fn open(&self, architecture: Architecture) -> Result<(File, Program), Missing> {
        let file = self.file(architecture).ok_or(Missing::Absent(architecture))?;
        let unreadable = |error: io::Error| {
            tracing::warn!(%error, architecture = architecture.name(), "cannot read a program of the agent");
            Missing::Unreadable(architecture)
        };
        let stamp = stamp(&file).map_err(unreadable)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match known.get(&architecture) {
            Some((of, found)) if *of == stamp => found.clone(),
            _ => {
                let found = Arc::new(inspect(&file, architecture).map_err(unreadable)?);
                match found.as_ref() {
                    Ok(program) => {
                        tracing::info!(
                            architecture = architecture.name(),
                            sha256 = program.sha256,
                            "program for joining hosts"
                        );
                    }
                    Err(missing) => tracing::warn!(%missing, dir = ?self.dir, "no program for joining hosts"),
                }
                known.insert(architecture, (stamp, found.clone()));
                found
            }
        };
        drop(known);
        let program = found.as_ref().clone()?;
        let mut file = file;
        file.rewind().map_err(unreadable)?;
        Ok((file, program))
    }

    fn file(&self, architecture: Architecture) -> Option<File> {
        let dir = self.dir.as_deref()?;
        let open = |name: &str| open_file(&dir.join(name));
        let own = || architecture.is_own().then(|| open("supalove-agent")).flatten();
        open(&architecture.program()).or_else(own)
    }
}

/// A regular file; a folder or a pipe is none.
fn open_file(path: &Path) -> Option<File> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    File::open(path)
        .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "cannot open a program"))
        .ok()
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let data = file.metadata()?;
    Ok(Stamp {
        device: data.dev(),
        inode: data.ino(),
        bytes: data.len(),
        changed: (data.mtime(), data.mtime_nsec()),
    })
}

/// Reads a whole program: its processor, its version and its digest.
fn inspect(file: &File, architecture: Architecture) -> io::Result<Found> {
    let mut file = file;
    file.rewind()?;
    let mut digest = Context::new(&SHA256);
    let mut bytes = 0;
    let mut version = None;
    let mut block = vec![0; BLOCK];
    // What of the last block may be the beginning of a mark.
    let mut kept: Vec<u8> = Vec::new();
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            break;
        }
        let new = &block[..read];
        if bytes == 0 && machine(new) != Some(architecture.machine()) {
            return Ok(Err(Missing::OtherProcessor(architecture)));
        }
        digest.update(new);
        bytes += u64::try_from(read).unwrap_or(u64::MAX);
        if version.is_none() {
            kept.extend_from_slice(new);
            version = find_version(&kept);
            let keep = VERSION_MARK.len() + VERSION_BYTES + 1;
            kept.drain(..kept.len().saturating_sub(keep));
        }
    }
    if version.as_deref() != Some(VERSION) {
        return Ok(Err(Missing::OtherVersion(architecture, version)));
    }
    Ok(Ok(Program { sha256: hex::encode(digest.finish()), bytes }))
}

fn machine(head: &[u8]) -> Option<u16> {
    let machine = head.get(MACHINE..MACHINE + 2)?;
    head.starts_with(&ELF).then(|| u16::from_le_bytes([machine[0], machine[1]]))
}

/// The version behind the first mark that has one. Compares only every so many bytes (Horspool): programs are large.
fn find_version(text: &[u8]) -> Option<String> {
    let mark = VERSION_MARK.as_bytes();
    let last = mark.len() - 1;
    let mut skips = [mark.len(); 256];
    for (at, byte) in mark[..last].iter().enumerate() {
        skips[usize::from(*byte)] = last - at;
    }
    let mut at = 0;
    while let Some(window) = text.get(at..at + mark.len()) {
        if window == mark
            && let Some(version) = version_at(&text[at + mark.len()..])
        {
            return Some(version);
        }
        at += skips[usize::from(window[last])];
    }
    None
}

fn version_at(text: &[u8]) -> Option<String> {
    let end = text.iter().take(VERSION_BYTES + 1).position(|byte| char::from(*byte) == VERSION_END)?;
    let version = std::str::from_utf8(&text[..end]).ok()?;
    is_version(version).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u16, rest: &str) -> Vec<u8> {
        let mut file = ELF.to_vec();
        file.resize(MACHINE, 0);
        file.extend(machine.to_le_bytes());
        file.extend(rest.as_bytes());
        file
    }

    fn marked(version: &str) -> String {
        format!("{VERSION_MARK} {VERSION_MARK}{version}{VERSION_END}")
    }

    #[test]
    fn only_a_program_of_the_processor_and_the_version_is_given() {
        let dir = std::env::temp_dir().join(format!("supalove-programs-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let programs = Programs::new(Some(dir.clone()));
        let arm = Architecture::Aarch64;
        let put = |content: &[u8]| {
            fs::write(dir.join("new"), content).unwrap();
            fs::rename(dir.join("new"), dir.join(arm.program())).unwrap();
        };
        let error = || programs.open(arm).unwrap_err();
        assert_eq!(error(), Missing::Absent(arm));
        assert!(programs.present().is_empty());
        for foreign in
            [elf(62, &marked(VERSION)), b"#!/bin/sh\nexit 0 # and more than a header\n".to_vec(), Vec::new()]
        {
            put(&foreign);
            assert!(programs.present().is_empty());
            assert!(
                matches!(error(), Missing::OtherProcessor(_) | Missing::OtherVersion(_, None)),
                "{foreign:?}"
            );
        }
        put(&elf(183, &marked("0.0.1-old")));
        assert_eq!(error(), Missing::OtherVersion(arm, Some("0.0.1-old".into())));
        assert!(error().to_string().contains("0.0.1-old") && error().to_string().contains("--agents-dir"));
        // A mark that lies on the border of two blocks.
        let mut whole = elf(183, &" ".repeat(BLOCK - 40));
        whole.extend(marked(VERSION).bytes());
        put(&whole);
        let (mut file, program) = programs.open(arm).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, whole);
        assert_eq!(program.bytes, u64::try_from(whole.len()).unwrap());
        let digest = aws_lc_rs::digest::digest(&SHA256, &whole);
        assert_eq!(program.sha256, hex::encode(digest));
        assert_eq!(programs.present(), [arm]);
        // A replaced file is read again.
        put(&elf(183, &format!("other {}", marked(VERSION))));
        assert_ne!(programs.open(arm).unwrap().1, program);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn names_of_architectures() {
        assert_eq!(Architecture::from_name("x86_64"), Some(Architecture::X86_64));
        for other in ["", "amd64", "../x86_64", "x86_64/", "X86_64"] {
            assert_eq!(Architecture::from_name(other), None, "{other}");
        }
    }
}
