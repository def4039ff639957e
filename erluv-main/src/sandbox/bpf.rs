//! Filters of system calls as search trees, seccomp(2): a program for the kernel's BPF.
//!
//! The crate seccompiler makes one comparison after the other. When a filter is put in force the kernel tries it with
//! every number that there is, to know which calls it never has to ask for, and it does so for each worker that starts:
//! with a tree that takes a tenth of the time, the more so as each comparison halves the numbers and not the ranges.

use std::collections::BTreeMap;

use seccompiler::{BackendError, BpfProgram, SeccompAction, TargetArch, sock_filter};

use super::pass::Pass;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The first of the two arguments in which a pass is shown.
const PASS: u8 = 4;

/// What a call gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Allow,
    /// What it says of this call, whatever its arguments.
    Always(SeccompAction),
    /// The same where the low 32 bits of the argument at this place are one of these values.
    IfOneOf(u8, Vec<u32>, SeccompAction),
    /// Where they are none of them.
    IfNoneOf(u8, Vec<u32>, SeccompAction),
    /// Where they have any of these bits.
    IfAny(u8, u32, SeccompAction),
}

/// Numbers from this one on, up to the next range, get this answer.
struct Range<'a> {
    first: u32,
    answer: &'a Answer,
}

/// Where a comparison leads: to another, or to what calls get.
#[derive(Debug, Clone, Copy)]
enum Target {
    Node(usize),
    Answer(usize),
}

/// Numbers from `border` on go to `high`, all others to `low`.
struct Node {
    border: u32,
    low: Target,
    high: Target,
}

/// The tree, and each answer once.
#[derive(Default)]
struct Tree<'a> {
    nodes: Vec<Node>,
    answers: Vec<&'a Answer>,
}

/// The filter for calls by their numbers. Those of another architecture end the process, those above `highest` answer
/// ENOSYS, those that are not named are allowed. Calls that are `open` are allowed with the pass, whatever their answer.
///
/// # Errors
/// [`BackendError::FilterTooLarge`] where it is so long that a comparison does not reach what it leads to.
pub(super) fn filter(
    arch: TargetArch,
    highest: u32,
    answers: &BTreeMap<u32, Answer>,
    open: Option<(&[u32], Pass)>,
) -> Result<BpfProgram, BackendError> {
    let mut program = vec![
        load(ARCHITECTURE),
        compare(libc::BPF_JEQ, audited(arch), 1, 0),
        answer(SeccompAction::KillProcess),
        load(NUMBER),
        compare(libc::BPF_JGT, highest, 0, 1),
        answer(SeccompAction::Errno(libc::ENOSYS.unsigned_abs())),
    ];
    if let Some((calls, pass)) = open {
        program.extend(gate(calls, pass)?);
    }
    let mut tree = Tree::default();
    tree.grow(&ranges(answers), highest.saturating_add(1));
    program.extend(tree.written()?);
    Ok(program)
}

impl<'a> Tree<'a> {
    /// A comparison stands before all that it leads to, and the first one first. `end` is behind the last number.
    fn grow(&mut self, ranges: &[Range<'a>], end: u32) -> Target {
        let (low, high) = ranges.split_at(middle(ranges, end));
        let ([_, ..], [first, ..]) = (low, high) else {
            return Target::Answer(self.place(high.first().map_or(&Answer::Allow, |only| only.answer)));
        };
        let at = self.nodes.len();
        let unknown = Target::Node(at);
        self.nodes.push(Node { border: first.first, low: unknown, high: unknown });
        let (low, high) = (self.grow(low, first.first), self.grow(high, end));
        if let Some(node) = self.nodes.get_mut(at) {
            (node.low, node.high) = (low, high);
        }
        Target::Node(at)
    }

    fn place(&mut self, answer: &'a Answer) -> usize {
        self.answers.iter().position(|known| *known == answer).unwrap_or_else(|| {
            self.answers.push(answer);
            self.answers.len().saturating_sub(1)
        })
    }

    /// All comparisons, behind them all answers.
    fn written(&self) -> Result<BpfProgram, BackendError> {
        let (mut places, mut behind) = (Vec::new(), Vec::new());
        for answer in &self.answers {
            places.push(self.nodes.len().saturating_add(behind.len()));
            behind.extend(leaf(answer));
        }
        let too_long = || BackendError::FilterTooLarge(self.nodes.len().saturating_add(behind.len()));
        let over = |at: usize, target: Target| {
            let place = match target {
                Target::Node(node) => Some(node),
                Target::Answer(answer) => places.get(answer).copied(),
            };
            let next = at.checked_add(1)?;
            u8::try_from(place?.checked_sub(next)?).ok()
        };
        let mut program = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let high = over(at, node.high).ok_or_else(too_long)?;
            let low = over(at, node.low).ok_or_else(too_long)?;
            program.push(compare(libc::BPF_JGE, node.border, high, low));
        }
        program.extend(behind);
        Ok(program)
    }
}

