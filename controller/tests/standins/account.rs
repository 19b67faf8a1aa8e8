//! Who this process is, from the kernel's own record of it.

/// Effective user.
pub fn uid() -> Option<u32> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The second of the four ids in the line `Uid:`, see proc(5).
fn parse(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

/// The point that is not met unless this process is this user.
pub fn point(wanted: u32, section: &str) -> Option<String> {
    let uid = uid();
    (uid != Some(wanted)).then(|| format!("it must run as uid {wanted}, not {uid:?} ({section})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_record_is_read() {
        assert_eq!(parse("Name:\tx\nUid:\t0\t65534\t0\t0\n"), Some(65_534));
        assert!(uid().is_some());
    }
}
