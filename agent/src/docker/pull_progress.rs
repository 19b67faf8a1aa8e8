//! The percentage of a pull, computed from the engine's reports per layer.

use std::collections::HashMap;

/// Share of a layer that is downloading; the rest is unpacking.
const DOWNLOAD_SHARE: f64 = 0.8;

/// Layers seen so far, each from 0 to 1.
#[derive(Debug, Default)]
pub struct PullProgress {
    layers: HashMap<String, f64>,
    shown: u32,
}

impl PullProgress {
    /// Adds one report; returns the percentage, which never falls.
    pub fn report(&mut self, layer: &str, status: &str, current: i64, total: i64) -> u32 {
        if let Some(share) = share(status, current, total) {
            let known = self.layers.entry(layer.to_owned()).or_default();
            *known = known.max(share);
        }
        if !self.layers.is_empty() {
            let sum: f64 = self.layers.values().sum();
            let count = u32::try_from(self.layers.len()).unwrap_or(u32::MAX);
            let percent = (sum * 100.0 / f64::from(count)).clamp(0.0, 100.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100")]
            let percent = percent as u32;
            self.shown = self.shown.max(percent);
        }
        self.shown
    }
}

fn share(status: &str, current: i64, total: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a percentage needs no more")]
    let part = if total > 0 { (current as f64 / total as f64).clamp(0.0, 1.0) } else { 0.0 };
    match status {
        "Pulling fs layer" | "Waiting" => Some(0.0),
        "Downloading" => Some(part * DOWNLOAD_SHARE),
        "Verifying Checksum" | "Download complete" => Some(DOWNLOAD_SHARE),
        "Extracting" => Some(DOWNLOAD_SHARE + part * (1.0 - DOWNLOAD_SHARE)),
        "Pull complete" | "Already exists" => Some(1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentage_grows_to_a_hundred() {
        let mut progress = PullProgress::default();
        assert_eq!(progress.report("a", "Pulling fs layer", 0, 0), 0);
        assert_eq!(progress.report("a", "Downloading", 50, 100), 40);
        assert_eq!(progress.report("b", "Pulling fs layer", 0, 0), 40, "never falls");
        assert_eq!(progress.report("b", "Already exists", 0, 0), 70);
        assert_eq!(progress.report("latest", "Pulling from x", 0, 0), 70);
        assert_eq!(progress.report("a", "Pull complete", 0, 0), 100);
    }
}
