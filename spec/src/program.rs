//! The agent's program as a file: the controller gives it to hosts, also those of other processors, so it must know the version
//! of a program that it cannot run. The program contains a text with it.

/// What precedes the version in the program.
pub const VERSION_MARK: &str = "supalove-agent-version:";
/// What follows it.
pub const VERSION_END: char = ';';
/// Longest version.
pub const VERSION_BYTES: usize = 64;

/// True for the text of a version: digits, letters, dots, hyphens and plus signs.
pub fn is_version(text: &str) -> bool {
    (1..=VERSION_BYTES).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["0.1.0", "1.2.3-rc.1+build"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "v1", "1 2", "1\n", &"1".repeat(65)] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
