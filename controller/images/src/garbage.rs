//! Removes what nobody needs: content without an image, uploads that were given up, objects without a row.
//!
//! Rows go first, in one transaction; their objects after it. A crash in between leaves objects without a row, which the next
//! round finds. An object has the key of one upload, so what a later upload of the same content writes is never met.

use std::{collections::HashSet, time::SystemTime};

use chrono::Utc;
use supalove_core::{
    Write,
    error::{Error, Result},
    restores,
};
use supalove_failpoints::failpoint;

use crate::{
    GIVEN_UP, Images, RECENT, owner,
    store::{self, Unneeded},
};

/// So many objects without a row a crash may leave in an empty store.
const FEW: usize = 100;

/// What a round has found.
#[derive(Debug, Default)]
pub struct Garbage {
    pub contents: Vec<Unneeded>,
    /// Objects of each upload that was given up.
    pub uploads: Vec<Vec<String>>,
}

/// Removes the rows.
pub async fn mark(write: &mut impl Write) -> Result<Garbage> {
    let contents = store::remove_unneeded(write, RECENT).await?;
    let uploads = store::remove_given_up(write, GIVEN_UP).await?;
    Ok(Garbage { contents, uploads })
}

/// Removes the objects of rows that are gone.
pub async fn remove(images: &Images, garbage: &Garbage) {
    failpoint!("controller.images.rows_removed");
    for content in &garbage.contents {
        images.remove_objects(&content.parts).await;
    }
    for parts in &garbage.uploads {
        images.remove_objects(parts).await;
    }
}

/// Removes old objects that no row names. Keeps all while the database may lack what it knew: after a restore, or if it names none
/// of the objects, as that of another installation does.
pub async fn remove_orphans(images: &Images) -> Result<()> {
    if restores::is_unconfirmed(&images.core.db).await? {
        return Ok(());
    }
    if !owner::is_ours(&images.core, &images.objects) {
        return Err(Error::internal(
            "the folder of images does not belong to this fleet any more; none is removed",
        ));
    }
    // Listed before the rows are read: what is written meanwhile is too young in any case.
    let objects = images.objects.list().await?;
    let named: HashSet<String> = store::named_objects(&images.core.db).await?.into_iter().collect();
    let before = Utc::now() - GIVEN_UP;
    let (known, unknown): (Vec<_>, Vec<_>) = objects.iter().partition(|one| named.contains(&one.key));
    if known.is_empty() && unknown.len() > FEW {
        tracing::error!(
            objects = unknown.len(),
            "the database names none of the objects in the image store: is this the folder of another installation? none is removed"
        );
        return Ok(());
    }
    for object in unknown.iter().filter(|one| one.written_at < before) {
        tracing::info!(key = object.key, "removing an object of the image store that no row names");
        images.remove_objects(std::slice::from_ref(&object.key)).await;
    }
    let store = images.objects.clone();
    let before = SystemTime::now() - GIVEN_UP;
    let swept = tokio::task::spawn_blocking(move || store.sweep_unfinished(before)).await;
    swept.map_err(Error::internal)?.map_err(Error::internal)
}
