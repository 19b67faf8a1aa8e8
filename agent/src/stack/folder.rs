//! The folder of one volume on the host:
//!
//! | path        | content                                                             |
//! |-------------|---------------------------------------------------------------------|
//! | `fs/data`   | what the container sees; the engine's volume is bound to it          |
//! | `fs/id`     | the mark that tells this volume from every other                     |
//! | `disk.img`  | with a file system of a fixed size: the file that holds it, on `fs`  |
//!
//! The mark lies beside the data, so no tenant can write it, and it shares the data's fate. Nothing here is async.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::disk;
use super::programs::{self, COPY, LONG, QUICK};
use crate::config::VolumeQuota;
use crate::fsio;

const MIB: u64 = 1024 * 1024;
/// Longest mark that is read.
const LONGEST_MARK: usize = 64;
/// Least size of a file system.
const LEAST_MIB: u64 = 64;
/// Where the superblock begins in an ext4 file system.
const SUPERBLOCK: u64 = 1024;

/// A volume's folder; it need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// What lies in a volume's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The volume itself.
    Own,
    /// Something else, in words.
    Other(String),
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn fs(&self) -> PathBuf {
        self.0.join("fs")
    }

    /// What the engine's volume is bound to.
    pub fn data(&self) -> PathBuf {
        self.fs().join("data")
    }

    fn mark(&self) -> PathBuf {
        self.fs().join("id")
    }

    fn image(&self) -> PathBuf {
        self.0.join("disk.img")
    }

    /// Makes what is missing and writes the mark last; deletes nothing. With a limit the data gets a file system of that
    /// many MiB, if it has none.
    pub fn make(&self, id: &str, limit_mib: Option<u64>) -> io::Result<()> {
        self.make_room(limit_mib)?;
        if !self.data().is_dir() {
            fs::create_dir(self.data())?;
        }
        self.set_mark(id)
    }

    /// The same without data and mark.
    pub fn make_room(&self, limit_mib: Option<u64>) -> io::Result<()> {
        fsio::private_dir(&self.0)?;
        fsio::private_dir(&self.fs())?;
        fsio::sync_parent(&self.0)?;
        if let Some(limit) = limit_mib
            && !self.image().exists()
            && fsio::is_empty_dir(&self.fs())?
        {
            self.make_image(limit)?;
        }
        self.mount()
    }

    /// Durable when this returns.
    pub fn set_mark(&self, id: &str) -> io::Result<()> {
        fsio::write_atomic(&self.mark(), id.as_bytes(), 0o600)
    }

    /// Whether there is data, with or without its mark. Mounts its file system if it has one.
    pub fn has_data(&self) -> io::Result<bool> {
        self.mount()?;
        Ok(self.data().exists())
    }

    /// The mark that lies there.
    pub fn found_mark(&self) -> io::Result<Option<String>> {
        read_mark(&self.mark())
    }

    /// Whether the volume with this mark lies here. Mounts its file system if it has one.
    pub fn holds(&self, id: &str, filled: bool) -> io::Result<Held> {
        self.mount()?;
        held(&self.mark(), &self.data(), id, filled)
    }

    /// Takes another folder's content over: at once if both lie on one file system, else by a copy that is complete
    /// before it gets its name. The data's old place may be empty afterwards.
    pub fn take_over(&self, from: &Path) -> io::Result<()> {
        let to = self.data();
        match fs::rename(from, &to) {
            Ok(()) => {
                fsio::sync_parent(&to)?;
                return fsio::sync_parent(from);
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            Err(error) => return Err(error),
        }
        let part = self.fs().join("data.part");
        fsio::remove_tree(&part)?;
        let copied = programs::run(Command::new("cp").args(["-a", "--"]).arg(from).arg(&part), COPY)
            .and_then(|_| programs::run(Command::new("sync").arg("-f").arg(&part), COPY));
        if let Err(error) = copied {
            fsio::remove_tree(&part)?;
            return Err(error);
        }
        fs::rename(&part, &to)?;
        fsio::sync_parent(&to)
    }

    /// Puts the folder aside under another name; data is never deleted for being the wrong one.
    pub fn set_aside(&self, suffix: &str) -> io::Result<()> {
        self.unmount()?;
        let mut aside = self.0.clone().into_os_string();
        aside.push(format!(".aside-{suffix}"));
        match fs::rename(&self.0, aside) {
            Ok(()) => fsio::sync_parent(&self.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes the folder with all data in it.
    pub fn delete(&self) -> io::Result<()> {
        self.unmount()?;
        fsio::remove_tree(&self.0)
    }

    /// Makes the file system larger, if it has one of its own and that is smaller.
    pub fn grow(&self, limit_mib: u64) -> io::Result<()> {
        let image = match OpenOptions::new().read(true).write(true).open(self.image()) {
            Ok(image) => image,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let wanted = limit_mib * MIB;
        // Not the file's length: an agent that ended in between made only that larger.
        if file_system_bytes(&image)? >= wanted {
            return Ok(());
        }
        if image.metadata()?.len() < wanted {
            image.set_len(wanted)?;
        }
        self.mount()?;
        let device = programs::run(
            Command::new("findmnt")
                .args(["--noheadings", "--output", "SOURCE", "--mountpoint"])
                .arg(self.fs()),
            QUICK,
        )?;
        programs::run(Command::new("losetup").args(["--set-capacity", device.trim()]), QUICK)?;
        programs::run(Command::new("resize2fs").arg(device.trim()), LONG).map(drop)
    }

    /// A crash leaves no half-made file system under the final name.
    fn make_image(&self, limit_mib: u64) -> io::Result<()> {
        let unfinished = self.image().with_extension(fsio::UNFINISHED);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
        file.set_len(limit_mib.max(LEAST_MIB) * MIB)?;
        // No reserve for root: it would be the tenant's loss.
        let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"];
        programs::run(Command::new("mkfs.ext4").args(options).arg(&unfinished), LONG)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.image())?;
        fsio::sync_parent(&self.image())
    }

    /// Mounts the volume's own file system, if it has one that is not mounted.
    fn mount(&self) -> io::Result<()> {
        if !self.image().exists() || self.is_mounted()? {
            return Ok(());
        }
        let options = ["-t", "ext4", "-o", "loop,nosuid,nodev,noatime"];
        programs::run(Command::new("mount").args(options).arg(self.image()).arg(self.fs()), QUICK).map(drop)
    }

    fn unmount(&self) -> io::Result<()> {
        if self.0.exists() && self.image().exists() && self.is_mounted()? {
            programs::run(Command::new("umount").arg(self.fs()), QUICK)?;
        }
        Ok(())
    }

    fn is_mounted(&self) -> io::Result<bool> {
        Ok(fs::metadata(self.fs())?.dev() != fs::metadata(&self.0)?.dev())
    }
}

/// Size that the superblock of an ext4 file system says.
fn file_system_bytes(image: &fs::File) -> io::Result<u64> {
    let number = |offset: u64| {
        let mut bytes = [0; 4];
        image.read_exact_at(&mut bytes, SUPERBLOCK + offset)?;
        Ok::<u64, io::Error>(u32::from_le_bytes(bytes).into())
    };
    // Blocks, the exponent of their size above 1 KiB, and the upper half of the blocks.
    let (low, exponent, high) = (number(0x4)?, number(0x18)?, number(0x150)?);
    Ok(((high << 32) | low).saturating_mul(1024 << exponent.min(6)))
}

/// What this host allows: makes, mounts and removes a small file system to find out.
pub fn quota_of_host(volumes_dir: &Path) -> VolumeQuota {
    let trial = Folder::new(volumes_dir.join(".trial"));
    let tried = trial
        .delete()
        .and_then(|()| trial.make_room(Some(LEAST_MIB)))
        .and_then(|()| {
            if is_private_to_agent()? {
                Err(io::Error::other("the agent's mounts are its own"))
            } else {
                Ok(())
            }
        })
        .and(trial.delete());
    match tried {
        Ok(()) => VolumeQuota::Loop,
        Err(error) => {
            tracing::info!(%error, "volumes have no file systems of their own: the agent measures them");
            VolumeQuota::Measure
        }
    }
}

/// Whether the engine cannot see what this process mounts.
fn is_private_to_agent() -> io::Result<bool> {
    let root = |line: &&str| line.split(' ').nth(4) == Some("/");
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts.lines().find(root).is_some_and(|line| line.contains(" master:")))
}

/// How many MiB a file system for so much data needs.
pub fn room_for(used_mib: u64, limit_mib: u64) -> u64 {
    limit_mib.max(disk::image_mib(used_mib))
}

/// Whether the volume with this mark lies where mark and data are expected.
pub fn held(mark: &Path, data: &Path, id: &str, filled: bool) -> io::Result<Held> {
    let other = |words: &str| Ok(Held::Other(words.to_owned()));
    match fs::symlink_metadata(data) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return other("is no folder"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return other("is missing"),
        Err(error) => return Err(error),
    }
    match read_mark(mark)? {
        Some(found) if found == id => {}
        Some(_) => return other("is another volume: its mark is not this one's"),
        None => return other("is another volume: its mark is missing"),
    }
    if filled && fsio::is_empty_dir(data)? { other("is empty") } else { Ok(Held::Own) }
}

fn read_mark(path: &Path) -> io::Result<Option<String>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; LONGEST_MARK];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(Some(String::from_utf8_lossy(&bytes[..read]).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_known_by_its_mark() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("v"));
        assert_eq!(
            held(&folder.mark(), &folder.data(), "a", false).unwrap(),
            Held::Other("is missing".into())
        );
        folder.make("a", None).unwrap();
        assert_eq!(folder.holds("a", false).unwrap(), Held::Own);
        assert_eq!(folder.holds("a", true).unwrap(), Held::Other("is empty".into()));
        assert!(
            matches!(folder.holds("b", false).unwrap(), Held::Other(why) if why.contains("not this one's"))
        );
        fs::write(folder.data().join("dear"), "").unwrap();
        folder.make("a", None).unwrap();
        assert_eq!(folder.holds("a", true).unwrap(), Held::Own);
        fs::remove_file(folder.mark()).unwrap();
        assert!(matches!(folder.holds("a", false).unwrap(), Held::Other(why) if why.contains("is missing")));
        folder.set_aside("x").unwrap();
        assert!(dir.path().join("v.aside-x/fs/data/dear").exists());
    }

    #[test]
    fn a_file_system_is_as_large_as_it_says_not_as_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        folder.make_image(LEAST_MIB).unwrap();
        let image = OpenOptions::new().read(true).write(true).open(folder.image()).unwrap();
        assert_eq!(file_system_bytes(&image).unwrap(), LEAST_MIB * MIB);
        // The agent ends here, before the file system grows.
        image.set_len(2 * LEAST_MIB * MIB).unwrap();
        assert_eq!(file_system_bytes(&image).unwrap(), LEAST_MIB * MIB);
        programs::run(Command::new("resize2fs").arg(folder.image()), QUICK).unwrap();
        assert_eq!(file_system_bytes(&image).unwrap(), 2 * LEAST_MIB * MIB);
        folder.grow(2 * LEAST_MIB).unwrap();
        assert!(fs::read_dir(folder.fs()).is_err(), "nothing was to be done, so nothing is mounted");
    }

    #[test]
    fn content_is_taken_over_whole() {
        let dir = tempfile::tempdir().unwrap();
        // Another file system, so that a copy is needed.
        let other = tempfile::tempdir_in("/dev/shm").unwrap();
        for (place, base) in [("same", dir.path()), ("other", other.path())] {
            let from = dir.path().join(place).join("old");
            fs::create_dir_all(&from).unwrap();
            fs::write(from.join("dear"), "42").unwrap();
            std::os::unix::fs::symlink("/nowhere", from.join("link")).unwrap();
            let folder = Folder::new(base.join("volume"));
            folder.make_room(None).unwrap();
            folder.take_over(&from).unwrap();
            assert_eq!(fs::read(folder.data().join("dear")).unwrap(), b"42");
            assert!(fs::symlink_metadata(folder.data().join("link")).unwrap().is_symlink());
            assert_eq!(from.exists(), place == "other");
        }
    }
}