/// Allows these calls with the pass. All its bits are compared before anything is decided, so that the time that a wrong
/// one takes says nothing of how much of it is right.
fn gate(calls: &[u32], pass: Pass) -> Result<BpfProgram, BackendError> {
    let difference = |(word, half): (u64, u32)| {
        let wanted = u32::try_from(word.wrapping_shr(half.wrapping_mul(32)) & u64::from(u32::MAX)).unwrap_or(0);
        (half, instruction(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_K, 0, 0, wanted))
    };
    let mut check = vec![instruction(libc::BPF_LD | libc::BPF_IMM, 0, 0, 0), instruction(libc::BPF_ST, 0, 0, 0)];
    for (place, word) in (PASS..).zip(pass.arguments()) {
        for (half, differs) in [(word, 0), (word, 1)].map(difference) {
            let at = u32::from(place).saturating_mul(8).saturating_add(ARGUMENTS).saturating_add(half.wrapping_mul(4));
            let before = instruction(libc::BPF_LDX | libc::BPF_MEM, 0, 0, 0);
            let either = instruction(libc::BPF_ALU | libc::BPF_OR | libc::BPF_X, 0, 0, 0);
            check.extend([load(at), differs, before, either, instruction(libc::BPF_ST, 0, 0, 0)]);
        }
    }
    check.extend([compare(libc::BPF_JEQ, 0, 0, 1), answer(SeccompAction::Allow), load(NUMBER)]);
    let over = |more: usize| u8::try_from(more).map_err(|_| BackendError::FilterTooLarge(more));
    let mut program = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let left = calls.len().saturating_sub(place).saturating_sub(1);
        let past = if left == 0 { check.len() } else { 0 };
        program.push(compare(libc::BPF_JEQ, *call, over(left)?, over(past)?));
    }
    program.extend(check);
    Ok(program)
}

/// The range whose border is nearest to the middle of all numbers; the first one has none.
fn middle(ranges: &[Range<'_>], end: u32) -> usize {
    let middle = ranges.first().map_or(0, |first| first.first.midpoint(end));
    let borders = ranges.iter().enumerate().skip(1);
    borders.min_by_key(|(_, range)| range.first.abs_diff(middle)).map_or(0, |(place, _)| place)
}

/// From 0 on, without a gap, and no two neighbours with the same answer.
fn ranges(answers: &BTreeMap<u32, Answer>) -> Vec<Range<'_>> {
    let mut ranges = vec![Range { first: 0, answer: &Answer::Allow }];
    let mut next = 0;
    for (&number, answer) in answers {
        if number > next {
            add(&mut ranges, next, &Answer::Allow);
        }
        add(&mut ranges, number, answer);
        next = number.saturating_add(1);
    }
    add(&mut ranges, next, &Answer::Allow);
    ranges
}

fn add<'a>(ranges: &mut Vec<Range<'a>>, first: u32, answer: &'a Answer) {
    match ranges.last_mut() {
        Some(last) if last.answer == answer => {}
        Some(last) if last.first == first => last.answer = answer,
        _ => ranges.push(Range { first, answer }),
    }
}

