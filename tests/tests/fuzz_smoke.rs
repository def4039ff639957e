//! A bounded number of executions of each fuzz target, over mutations of its corpus that are the same in every run:
//! 240 000 in all. For the unbounded kind see `tests/fuzz/README.md`.

use erluv_tests::fuzz::{self, corpus};

/// Executions of each target.
const EXECUTIONS: u32 = 40_000;

/// Mutations do not grow beyond this, in bytes.
const MAX_LENGTH: usize = 8192;

/// Pseudo-random numbers (xorshift).
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// One to four changes: bits, bytes, tags of the term format, lengths, cuts, repetitions, pieces of another seed.
    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len());
            match self.below(9) {
                0 => bytes.truncate(place),
                1 => bytes.extend_from_within(place..),
                2 => bytes.insert(place, self.byte()),
                3 => bytes.extend_from_slice(&other[self.below(other.len())..]),
                _ if bytes.is_empty() => bytes.push(self.byte()),
                4 => drop(bytes.remove(place)),
                5 => bytes[place] = self.byte(),
                6 => bytes[place] = u8::try_from(67 + self.below(55)).unwrap(),
                7 => bytes[place] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                _ => bytes[place] ^= 1 << self.below(8),
            }
            bytes.truncate(MAX_LENGTH);
        }
    }
}

/// Runs `target` over its seeds, then over mutations of them. What was run last is told where it panics.
fn run(name: &str, target: fn(&[u8]), seeds: &[Vec<u8>]) {
    assert!(!seeds.is_empty());
    let seed = 0x9e37_79b9_7f4a_7c15 ^ u64::try_from(name.len()).unwrap();
    println!("{name}: seed {seed:#x}, {EXECUTIONS} executions, {} seeds", seeds.len());
    let mut random = Xorshift(seed);
    target(&[]);
    for bytes in seeds {
        target(bytes);
    }
    for execution in 0..EXECUTIONS {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        random.mutate(&mut bytes, other);
        let shown = Shown { name, execution, bytes: &bytes };
        target(&bytes);
        std::mem::forget(shown);
    }
}

/// Tells the bytes that made a target panic, as the panic unwinds through it.
struct Shown<'a> {
    name: &'a str,
    execution: u32,
    bytes: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        println!("{}: execution {} panicked on {:02x?}", self.name, self.execution, self.bytes);
    }
}

#[test]
fn s66_mutated_terms_break_nothing() {
    run("etf", fuzz::etf, &corpus::etf());
}

#[test]
fn mutated_control_messages_break_nothing() {
    run("control", fuzz::control, &corpus::control());
}

#[test]
fn s64_mutated_handshakes_never_connect() {
    run("handshake", fuzz::handshake, &corpus::handshake());
}

#[test]
fn mutated_answers_of_epmd_break_nothing() {
    run("epmd", fuzz::epmd, &corpus::epmd());
}

#[test]
fn s47_mutated_datagrams_to_main_break_nothing() {
    run("ipc_to_main", fuzz::ipc_to_main, &corpus::ipc_to_main());
}

#[test]
fn s47_mutated_datagrams_to_child_break_nothing() {
    run("ipc_to_child", fuzz::ipc_to_child, &corpus::ipc_to_child());
}
