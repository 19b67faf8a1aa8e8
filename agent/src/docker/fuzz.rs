//! Fuzz targets of what the engine passes on: lines that containers write, and reports of registries.

use bollard::container::LogOutput;
use supalove_fuzz::{Samples, Verdict, text};

use super::logs::{Assembler, LONGEST_LINE};
use super::pull_progress::PullProgress;

#[test]
fn log_lines() {
    let long = format!("2026-01-02T03:04:05.000000006Z {}", "é".repeat(LONGEST_LINE));
    let samples = Samples::new([
        "2026-01-02T03:04:05.000000006Z hello world\r\n",
        "no stamp",
        "2026-01-02T03:04:05Z one \u{1}2026-01-02T03:04:05Z line\n",
        &long,
    ])
    .words(["2026-01-02T03:04:60Z ", "+262142-12-31T23:59:60+23:59 ", "\r\n", "\u{1}", "\u{2}"]);
    text("lines of containers", &samples, |input| {
        let mut lines = Assembler::default();
        let mut written = 0;
        let mut stamped = false;
        // A frame of standard output, or after \u{2} of standard error.
        for frame in input.split_inclusive(['\u{1}', '\u{2}', '\n']) {
            let message = frame.to_owned().into();
            let stderr = frame.ends_with('\u{2}');
            let line = lines.frame(if stderr {
                LogOutput::StdErr { message }
            } else {
                LogOutput::StdOut { message }
            });
            written += frame.len();
            let Some(line) = line else { continue };
            assert!(frame.ends_with('\n') && line.stderr == stderr, "only a line end completes a line");
            assert!(line.text.len() <= LONGEST_LINE && !line.text.ends_with(['\r', '\n']));
            assert!(line.text.len() <= written, "a line is a part of what was written");
            stamped |= line.time.is_some();
        }
        if stamped { Verdict::Accepted } else { Verdict::Refused }
    });
}

#[test]
fn pull_reports() {
    let samples = Samples::new(["a Downloading 50 100 a Extracting 50 100 b Waiting 0 0 b Complete -1 1"])
        .words(["Downloading ", "Extracting ", "Waiting ", "9223372036854775807 ", "-9223372036854775808 "]);
    text("reports of pulls", &samples, |input| {
        let words: Vec<&str> = input.split(' ').collect();
        let mut progress = PullProgress::default();
        let mut before = 0;
        for report in words.chunks_exact(4) {
            let number = |text: &str| text.parse().unwrap_or(i64::MIN);
            let percent = progress.report(report[0], report[1], number(report[2]), number(report[3]));
            assert!((before..=100).contains(&percent), "{percent} after {before}");
            before = percent;
        }
        if before > 0 { Verdict::Accepted } else { Verdict::Refused }
    });
}