fn leaf(verdict: &Answer) -> BpfProgram {
    let listed = |place: u8, values: &[u32], found: &SeccompAction, other: SeccompAction| {
        let each = values.iter().flat_map(|value| [compare(libc::BPF_JEQ, *value, 0, 1), answer(found.clone())]);
        [load_argument(place)].into_iter().chain(each).chain([answer(other)]).collect()
    };
    match verdict {
        Answer::Allow => vec![answer(SeccompAction::Allow)],
        Answer::Always(action) => vec![answer(action.clone())],
        Answer::IfOneOf(place, values, action) => listed(*place, values, action, SeccompAction::Allow),
        Answer::IfNoneOf(place, values, action) => listed(*place, values, &SeccompAction::Allow, action.clone()),
        Answer::IfAny(place, bits, action) => vec![
            load_argument(*place),
            compare(libc::BPF_JSET, *bits, 0, 1),
            answer(action.clone()),
            answer(SeccompAction::Allow),
        ],
    }
}

/// What the kernel calls an architecture, `AUDIT_ARCH_*` of linux/audit.h: its number in ELF, 64 bits, little-endian.
const fn audited(arch: TargetArch) -> u32 {
    let machine = match arch {
        TargetArch::x86_64 => 62,
        TargetArch::aarch64 => 183,
        TargetArch::riscv64 => 243,
    };
    0xc000_0000 | machine
}

/// The low half of an argument; all architectures that are known here are little-endian.
fn load_argument(place: u8) -> sock_filter {
    load(u32::from(place).saturating_mul(8).saturating_add(ARGUMENTS))
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn answer(action: SeccompAction) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::from(action))
}

