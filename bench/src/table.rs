//! The table: rows in the order of measuring.

use std::fmt::Write as _;

/// What a value should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Aim {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

#[derive(Debug)]
struct Row {
    name: String,
    value: String,
    aim: String,
    verdict: &'static str,
}

/// Rows with and without an aim.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// A value that is judged. The unit is written after value and aim.
    pub fn judge(&mut self, name: impl Into<String>, value: f64, unit: &str, aim: Aim) {
        let limit = match aim {
            Aim::AtMost(limit) => format!("≤ {}", number(limit, unit)),
            Aim::AtLeast(limit) => format!("≥ {}", number(limit, unit)),
        };
        let verdict = if aim.met(value) { "met" } else { "**not met**" };
        self.0.push(Row { name: name.into(), value: number(value, unit), aim: limit, verdict });
    }

    /// A value that stands for itself.
    pub fn note(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push(Row { name: name.into(), value: value.into(), aim: String::new(), verdict: "" });
    }

    /// An item that ended with an error.
    pub fn not_measured(&mut self, item: &str, error: &anyhow::Error) {
        // A cell is one line, and ends at a bar.
        let words = format!("{error:#}").replace('|', "\\|");
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        self.note(item, format!("not measured: {words}"));
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| name | value | aim | |\n|---|---:|---:|---|\n");
        for Row { name, value, aim, verdict } in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {name} | {value} | {aim} | {verdict} |");
        }
        text
    }
}

/// A number with as many decimals as it has meaning, and thousands set apart.
pub fn number(value: f64, unit: &str) -> String {
    let text = match value.abs() {
        v if v >= 100.0 => grouped(value),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_aim_is_met() {
        let mut table = Table::default();
        table.judge("p99", 50.0, "ms", Aim::AtMost(50.0));
        table.judge("rate", 999.0, "/s", Aim::AtLeast(1000.0));
        table.note("what", "so");
        let text = table.markdown();
        assert!(text.contains("| p99 | 50.0 ms | ≤ 50.0 ms | met |"), "{text}");
        assert!(text.contains("| rate | 999 /s | ≥ 1,000 /s | **not met** |"), "{text}");
        assert!(text.ends_with("| what | so |  |  |\n"), "{text}");
    }

    #[test]
    fn an_error_fits_into_a_cell() {
        let mut table = Table::default();
        table.not_measured("stack", &anyhow::anyhow!("it said:\n a | b").context("up"));
        assert!(table.markdown().ends_with("| stack | not measured: up: it said: a \\| b |  |  |\n"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(1_234_567.0, "/s"), "1,234,567 /s");
        assert_eq!(number(0.5678, ""), "0.57");
        assert_eq!(number(100.0, "ms"), "100 ms");
    }
}
