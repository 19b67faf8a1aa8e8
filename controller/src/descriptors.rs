//! How many files, and so connections, the process may have open.

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and returns it.
pub fn raise() -> anyhow::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")?;
    }
    // Without a limit the kernel's own is far above what the ports use.
    Ok(limit.current.and_then(|files| usize::try_from(files).ok()).unwrap_or(1 << 20))
}