/// Over so many instructions where the loaded number compares so with `value`, or over so many where not.
fn compare(how: u32, value: u32, over: u8, otherwise: u8) -> sock_filter {
    instruction(libc::BPF_JMP | how | libc::BPF_K, over, otherwise, value)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: SeccompAction = SeccompAction::Errno(1);
    const HIGHEST: u32 = 469;

    /// What the kernel's machine comes to, and in how many instructions.
    fn run(program: &[sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        let mut data = [number.to_le_bytes(), arch.to_le_bytes()].concat();
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let (mut at, mut loaded, mut index, mut kept) = (0, 0, 0, None);
        for steps in 1.. {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            let code = u32::from(code);
            at += 1;
            if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                loaded = u32::from_le_bytes(data[k as usize..][..4].try_into().unwrap());
            } else if code == libc::BPF_LD | libc::BPF_IMM {
                loaded = k;
            } else if code == libc::BPF_ST {
                kept = Some(loaded);
            } else if code == libc::BPF_LDX | libc::BPF_MEM {
                index = kept.unwrap();
            } else if code == libc::BPF_ALU | libc::BPF_XOR | libc::BPF_K {
                loaded ^= k;
            } else if code == libc::BPF_ALU | libc::BPF_OR | libc::BPF_X {
                loaded |= index;
            } else if code == libc::BPF_RET | libc::BPF_K {
                return (k, steps);
            } else {
                let holds = match code - libc::BPF_JMP {
                    libc::BPF_JEQ => loaded == k,
                    libc::BPF_JGT => loaded > k,
                    libc::BPF_JGE => loaded >= k,
                    libc::BPF_JSET => loaded & k != 0,
                    other => panic!("{other:#x}"),
                };
                at += usize::from(if holds { jt } else { jf });
            }
        }
        panic!("a program without an end")
    }

    fn ours(answers: &BTreeMap<u32, Answer>, number: u32, arguments: [u64; 6]) -> SeccompAction {
        let program = filter(TargetArch::x86_64, HIGHEST, answers, None).unwrap();
        let (value, _) = run(&program, audited(TargetArch::x86_64), number, arguments);
        let all = [SeccompAction::Allow, DENIED, SeccompAction::Errno(38), SeccompAction::KillProcess];
        all.into_iter().find(|action| u32::from(action.clone()) == value).unwrap()
    }

    #[test]
    fn each_number_gets_its_answer_and_no_other() {
        for step in [1, 4, 5, 7, 50] {
            let answers = (0..=HIGHEST).step_by(step).map(|number| (number, Answer::Always(DENIED))).collect();
            for number in 0..=HIGHEST {
                let wanted = if (number as usize).is_multiple_of(step) { DENIED } else { SeccompAction::Allow };
                assert_eq!(ours(&answers, number, [0; 6]), wanted, "{number}, each {step}");
            }
        }
    }

    #[test]
    fn a_filter_that_is_too_long_is_an_error_and_no_other_filter() {
        let answers = (0..=HIGHEST).step_by(2).map(|number| (number, Answer::Always(DENIED))).collect();
        assert!(matches!(filter(TargetArch::x86_64, HIGHEST, &answers, None), Err(BackendError::FilterTooLarge(_))));
    }

    #[test]
    fn another_architecture_and_unknown_numbers_are_refused_before_anything_else() {
        let program = filter(TargetArch::x86_64, HIGHEST, &BTreeMap::new(), None).unwrap();
        let kill = u32::from(SeccompAction::KillProcess);
        assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]).0, kill, "i386");
        assert_eq!(ours(&BTreeMap::new(), HIGHEST, [0; 6]), SeccompAction::Allow);
        for number in [HIGHEST + 1, 0x4000_0000, u32::MAX] {
            assert_eq!(ours(&BTreeMap::new(), number, [0; 6]), SeccompAction::Errno(38), "{number:#x}");
        }
    }

    #[test]
    fn arguments_are_looked_at_by_their_low_half() {
        let high = 1 << 32;
        let at = |answer: Answer, value| ours(&BTreeMap::from([(16, answer)]), 16, [0, value, 0, 0, 0, 0]);
        let one_of = || Answer::IfOneOf(1, vec![7, 9], DENIED);
        assert_eq!([7, 9, 7 | high].map(|value| at(one_of(), value)), [const { DENIED }; 3]);
        assert_eq!([0, 8, high].map(|value| at(one_of(), value)), [const { SeccompAction::Allow }; 3]);
        let none_of = || Answer::IfNoneOf(1, vec![0, 0xffff_ffff], DENIED);
        assert_eq!([1, 0xffff_fffe].map(|value| at(none_of(), value)), [const { DENIED }; 2]);
        assert_eq!([0, 0xffff_ffff, high].map(|value| at(none_of(), value)), [const { SeccompAction::Allow }; 3]);
        let any = || Answer::IfAny(1, 0b110, DENIED);
        assert_eq!([2, 4, 7, 6 | high].map(|value| at(any(), value)), [const { DENIED }; 4]);
        assert_eq!([0, 1, 8, high].map(|value| at(any(), value)), [const { SeccompAction::Allow }; 4]);
    }

    #[test]
    fn neighbours_with_one_answer_are_one_range_and_the_tree_is_shallow() {
        let answers = (10..200).map(|number| (number, Answer::Always(DENIED))).collect();
        assert_eq!(ranges(&answers).len(), 3);
        let answers = (0..300).step_by(3).map(|number| (number, Answer::Always(DENIED))).collect();
        let program = filter(TargetArch::x86_64, HIGHEST, &answers, None).unwrap();
        let most = (0..HIGHEST).map(|number| run(&program, audited(TargetArch::x86_64), number, [0; 6]).1).max();
        assert!(most < Some(16), "{most:?}");
    }

    #[test]
    fn a_call_that_is_open_is_allowed_with_the_whole_pass_and_no_other_call_is() {
        let pass = Pass::new(*b"0123456789abcdef");
        let [fifth, sixth] = pass.arguments();
        let answers = BTreeMap::from([16, 250, 435, 436].map(|number| (number, Answer::Always(DENIED))));
        let program = filter(TargetArch::x86_64, HIGHEST, &answers, Some((&[435, 250], pass))).unwrap();
        let of = |number, fifth, sixth| run(&program, audited(TargetArch::x86_64), number, [0, 0, 0, 0, fifth, sixth]);
        let [allowed, denied] = [SeccompAction::Allow, DENIED].map(u32::from);
        for open in [250, 435] {
            assert_eq!(of(open, fifth, sixth).0, allowed, "{open}");
            let wrong = (0..64).flat_map(|bit| [(fifth ^ 1 << bit, sixth), (fifth, sixth ^ 1 << bit)]);
            let steps = of(open, !fifth, !sixth).1;
            for (fifth, sixth) in wrong.chain([(0, 0), (sixth, fifth)]) {
                assert_eq!(of(open, fifth, sixth), (denied, steps), "{open}, {fifth:x} {sixth:x}");
            }
        }
        for closed in [16, 436] {
            assert_eq!(of(closed, fifth, sixth).0, denied, "{closed}");
        }
        assert_eq!(of(0, fifth, sixth).0, allowed);
    }
}
