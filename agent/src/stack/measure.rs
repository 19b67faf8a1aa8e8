//! How much room files take. Nothing here is async.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes of a block as the kernel counts them for a file.
const BLOCK: u64 = 512;

/// MiB that the files below a directory take.
pub fn used_mib(dir: &Path) -> io::Result<u64> {
    Ok(used_bytes(dir)?.div_ceil(1024 * 1024))
}

/// Bytes that the files below a directory take. Follows no links, and passes over what goes meanwhile.
pub fn used_bytes(dir: &Path) -> io::Result<u64> {
    let mut blocks: u64 = 0;
    let mut seen = BTreeSet::new();
    let mut left: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in gone_is_none(fs::read_dir(&next))?.into_iter().flatten() {
            let entry = entry?;
            let Some(found) = gone_is_none(entry.metadata())? else { continue };
            // Hard links take their room once.
            if found.nlink() > 1 && !found.is_dir() && !seen.insert(found.ino()) {
                continue;
            }
            blocks = blocks.saturating_add(found.blocks());
            if found.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(blocks.saturating_mul(BLOCK))
}

fn gone_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_second_names_take_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), vec![1; 3 << 20]).unwrap();
        fs::hard_link(below.join("file"), dir.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).unwrap();
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        let used = used_mib(dir.path()).unwrap();
        assert!((3..=4).contains(&used), "{used}");
        assert_eq!(used_mib(&dir.path().join("nothing")).unwrap(), 0);
    }
}
