//! Which secrets and variables functions may have. Pure; no error says anything of a value.

use std::collections::BTreeMap;

use supalove_core::error::{Error, Result};
use tonic_types::FieldViolation;
use zeroize::Zeroizing;

use crate::store::function_secrets::{Changes, Kind, Value};

/// Secrets and variables of a project.
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

/// Field of a call, and what it holds.
fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Secret => "secrets",
        Kind::Variable => "variables",
    }
}

/// The names and values of a SetSecrets or SetVariables call.
pub fn to_set<'a>(kind: Kind, asked: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Result<Changes> {
    let field = plural(kind);
    if !(1..=MOST).contains(&asked.len()) {
        return Err(Error::field(field, format!("must be 1 to {MOST} {field}")));
    }
    let mut wrong = Vec::new();
    let mut changes = Changes::new();
    for (number, (name, value)) in asked.enumerate() {
        let mut say = |part: &str, what: String| {
            wrong.push(FieldViolation::new(format!("{field}[{number}].{part}"), what));
        };
        if let Some(problem) = name_problem(name) {
            say("name", problem);
        }
        if value.len() > VALUE_BYTES {
            say("value", format!("has {} bytes; at most {VALUE_BYTES} are allowed", value.len()));
        }
        if value.contains('\0') {
            say("value", "contains NUL, which an environment variable cannot hold".to_owned());
        }
        let value = Value { text: Zeroizing::new(value.to_owned()), kind };
        if changes.insert(name.to_owned(), Some(value)).is_some() {
            say("name", "must not be there twice".to_owned());
        }
    }
    if wrong.is_empty() { Ok(changes) } else { Err(Error::Invalid(wrong)) }
}

/// The names of a DeleteSecrets or DeleteVariables call.
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

/// Puts changes of one kind in force; leaves those that would change something. An error if a name is one of the other kind, or if
/// there would be too much. A delete does not touch what is of the other kind.
pub fn merge(kind: Kind, all: &mut BTreeMap<String, Value>, changes: &mut Changes) -> Result<()> {
    let field = plural(kind);
    let other = |name: &String| all.get(name).filter(|known| known.kind != kind);
    if let Some((name, known)) =
        changes.iter().filter(|(_, value)| value.is_some()).find_map(|(name, _)| Some((name, other(name)?)))
    {
        let known = plural(known.kind);
        return Err(Error::field(
            field,
            format!("{name} is one of the project's {known}; delete it there first, or choose another name"),
        ));
    }
    changes.retain(|name, value| match (all.get(name), &*value) {
        (Some(known), None) => known.kind == kind,
        (known, value) => known != value.as_ref(),
    });
    for (name, value) in &*changes {
        match value {
            Some(value) => drop(all.insert(name.clone(), value.clone())),
            None => drop(all.remove(name)),
        }
    }
    if all.len() > MOST {
        return Err(Error::field(
            field,
            format!(
                "the project would have {} secrets and variables; at most {MOST} are allowed; delete some",
                all.len()
            ),
        ));
    }
    let bytes: usize = all.iter().map(|(name, value)| name.len() + value.text.len()).sum();
    if bytes > ALL_BYTES {
        return Err(Error::field(
            field,
            format!(
                "the project's secrets and variables would have {bytes} bytes together; at most {ALL_BYTES} are allowed; \
                 delete some"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret<'a>(name: &'a str, value: &'a str) -> (&'a str, &'a str) {
        (name, value)
    }

    fn value(text: &str, kind: Kind) -> Value {
        Value { text: Zeroizing::new(text.to_owned()), kind }
    }

    fn to_set(asked: &[(&str, &str)]) -> Result<Changes> {
        super::to_set(Kind::Secret, asked.iter().copied())
    }

    fn merge(all: &mut BTreeMap<String, Value>, changes: &mut Changes) -> Result<()> {
        super::merge(Kind::Secret, all, changes)
    }

    fn refused(asked: &[(&str, &str)]) -> Vec<String> {
        match to_set(asked).err() {
            Some(Error::Invalid(violations)) => violations.into_iter().map(|one| one.field).collect(),
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
        let mut all = BTreeMap::from([("A".to_owned(), value("1", Kind::Secret))]);
        let mut changes = to_set(&[secret("A", "1"), secret("B", "2")]).unwrap();
        merge(&mut all, &mut changes).unwrap();
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["B"]);
        let mut changes = to_delete(&["A".into(), "ABSENT".into()]).unwrap();
        merge(&mut all, &mut changes).unwrap();
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["A"]);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["B"]);
        for long in ["x".repeat(VALUE_BYTES), "y".repeat(VALUE_BYTES)] {
            let mut changes = to_set(&[secret(&long[..1], &long)]).unwrap();
            merge(&mut all, &mut changes).unwrap();
        }
        let mut changes = to_set(&[secret("Z", &"z".repeat(VALUE_BYTES))]).unwrap();
        assert!(merge(&mut all, &mut changes).is_err());
    }

    #[test]
    fn there_are_at_most_a_hundred() {
        let mut all = (0..MOST).map(|n| (format!("A{n}"), value("", Kind::Variable))).collect();
        let mut changes = to_set(&[secret("B", "")]).unwrap();
        assert!(merge(&mut all, &mut changes).is_err());
    }

    #[test]
    fn a_name_is_of_a_secret_or_of_a_variable() {
        let before = BTreeMap::from([
            ("KEY".to_owned(), value("1", Kind::Secret)),
            ("LEVEL".to_owned(), value("1", Kind::Variable)),
        ]);
        for (kind, name, field) in [(Kind::Secret, "LEVEL", "secrets"), (Kind::Variable, "KEY", "variables")]
        {
            let mut all = before.clone();
            let mut changes = super::to_set(kind, [(name, "1")].into_iter()).unwrap();
            let refused = super::merge(kind, &mut all, &mut changes).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("{field}: {name} is one of")), "{refused}");
            let mut changes = to_delete(&[name.to_owned()]).unwrap();
            super::merge(kind, &mut all, &mut changes).unwrap();
            assert!(changes.is_empty() && all.len() == 2, "what is of the other kind stays");
        }
    }
}
