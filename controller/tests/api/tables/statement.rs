//! What a statement writes and which functions it calls, as far as its words tell.

use std::collections::BTreeSet;

/// What a statement, or a function's definition, does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Tables that it inserts into, updates or deletes from.
    pub writes: BTreeSet<String>,
    /// Those of them that it inserts into.
    pub inserts: BTreeSet<String>,
    /// Those of them that it deletes from.
    pub deletes: BTreeSet<String>,
    /// What it calls; also what only looks like a call.
    pub calls: BTreeSet<String>,
}

impl Statement {
    /// Reads it.
    pub fn new(sql: &str) -> Self {
        let words = words(sql);
        let mut statement = Self::default();
        for (place, word) in words.iter().enumerate() {
            let before = |distance: usize| place.checked_sub(distance).map_or("", |place| &words[place]);
            let after = || {
                let mut rest = words[place + 1..].iter().map(String::as_str);
                rest.find(|word| !matches!(*word, "only" | "table")).unwrap_or_default().to_owned()
            };
            match word.as_str() {
                "into" if matches!(before(1), "insert" | "merge") => drop(statement.inserts.insert(after())),
                // Others are locks, `ON CONFLICT … DO UPDATE` and events of triggers.
                "update" if !matches!(before(1), "for" | "key" | "do" | "or" | "before" | "after" | "on") => {
                    statement.writes.insert(after());
                }
                "from" if before(1) == "delete" => drop(statement.deletes.insert(after())),
                "truncate" => drop(statement.deletes.insert(after())),
                "execute" => panic!("a statement that is put together at run time: {sql}"),
                "(" => drop(statement.calls.insert(before(1).to_owned())),
                _ => {}
            }
        }
        statement.writes.extend(statement.inserts.iter().chain(&statement.deletes).cloned());
        statement
    }
}

/// Its words in lower case, and each other character as a word; without comments, texts, quotes of names and the schema
/// `public`.
fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '\'' => 1 + rest[1..].find('\'').map_or(rest.len() - 1, |end| end + 1),
            '"' => {
                let end = rest[1..].find('"').expect("a quoted name ends");
                words.push(rest[1..=end].to_owned());
                end + 2
            }
            _ if is_of_word(first) => {
                let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
                let word = rest[..end].to_lowercase();
                words.push(word.strip_prefix("public.").unwrap_or(&word).to_owned());
                end
            }
            _ => {
                if !first.is_whitespace() {
                    words.push(first.to_string());
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    words
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '$')
}

#[test]
fn a_statement_writes_what_its_words_say() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    for (sql, writes, deletes) in [
        ("SELECT 1 FROM a FOR UPDATE SKIP LOCKED", &[][..], &[][..]),
        (
            "WITH x AS (INSERT INTO a (b) SELECT 1), y AS (update only public.c SET d = 1) SELECT",
            &["a", "c"],
            &[],
        ),
        ("INSERT INTO a AS t (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET b = 2", &["a"], &[]),
        ("DELETE FROM \"a\" USING b WHERE c = 'delete from d' -- update e", &["a"], &["a"]),
        ("TRUNCATE TABLE a /* update b */; SELECT x INTO y FROM z FOR NO KEY UPDATE", &["a"], &["a"]),
        ("CREATE FUNCTION f() AS $$ UPDATE a SET b = 'it''s'; DELETE FROM c $$", &["a", "c"], &["c"]),
    ] {
        let statement = Statement::new(sql);
        assert_eq!((statement.writes, statement.deletes), (names(writes), names(deletes)), "{sql}");
    }
    let both = Statement::new("INSERT INTO a SELECT; UPDATE b SET c = 1");
    assert_eq!(both.inserts, names(&["a"]), "and updates b");
    let calls = Statement::new("SELECT f(1), public.g (2) FROM h WHERE i = 'j(3)'").calls;
    assert_eq!(calls, names(&["f", "g"]));
}
