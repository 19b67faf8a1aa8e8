//! What hosts have and keep, and their labels: as arguments, and as text.

use std::collections::BTreeMap;

use supalove_proto::v1::{NodeResources, ResourceFactors, ResourceReserve};

use crate::error::Error;

/// Width of a bar.
const BAR: u64 = 20;

/// Labels, each as KEY=VALUE.
pub fn labels(given: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let wrong = |text: &str| Error::Usage(format!("{text:?} is no label: write KEY=VALUE"));
    let one = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| wrong(text))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    given.iter().map(one).collect()
}

/// Parses "cpu=1,memory=2,disk=3", of which each part may be missing.
fn parts<'a>(text: &'a str, example: &str) -> Result<BTreeMap<&'a str, &'a str>, Error> {
    let wrong = || Error::Usage(format!("{text:?} is not understood: write e.g. {example}"));
    let mut all = BTreeMap::new();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        if !["cpu", "memory", "disk"].contains(&name) || all.insert(name, value).is_some() {
            return Err(wrong());
        }
    }
    Ok(all)
}

/// Factors as in "cpu=8,memory=1.5,disk=1".
pub fn factors(text: &str) -> Result<ResourceFactors, Error> {
    let example = "cpu=8,memory=1.5,disk=1";
    let all = parts(text, example)?;
    let one = |name: &str| {
        let Some(value) = all.get(name) else { return Ok(0.0) };
        // 0 would mean the default.
        let value = value.parse::<f64>().ok().filter(|value| *value >= 1.0);
        value.ok_or_else(|| Error::Usage(format!("a factor is a number from 1 to 64, e.g. {example}")))
    };
    Ok(ResourceFactors { cpu: one("cpu")?, memory: one("memory")?, disk: one("disk")? })
}

/// What each host keeps, as in "cpu=500,memory=1024,disk=10240".
pub fn reserve(text: &str) -> Result<ResourceReserve, Error> {
    let (cpu_millis, memory_mib, disk_mib) = amounts(text)?;
    Ok(ResourceReserve { cpu_millis, memory_mib, disk_mib })
}

/// Millicores, MiB of memory and MiB of disk.
pub fn amounts(text: &str) -> Result<(u32, u32, u64), Error> {
    let example = "cpu=500,memory=1024,disk=10240";
    let all = parts(text, example)?;
    let one = |name: &str| {
        let value = all.get(name).map_or(Ok(0), |value| value.parse::<u64>());
        value.map_err(|_| Error::Usage(format!("an amount is a whole number, e.g. {example}")))
    };
    let small =
        |name: &str| u32::try_from(one(name)?).map_err(|_| Error::Usage(format!("{name} is too large")));
    Ok((small("cpu")?, small("memory")?, one("disk")?))
}

/// Labels in a line.
pub fn labels_text(labels: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    all.join(", ")
}

/// Formats what is reserved of each resource as bars.
pub fn bars(used: Option<&NodeResources>, capacity: Option<&NodeResources>) -> String {
    let used = used.copied().unwrap_or_default();
    let capacity = capacity.copied().unwrap_or_default();
    let lines = [
        bar("cpu", used.cpu_millis.into(), capacity.cpu_millis.into(), "millicores"),
        bar("memory", used.memory_mib.into(), capacity.memory_mib.into(), "MiB"),
        bar("disk", used.disk_mib, capacity.disk_mib, "MiB"),
        bar("slots", used.slots.into(), capacity.slots.into(), ""),
    ];
    lines.join("\n")
}

fn bar(name: &str, used: u64, capacity: u64, unit: &str) -> String {
    let share = |parts: u64| {
        used.saturating_mul(parts).checked_div(capacity).unwrap_or(if used > 0 { parts } else { 0 })
    };
    let filled = usize::try_from(share(BAR).min(BAR)).unwrap_or_default();
    let empty = usize::try_from(BAR).unwrap_or_default() - filled;
    let text = format!(
        "{name:<7} [{}{}] {:>3} %  {used} of {capacity} {unit}",
        "#".repeat(filled),
        ".".repeat(empty),
        share(100)
    );
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_factors_and_labels_are_parsed_or_refused() {
        assert_eq!(amounts("cpu=500,disk=7").unwrap(), (500, 0, 7));
        for wrong in ["", "cpu", "cpu=x", "ram=1", "cpu=1,cpu=2", "memory=4294967296"] {
            assert!(amounts(wrong).is_err(), "{wrong:?}");
        }
        let given = factors("memory=1.25").unwrap();
        assert!(given.cpu == 0.0 && (given.memory - 1.25).abs() < 1e-9);
        assert!(factors("cpu=0").is_err() && factors("cpu=NaN").is_err());
        assert_eq!(labels(&["a=b=c".into()]).unwrap()["a"], "b=c");
        assert!(labels(&["a".into()]).is_err());
    }

    #[test]
    fn a_bar_shows_the_share() {
        assert_eq!(
            bar("cpu", 500, 1000, "millicores"),
            "cpu     [##########..........]  50 %  500 of 1000 millicores"
        );
        assert_eq!(bar("slots", 0, 0, ""), "slots   [....................]   0 %  0 of 0");
        assert!(bar("disk", 30, 10, "MiB").contains("[####################] 300 %"));
        assert!(bar("disk", 3, 0, "MiB").contains("100 %"));
    }
}
