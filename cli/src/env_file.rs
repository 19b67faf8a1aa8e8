//! Parses files of environment variables: `NAME=VALUE` lines, as shells and dotenv write them. No error repeats a line, which
//! may hold a secret.

/// Returns names and values in the order of the file, or which line is wrong.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: &str| format!("line {}: {why}", number + 1);
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or_else(|| wrong("must be NAME=VALUE"))?;
        all.push((name.trim().to_owned(), parse_value(value.trim()).map_err(|why| wrong(&why))?));
    }
    Ok(all)
}

fn parse_value(text: &str) -> Result<String, String> {
    match text.chars().next() {
        Some('\'') => {
            let (value, rest) =
                text[1..].split_once('\'').ok_or("the value has no closing quote (one line per value)")?;
            nothing_after(rest)?;
            Ok(value.to_owned())
        }
        Some('"') => double_quoted(&text[1..]),
        // A comment needs a space before it, since a value may contain `#`.
        _ => Ok(text.split(" #").next().unwrap_or_default().trim_end().to_owned()),
    }
}

fn double_quoted(text: &str) -> Result<String, String> {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(one) = rest.next() {
        match one {
            '"' => {
                nothing_after(rest.as_str())?;
                return Ok(value);
            }
            '\\' => match rest.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(kept @ ('"' | '\\' | '$' | '`')) => value.push(kept),
                _ => return Err("in double quotes only \\n \\r \\t \\\" \\\\ \\$ \\` are known".to_owned()),
            },
            other => value.push(other),
        }
    }
    Err("the value has no closing quote (one line per value)".to_owned())
}

fn nothing_after(rest: &str) -> Result<(), String> {
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(())
    } else {
        Err("there is text after the closing quote".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> String {
        parse(line).unwrap().remove(0).1
    }

    #[test]
    fn lines_become_names_and_values() {
        let all = parse("# a comment\n\nA=1\nexport B = two words \nC=\n").unwrap();
        let expected = [("A", "1"), ("B", "two words"), ("C", "")];
        assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn quotes_keep_what_is_in_them() {
        assert_eq!(one(r#"A=' # "x" $y \n' # comment"#), r#" # "x" $y \n"#);
        assert_eq!(one(r#"A="a\nb\"c\\d\$e # f""#), "a\nb\"c\\d$e # f");
        assert_eq!(one("A=a#b # comment"), "a#b");
        assert_eq!(one("A=postgres://u:p@h/d?x=1"), "postgres://u:p@h/d?x=1");
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        for line in ["canary", "A=\"canary", "A='canary", "A=\"canary\" more", "A=\"canary\\x\""] {
            let why = parse(&format!("OK=1\n{line}\n")).unwrap_err();
            assert!(why.starts_with("line 2: ") && !why.contains("canary"), "{why}");
        }
    }
}
