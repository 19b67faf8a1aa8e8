//! Which secrets functions may have. Pure; no error says anything of a value.

use std::collections::BTreeMap;

use supalove_core::error::{Error, Result};
use supalove_proto::v1::SecretValue;
use tonic_types::FieldViolation;
use zeroize::Zeroizing;

use crate::store::function_secrets::Changes;

/// Secrets of a project.
pub const MOST: usize = 100;
/// Bytes of one value. A variable of a program has at most 128 KiB.
const VALUE_BYTES: usize = 64 * 1024;
/// Bytes of all names and values of a project.
const ALL_BYTES: usize = 192 * 1024;
const NAME_BYTES: usize = 128;
/// Names that the router or the operating system read, and one that is no name of a variable in JavaScript.
const RESERVED: [&str; 4] = ["PATH", "HOME", "NODE_OPTIONS", "__proto__"];
const RESERVED_PREFIXES: [&str; 4] = ["SUPABASE_", "SUPALOVE_", "DENO_", "LD_"];

fn name_problem(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = (1..=NAME_BYTES).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_name {
        return Some(format!(
            "must be 1 to {NAME_BYTES} of A-Z a-z 0-9 _, not beginning with a digit: it is the name of an environment \
             variable"
        ));
    }
    let reserved =
        RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    reserved.then(|| {
        format!(
            "is a name of the platform: {}, and those that begin with {}",
            RESERVED.join(", "),
            RESERVED_PREFIXES.join(", ")
        )
    })
}

/// The secrets of a SetSecrets call.
pub fn to_set(asked: &[SecretValue]) -> Result<Changes> {
    if asked.is_empty() || asked.len() > MOST {
        return Err(Error::field("secrets", format!("must be 1 to {MOST} secrets")));
    }
    let mut wrong = Vec::new();
    let mut changes = Changes::new();
    for (number, one) in asked.iter().enumerate() {
        let mut say = |part: &str, what: String| {
            wrong.push(FieldViolation::new(format!("secrets[{number}].{part}"), what));
        };
        if let Some(problem) = name_problem(&one.name) {
            say("name", problem);
        }
        if one.value.len() > VALUE_BYTES {
            say("value", format!("has {} bytes; at most {VALUE_BYTES} are allowed", one.value.len()));
        }
        if one.value.contains('\0') {
            say("value", "contains NUL, which an environment variable cannot hold".to_owned());
        }
        if changes.insert(one.name.clone(), Some(Zeroizing::new(one.value.clone()))).is_some() {
            say("name", "must not be there twice".to_owned());
        }
    }
    if wrong.is_empty() { Ok(changes) } else { Err(Error::Invalid(wrong)) }
}

/// The secrets of a DeleteSecrets call.
pub fn to_delete(names: &[String]) -> Result<Changes> {
    if names.is_empty() || names.len() > MOST {
        return Err(Error::field("names", format!("must be 1 to {MOST} names")));
    }
    for (number, name) in names.iter().enumerate() {
        if let Some(problem) = name_problem(name) {
            return Err(Error::field(format!("names[{number}]"), problem));
        }
    }
    Ok(names.iter().map(|name| (name.clone(), None)).collect())
}

/// Puts changes in force; leaves those that would change something. An error if there would be too many secrets.
pub fn merge(all: &mut BTreeMap<String, Zeroizing<String>>, changes: &mut Changes) -> Result<()> {
    changes.retain(|name, value| all.get(name) != value.as_ref());
    for (name, value) in &*changes {
        match value {
            Some(value) => drop(all.insert(name.clone(), value.clone())),
            None => drop(all.remove(name)),
        }
    }
    if all.len() > MOST {
        return Err(Error::field(
            "secrets",
            format!("the project would have {} secrets; at most {MOST} are allowed; delete some", all.len()),
        ));
    }
    let bytes: usize = all.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ALL_BYTES {
        return Err(Error::field(
            "secrets",
            format!(
                "the project's secrets would have {bytes} bytes together; at most {ALL_BYTES} are allowed; delete some"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, value: &str) -> SecretValue {
        SecretValue { name: name.into(), value: value.into() }
    }

    fn refused(asked: &[SecretValue]) -> Vec<String> {
        match to_set(asked).unwrap_err() {
            Error::Invalid(violations) => violations.into_iter().map(|one| one.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_the_platform_and_what_is_no_name_are_refused_with_the_field() {
        for name in
            ["", "1A", "A-B", "A B", "A=B", "Ä", "SUPABASE_URL", "DENO_DIR", "LD_PRELOAD", "PATH", "HOME"]
        {
            assert_eq!(refused(&[secret("GOOD", ""), secret(name, "x")]), ["secrets[1].name"], "{name}");
            assert!(to_delete(&[name.to_owned()]).is_err(), "{name}");
        }
        assert_eq!(refused(&[secret("A", "x"), secret("A", "y")]), ["secrets[1].name"]);
        assert_eq!(refused(&[]), ["secrets"]);
    }

    #[test]
    fn values_are_bounded_and_hold_no_nul() {
        to_set(&[secret("A", &"x".repeat(VALUE_BYTES))]).unwrap();
        assert_eq!(refused(&[secret("A", &"x".repeat(VALUE_BYTES + 1))]), ["secrets[0].value"]);
        assert_eq!(refused(&[secret("A", "a\0b")]), ["secrets[0].value"]);
    }

    #[test]
    fn only_what_changes_is_left_and_all_together_are_bounded() {
        let mut all = BTreeMap::from([("A".to_owned(), Zeroizing::new("1".to_owned()))]);
        let mut changes = to_set(&[secret("A", "1"), secret("B", "2")]).unwrap();
        merge(&mut all, &mut changes).unwrap();
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["B"]);
        let mut changes = to_delete(&["A".into(), "ABSENT".into()]).unwrap();
        merge(&mut all, &mut changes).unwrap();
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["A"]);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["B"]);
        for value in ["x".repeat(VALUE_BYTES), "y".repeat(VALUE_BYTES)] {
            let mut changes = to_set(&[secret(&value[..1], &value)]).unwrap();
            merge(&mut all, &mut changes).unwrap();
        }
        let mut changes = to_set(&[secret("Z", &"z".repeat(VALUE_BYTES))]).unwrap();
        assert!(merge(&mut all, &mut changes).is_err());
    }

    #[test]
    fn there_are_at_most_a_hundred() {
        let mut all = (0..MOST).map(|n| (format!("A{n}"), Zeroizing::new(String::new()))).collect();
        let mut changes = to_set(&[secret("B", "")]).unwrap();
        assert!(merge(&mut all, &mut changes).is_err());
    }
}
