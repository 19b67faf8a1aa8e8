//! Every stable reason is in the enum `ErrorReason`, and every one of them is explained in docs/guides/errors.md.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use supalove_proto::v1::ErrorReason;

/// Words in the agent's code that look like reasons and are none: capabilities of containers, why the agent waits, which
/// only its own status shows, what the reasons about join tokens begin with, and a check of the doctor.
const NO_REASONS: &[&str] =
    &["DAC_OVERRIDE", "NET_BIND_SERVICE", "DUPLICATE_IDENTITY", "JOIN_TOKEN", "LIVE_RESTORE"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn reasons() -> BTreeSet<&'static str> {
    (1..1000).filter_map(|number| ErrorReason::try_from(number).ok()).map(ErrorReason::text).collect()
}

/// Quoted words of the form `AB_CD` in the code of a crate, with the file; tests at a file's end are left out.
fn words(folder: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !["tests.rs", "fuzz.rs"].contains(&name)
            {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let lines = code.lines().filter(|line| !is_sql_value(line));
                let code = lines.collect::<Vec<_>>().join("\n");
                let quoted = code.split('"').filter(|word| is_reason_like(word));
                found.extend(quoted.map(|word| (word.to_owned(), path.clone())));
            }
        }
    }
    found
}

/// A text of the database in a `sql_enum!`, which must be a literal.
fn is_sql_value(line: &str) -> bool {
    line.trim().split_once(" = \"").is_some_and(|(name, text)| {
        name.chars().all(char::is_alphanumeric) && text.strip_suffix("\",").is_some_and(is_reason_like)
    })
}

fn is_reason_like(word: &str) -> bool {
    let inside = word.trim_matches('_') == word && word.contains('_');
    inside && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

#[test]
fn every_reason_is_explained_in_the_guide() {
    let guide = fs::read_to_string(root().join("docs/guides/errors.md")).unwrap();
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut explained = BTreeSet::new();
    for (reason, rest) in rows {
        let (meaning, remedy) = rest.split_once(" | ").expect(reason);
        assert!(meaning.len() > 10 && remedy.len() > 5, "{reason} has an empty column");
        assert!(explained.insert(reason), "{reason} is there twice");
    }
    assert_eq!(explained, reasons());
}

#[test]
fn the_controller_spells_no_reason_itself() {
    let known = reasons();
    assert!(known.contains("NODE_REVOKED") && known.len() > 40, "{known:?}");
    for folder in [
        "controller/src",
        "controller/core/src",
        "controller/fleet/src",
        "controller/identity/src",
        "controller/images/src",
        "controller/organizations/src",
        "controller/plans/src",
        "controller/projects/src",
        "controller/scheduler/src",
        "controller/stack/src",
        "controller/usage/src",
        "certs/src",
    ] {
        for (word, path) in words(folder) {
            assert!(!known.contains(word.as_str()), "{}: {word:?}: use ErrorReason", path.display());
        }
    }
}

#[test]
fn every_reason_of_the_agent_is_known() {
    let known = reasons();
    let words = words("agent/src");
    assert!(words.iter().any(|(word, _)| word == "SERVICE_EXITED"), "the search finds nothing");
    for (word, path) in words {
        let variable = word.starts_with("SUPALOVE_") || word.starts_with("CARGO_");
        assert!(
            variable || NO_REASONS.contains(&word.as_str()) || known.contains(word.as_str()),
            "{}: {word} is not in ErrorReason (proto/supalove/v1/errors.proto)",
            path.display()
        );
    }
}
