//! Whose the folder of the image store is: a file in it has the fleet's id. A controller of another fleet does not start on the folder, and
//! so never takes its objects for garbage.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use supalove_core::{Core, error::chain};
use uuid::Uuid;

use crate::{OpenError, objects::Objects, store};

/// The file.
const FILE: &str = "fleet";

/// Makes sure that the folder is this fleet's, and says so in it if nothing does yet. A folder with objects is of before there was such a
/// file; it is this fleet's if the database names one of them.
pub async fn claim(core: &Core, objects: &Objects) -> Result<(), OpenError> {
    let folder = objects.folder();
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    if read(folder).map_err(failed)?.is_none() {
        if !is_known(core, objects).await? {
            let (path, fleet) = (folder.to_owned(), core.fleet_id.clone());
            return Err(OpenError::Unknown { file: path.join(FILE), path, fleet });
        }
        write(folder, &core.fleet_id).map_err(failed)?;
    }
    match read(folder).map_err(failed)? {
        Some(owner) if owner != core.fleet_id => {
            Err(OpenError::Foreign { path: folder.to_owned(), owner, fleet: core.fleet_id.clone() })
        }
        _ => Ok(()),
    }
}

/// Whether the folder says now that it is this fleet's: another one may have been mounted in its place.
pub fn is_ours(core: &Core, objects: &Objects) -> bool {
    read(objects.folder()).is_ok_and(|owner| owner.as_ref() == Some(&core.fleet_id))
}

/// Without objects, or with one that the database names.
async fn is_known(core: &Core, objects: &Objects) -> Result<bool, OpenError> {
    let failed = |error: supalove_core::error::Error| OpenError::Objects {
        path: objects.folder().to_owned(),
        error: chain(&error),
    };
    let found = objects.list().await.map_err(failed)?;
    let named = store::named_objects(&core.db).await.map_err(failed)?;
    Ok(found.is_empty() || found.iter().any(|one| named.contains(&one.key)))
}

fn read(folder: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(folder.join(FILE)) {
        Ok(owner) => Ok(Some(owner.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the file whole, unless another replica has been faster.
fn write(folder: &Path, fleet: &str) -> io::Result<()> {
    let unfinished = folder.join(format!("{FILE}.{}", Uuid::now_v7().as_simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{fleet}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, folder.join(FILE));
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_who_writes_owns_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        for fleet in ["first", "second"] {
            write(folder.path(), fleet).unwrap();
            assert_eq!(read(folder.path()).unwrap().as_deref(), Some("first"));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
    }
}
