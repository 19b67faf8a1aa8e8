//! How jobs delete what is too old: in batches, so that no statement takes long and no transaction holds many locks.

use crate::error::Result;

/// Batches of one run of a job; the rest follows in the next run.
const BATCHES: usize = 100;

/// Deletes batch after batch until one says that nothing is left, or the run has done its share.
pub async fn in_batches<F>(mut delete: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    for _ in 0..BATCHES {
        if delete().await? {
            return Ok(());
        }
    }
    Ok(())
}
