//! Fuzz targets: feed a parser of untrusted bytes mutated samples; it must never panic.
//!
//! Input: a target's valid samples, words of its format, and a check. Output: a panic with the shortest failing input, or
//! one line with the number of inputs. The check asserts what must hold for each input, and returns whether the parser
//! accepted it. A target that accepts all inputs or refuses all inputs fails, because it tests nothing.
//!
//! `SUPALOVE_FUZZ_CASES` is the number of inputs per target, `SUPALOVE_FUZZ_SEED` the seed. The tests of a target are in a
//! module `fuzz` beside the parser, so that `make fuzz` finds them by that name.

mod mutate;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

pub use mutate::Samples;

/// Number of inputs per target in an ordinary test run.
const CASES: u32 = 500;
/// Time limit of one input: a slower one could stall the program. Valid inputs take less than a hundredth of it.
const STALL: Duration = Duration::from_secs(10);

/// Whether a parser accepted an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The parser accepted it.
    Accepted,
    /// The parser returned an error.
    Refused,
}

impl Verdict {
    /// Converts a parser's result.
    pub fn from_result<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Accepted } else { Self::Refused }
    }
}

/// Runs a target on bytes.
///
/// # Panics
/// If the check panics on an input, an input takes longer than 10 s, or all inputs have the same verdict.
pub fn bytes(name: &str, samples: &Samples, check: impl Fn(&[u8]) -> Verdict) {
    let runs = Runs::default();
    let started = Instant::now();
    let cases = setting("SUPALOVE_FUZZ_CASES", CASES);
    let seed = setting("SUPALOVE_FUZZ_SEED", 1);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng(seed));
    let result = runner.run(&samples.inputs(), |input| {
        let begun = Instant::now();
        let verdict = check(&input.0);
        runs.note(verdict, begun.elapsed())
    });
    if let Err(error) = result {
        panic!("{name}: seed {seed}: {error}");
    }
    runs.report(name, started.elapsed());
}

/// Runs a target on text; bytes that are no UTF-8 become the replacement character.
///
/// # Panics
/// See [`bytes`].
pub fn text(name: &str, samples: &Samples, check: impl Fn(&str) -> Verdict) {
    bytes(name, samples, |input| check(&String::from_utf8_lossy(input)));
}

#[derive(Default)]
struct Runs {
    accepted: Cell<u64>,
    refused: Cell<u64>,
    slowest: Cell<Duration>,
}

impl Runs {
    fn note(&self, verdict: Verdict, took: Duration) -> Result<(), TestCaseError> {
        let counter = match verdict {
            Verdict::Accepted => &self.accepted,
            Verdict::Refused => &self.refused,
        };
        counter.set(counter.get() + 1);
        self.slowest.set(self.slowest.get().max(took));
        if took > STALL {
            return Err(TestCaseError::fail(format!("took {took:?}, longer than {STALL:?}")));
        }
        Ok(())
    }

    fn report(&self, name: &str, took: Duration) {
        let accepted = self.accepted.get();
        let refused = self.refused.get();
        assert!(
            accepted > 0 && refused > 0,
            "{name}: {accepted} accepted, {refused} refused: it tests nothing"
        );
        println!(
            "fuzz: {name}: {} inputs, {accepted} accepted, {:.1} s, slowest {} ms, 0 panics",
            accepted + refused,
            took.as_secs_f64(),
            self.slowest.get().as_millis(),
        );
    }
}

fn setting(name: &str, default: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")),
        Err(_) => default,
    }
}

fn rng(seed: u32) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Samples {
        Samples::new(["12345", "7"]).words(["0", "-"])
    }

    #[test]
    fn a_sound_parser_passes() {
        text("numbers", &numbers(), |text| Verdict::from_result(&text.parse::<u64>()));
    }

    #[test]
    #[should_panic(expected = "at most one digit")]
    fn a_panic_is_found() {
        text("numbers", &numbers(), |text| {
            let number = text.parse::<u64>();
            assert!(number.as_ref().is_ok_and(|number| *number < 10) || number.is_err(), "at most one digit");
            Verdict::from_result(&number)
        });
    }

    #[test]
    #[should_panic(expected = "it tests nothing")]
    fn a_target_that_refuses_all_is_no_test() {
        bytes("nothing", &numbers(), |_| Verdict::Refused);
    }
}
