//! Input from people: passwords, tokens and confirmations. Secrets come from the environment, a file, stdin or a
//! prompt, never from an argument, because every user of the machine can read arguments.

use std::{
    env, fs,
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::Path,
};

use crate::error::Error;

/// Maximum size of a secret; a larger file is surely the wrong one.
const MAX_SECRET: u64 = 64 * 1024;

/// Reads the password: from SUPALOVE_PASSWORD, from stdin if asked, else from a prompt (twice for a new one).
pub fn password(from_stdin: bool, new: bool) -> Result<String, Error> {
    if from_stdin {
        return read_stdin();
    }
    if let Some(password) = env::var("SUPALOVE_PASSWORD").ok().filter(|p| !p.is_empty()) {
        return Ok(password);
    }
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(
            "no terminal to ask for the password: use --password-stdin or SUPALOVE_PASSWORD".into(),
        ));
    }
    let password = rpassword::prompt_password("Password: ")?;
    if new && rpassword::prompt_password("Password again: ")? != password {
        return Err(Error::Usage("the passwords differ".into()));
    }
    Ok(password)
}

/// Reads the current and a new password: from two lines of stdin if asked, else from prompts.
pub fn passwords(from_stdin: bool) -> Result<(String, String), Error> {
    if from_stdin {
        let mut text = String::new();
        io::stdin().take(MAX_SECRET).read_to_string(&mut text)?;
        let (current, new) = text.split_once('\n').unwrap_or_default();
        return Ok((first_line(current)?, first_line(new)?));
    }
    if !io::stdin().is_terminal() {
        return Err(Error::Usage("no terminal to ask for the passwords: use --passwords-stdin".into()));
    }
    let current = rpassword::prompt_password("Current password: ")?;
    let new = rpassword::prompt_password("New password: ")?;
    if rpassword::prompt_password("New password again: ")? != new {
        return Err(Error::Usage("the passwords differ".into()));
    }
    Ok((current, new))
}

/// Reads a secret from a file, from stdin (`-`) or from a prompt.
pub fn secret(source: Option<&Path>, prompt: &str) -> Result<String, Error> {
    match source {
        Some(path) if path == Path::new("-") => read_stdin(),
        Some(path) => read_file(path),
        None if io::stdin().is_terminal() => Ok(rpassword::prompt_password(prompt)?),
        None => Err(Error::Usage("no terminal to ask for the token: name its file".into())),
    }
}

/// Reads the password of something other than the platform, whole: a key may have several lines. From stdin if asked, else from a
/// prompt; never from SUPALOVE_PASSWORD, which is the caller's own.
pub fn foreign_password(from_stdin: bool, prompt: &str) -> Result<String, Error> {
    if !from_stdin {
        if !io::stdin().is_terminal() {
            return Err(Error::Usage("no terminal to ask for the password: use --password-stdin".into()));
        }
        return first_line(&rpassword::prompt_password(prompt)?);
    }
    let mut text = String::new();
    io::stdin().take(MAX_SECRET).read_to_string(&mut text)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(Error::Usage("the secret is empty".into())) } else { Ok(text.to_owned()) }
}

/// Asks for a confirmation before an irreversible act; the answer must be `expected`.
pub fn type_to_confirm(question: &str, expected: &str) -> Result<(), Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::Usage("no terminal to ask for a confirmation: use --yes".into()));
    }
    eprint!("{question} Type {expected} to continue: ");
    io::stderr().flush()?;
    let mut typed = String::new();
    io::stdin().read_line(&mut typed)?;
    if typed.trim() == expected {
        Ok(())
    } else {
        Err(Error::Usage("not confirmed; nothing was done".into()))
    }
}

fn read_stdin() -> Result<String, Error> {
    let mut text = String::new();
    io::stdin().take(MAX_SECRET).read_to_string(&mut text)?;
    first_line(&text)
}

fn read_file(path: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    first_line(&text)
}

fn first_line(text: &str) -> Result<String, Error> {
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Error::Usage("the secret is empty".into())),
    }
}
