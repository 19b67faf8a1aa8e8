//! Where inputs come from: sound samples, changed in a few places by what usually breaks parsers. Every input is a
//! function of numbers that proptest chooses, so that it can shrink a failing one.

use std::{fmt, sync::Arc};

use proptest::prelude::*;

/// Changes of one input at most.
const CHANGES: usize = 6;
/// Longest input made from a sample that is not longer itself.
const LONGEST: usize = 64 * 1024;
/// Put into every format: borders of numbers, separators, what is no text, what is no ASCII.
const COMMON: [&[u8]; 24] = [
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b".",
    b"/",
    b"..",
    b":",
    b",",
    b"\"",
    b"=",
    b"-1",
    b"0",
    b"256",
    b"65536",
    b"4294967296",
    b"9223372036854775808",
    b"18446744073709551616",
    b"\xff",
    "\u{e9}".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{1f980}".as_bytes(),
];

/// Valid inputs of a target, and words of its format.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    whole: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Samples {
    /// Creates samples from valid inputs, at least one.
    pub fn new<T: AsRef<[u8]>>(samples: impl IntoIterator<Item = T>) -> Self {
        let whole = samples.into_iter().map(|one| one.as_ref().to_vec()).collect();
        Self { whole, words: COMMON.iter().map(|word| word.to_vec()).collect() }
    }

    /// Adds words that the format knows.
    #[must_use]
    pub fn words<T: AsRef<[u8]>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_vec()));
        self
    }

    /// Mostly changed samples; some rows of words and some arbitrary bytes.
    pub(crate) fn inputs(&self) -> impl Strategy<Value = Input> + use<> {
        let samples = Arc::new(self.clone());
        let changed = {
            let samples = samples.clone();
            (any::<u32>(), prop::collection::vec(any::<Change>(), 0..=CHANGES))
                .prop_map(move |(which, changes)| samples.changed(which, &changes))
        };
        let rows = prop::collection::vec(any::<u32>(), 0..16).prop_map(move |row| samples.row(&row));
        let noise = prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![16 => changed, 2 => rows, 1 => noise].prop_map(Input)
    }

    fn changed(&self, which: u32, changes: &[Change]) -> Vec<u8> {
        let sample = pick(&self.whole, which);
        let longest = LONGEST.max(sample.len() * 2);
        let mut bytes = sample.to_vec();
        for change in changes {
            self.change(&mut bytes, *change);
            bytes.truncate(longest);
        }
        bytes
    }

    fn row(&self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| pick(&self.words, *word).to_vec()).collect()
    }

    fn change(&self, bytes: &mut Vec<u8>, (kind, at, length, other): Change) {
        let start = index(at, bytes.len() + 1);
        let end = (start + usize::from(length % 64)).min(bytes.len());
        match kind % 12 {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(start) {
                    *byte ^= 1 << (length % 8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(start) {
                    *byte = other.to_le_bytes()[0];
                }
            }
            3 => drop(bytes.drain(start..end)),
            4 => insert(bytes, start, &other.to_le_bytes()[..=usize::from(length % 4)]),
            5 | 6 => insert(bytes, start, pick(&self.words, other)),
            7 => drop(bytes.splice(start..end, pick(&self.words, other).to_vec())),
            8 => {
                let piece = bytes[start..end].to_vec();
                let target = index(other, bytes.len() + 1);
                insert(bytes, target, &piece);
            }
            9 => {
                let piece = bytes[start..end].repeat(index(other, 300));
                insert(bytes, start, &piece);
            }
            10 => {
                let sample = pick(&self.whole, other);
                bytes.truncate(start);
                bytes.extend_from_slice(&sample[index(at, sample.len() + 1)..]);
            }
            _ => bytes.truncate(start),
        }
    }
}

/// Kind, place, length, and a number for what else a kind needs.
type Change = (u8, u32, u8, u32);

/// An input, shown so that it can be pasted into a test.
#[derive(Clone)]
pub(crate) struct Input(pub Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    drop(bytes.splice(at..at, piece.iter().copied()));
}

/// A place below `length`, which is not 0, from any number.
fn index(number: u32, length: usize) -> usize {
    usize::try_from(number).unwrap_or(0) % length
}

fn pick(list: &[Vec<u8>], number: u32) -> &[u8] {
    &list[index(number, list.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_keeps_an_input_in_bounds() {
        let samples = Samples::new(["", "a", "abcdef"]).words(["xy"]);
        for kind in 0..12 {
            for number in 0..200 {
                let changes = [(kind, number, 5, number * 7), (kind, number / 3, 255, number)];
                let input = samples.changed(number, &changes);
                assert!(input.len() <= LONGEST, "{}", input.len());
            }
        }
        assert_eq!(samples.changed(2, &[]), b"abcdef");
        assert_eq!(samples.changed(2, &[(3, 1, 2, 0)]), b"adef");
    }
}
