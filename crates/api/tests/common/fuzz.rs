//! Bytes that are almost right: seeds changed at random, for parsers of what comes from outside.
//!
//! `KNARR_FUZZ=n` runs n times as many inputs as usual; `KNARR_FUZZ_SEED` starts elsewhere.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// Inputs for each target.
const USUAL: u64 = 1500;
/// No input of these sizes may take longer, even in a debug build on a busy machine.
const LONGEST: Duration = Duration::from_secs(5);
const LARGEST: usize = 4096;

/// What bodies in JSON are made of.
pub const JSON: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"\"",
    b",",
    b":",
    b"1e999",
    b"-0",
    b"\\u0000",
    b"\\ud800",
    b"\"spec\":",
    b"\"containers\":",
    b"\"$patch\":\"delete\"",
    b"9223372036854775808",
    b"{\"kind\":",
    b"\xff",
];

/// What bodies in protobuf are made of.
pub const PROTOBUF: &[&[u8]] = &[
    b"k8s\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x0a\x00",
    b"\x12\x7f",
    b"\x08\xff\xff\xff\xff\x0f",
    b"\x09\0\0\0\0\0\0\xf0\x7f",
    b"\x0b\x0c",
    b"\x1a\x02\x0a\x00",
];

/// Numbers that look random and come again for the same seed (xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

fn from_env(name: &str) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(1)
}

/// Runs `target` on changed seeds. `words` are what the language is made of.
///
/// # Panics
/// When the target does, or takes too long; the message has the input.
pub fn run(seeds: &[&[u8]], words: &[&[u8]], target: impl Fn(&[u8])) {
    run_few(USUAL, seeds, words, target);
}

/// [`run`] with another number of usual inputs, for targets that there are many of.
///
/// # Panics
/// As [`run`].
pub fn run_few(usual: u64, seeds: &[&[u8]], words: &[&[u8]], target: impl Fn(&[u8])) {
    let start = from_env("KNARR_FUZZ_SEED");
    for i in 0..usual * from_env("KNARR_FUZZ").max(1) {
        let input = changed(
            seeds,
            words,
            &mut Dice::new(start.wrapping_mul(1_000_003) + i),
        );
        let text = String::from_utf8_lossy(&input);
        let timed = || {
            let before = Instant::now();
            let done = catch_unwind(AssertUnwindSafe(|| target(&input)));
            assert!(done.is_ok(), "input {i}: {text:?}\n{input:?}");
            before.elapsed()
        };
        // Once it may have been the machine that was busy.
        if timed() >= LONGEST {
            let took = timed();
            assert!(took < LONGEST, "input {i} takes {took:?}: {text:?}");
        }
    }
}

fn changed(seeds: &[&[u8]], words: &[&[u8]], dice: &mut Dice) -> Vec<u8> {
    let mut out = seeds[dice.roll(seeds.len())].to_vec();
    for _ in 0..1 + dice.roll(6) {
        let at = dice.roll(out.len() + 1);
        let end = (at + dice.roll(24)).min(out.len());
        match dice.roll(9) {
            0 if at < out.len() => out[at] ^= 1 << dice.roll(8),
            1 if at < out.len() => out[at] = dice.roll(256) as u8,
            2 => drop(out.drain(at..end)),
            3 => out.truncate(at),
            4 => {
                let copy = out[at..end].to_vec();
                let to = dice.roll(out.len() + 1);
                out.splice(to..to, copy);
            }
            5 if !words.is_empty() => {
                let word = words[dice.roll(words.len())];
                out.splice(at..at, word.iter().copied());
            }
            6 => {
                let other = seeds[dice.roll(seeds.len())];
                let from = dice.roll(other.len() + 1);
                out.splice(at..end, other[from..].iter().copied());
            }
            // The same again and again, as what nests or repeats too deep.
            7 => {
                let copy = out[at..end].to_vec();
                for _ in 0..dice.roll(200) {
                    if out.len() + copy.len() > LARGEST {
                        break;
                    }
                    out.splice(at..at, copy.iter().copied());
                }
            }
            _ => out.insert(at, dice.roll(256) as u8),
        }
        out.truncate(LARGEST);
    }
    out
}
