//! The variables a container was given, and what is wrong with them. Pure.

use std::collections::BTreeMap;

/// Shortest secret that HS256 keys may be made of (§3, §6.2).
const SHORTEST_JWT_SECRET: usize = 32;

/// Name to value.
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// This process's.
    pub fn from_process() -> Self {
        Self(std::env::vars_os().map(|(n, v)| (lossy(&n), lossy(&v))).collect())
    }

    /// The value, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Variables {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
impl Variables {
    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Sets one, or takes it away.
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.0.insert(name.to_owned(), value.to_owned()),
            None => self.0.remove(name),
        };
        self
    }
}

fn lossy(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// A look at variables that keeps what is not met.
pub struct Look<'a> {
    variables: &'a Variables,
    unmet: Vec<String>,
}

impl<'a> Look<'a> {
    /// Nothing is unmet yet.
    pub fn at(variables: &'a Variables) -> Self {
        Self { variables, unmet: Vec::new() }
    }

    /// What is not met.
    pub fn unmet(self) -> Vec<String> {
        self.unmet
    }

    /// Adds a point unless it holds.
    pub fn require(&mut self, holds: bool, point: impl Into<String>) {
        if !holds {
            self.unmet.push(point.into());
        }
    }

    /// The first of these that is set and not empty; a point if none is.
    pub fn text(&mut self, names: &[&str], section: &str) -> String {
        let value = names.iter().find_map(|name| self.variables.get(name)).unwrap_or_default();
        self.require(!value.is_empty(), format!("{} is not set ({section})", names.join(" or ")));
        self.require(!value.contains("${"), format!("{} has a token that nobody replaced", names[0]));
        value.to_owned()
    }

    /// One of these values.
    pub fn is(&mut self, name: &str, wanted: &[&str], section: &str) {
        let value = self.variables.get(name);
        let holds = value.is_some_and(|value| wanted.contains(&value));
        self.require(holds, format!("{name} must be {} ({section})", wanted.join(" or ")));
    }

    /// One of these values, or not set.
    pub fn if_set(&mut self, name: &str, wanted: &[&str], section: &str) {
        if self.variables.get(name).is_some() {
            self.is(name, wanted, section);
        }
    }

    /// Not set at all.
    pub fn unset(&mut self, name: &str, section: &str) {
        self.require(self.variables.get(name).is_none(), format!("{name} must not be set ({section})"));
    }

    /// A whole number above 0; `default` if it is not set.
    pub fn number(&mut self, names: &[&str], default: Option<u64>, section: &str) -> u64 {
        let text = names.iter().find_map(|name| self.variables.get(name));
        let number = text.map_or(default, |text| text.parse().ok()).filter(|number| *number > 0);
        self.require(
            number.is_some(),
            format!("{} must be a number above 0 ({section})", names.join(" or ")),
        );
        number.unwrap_or_default()
    }

    /// `true` or `false`, or not set.
    pub fn switch(&mut self, name: &str, section: &str) -> bool {
        self.if_set(name, &["true", "false"], section);
        self.variables.get(name) == Some("true")
    }

    /// An absolute http or https URL.
    pub fn url(&mut self, name: &str, section: &str) {
        let text = self.text(&[name], section);
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.unwrap_or_default().split('/').next().unwrap_or_default();
        let holds = !host.is_empty() && !host.contains(char::is_whitespace);
        self.require(holds, format!("{name} is no absolute URL ({section})"));
    }

    /// The text that tokens are signed with.
    pub fn jwt_secret(&mut self, names: &[&str], section: &str) -> String {
        let secret = self.text(names, section);
        let holds = secret.len() >= SHORTEST_JWT_SECRET && !secret.starts_with("your-super-secret");
        self.require(holds, format!("{} must have at least {SHORTEST_JWT_SECRET} characters (§3)", names[0]));
        secret
    }
}
