//! How much of everything is measured.

/// The sizes of the works.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How often all of it is measured, by systems that are started anew.
    pub(crate) rounds: usize,
    /// Starts of `/bin/true` one at a time, and by all callers together.
    pub(crate) trues: (usize, usize),
    /// The same of the program without libc.
    pub(crate) statics: (usize, usize),
    /// Bytes that one writer writes, and one of eight: some seconds, as where the kernel runs who changes within one.
    pub(crate) output: (u64, u64),
    /// Bytes into `wc -c`.
    pub(crate) input: u64,
    /// How often a round takes starts, streams and echoes where the kernel chooses the cores: it chooses anew for each
    /// worker, and stays with it for much of a run. On one core, and of sleepers and the row idle anywhere, at most thrice.
    pub(crate) draws: usize,
    /// Echoes.
    pub(crate) echoes: usize,
    /// Workers that idle beside others' work.
    pub(crate) idle: usize,
    /// Whether those of the C programs do, too.
    pub(crate) limits_idle: bool,
    /// Numbers of sleepers.
    pub(crate) sleepers: Vec<usize>,
    /// Milliseconds that nobody reads.
    pub(crate) unread: u64,
    /// Short commands in a row.
    pub(crate) commands: usize,
    /// Profiles whose start is measured.
    pub(crate) profiles: Vec<String>,
}

const MIB: u64 = 1 << 20;

impl Plan {
    /// All of it: some twenty-five minutes a round, more on a busy host.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 3,
            trues: (500, 1600),
            statics: (2000, 6400),
            output: (2048 * MIB, 256 * MIB),
            input: 2048 * MIB,
            draws: 5,
            echoes: 5000,
            idle: 1000,
            limits_idle: true,
            sleepers: vec![1000, 5000, 10_000],
            unread: 2000,
            commands: 10_000,
            profiles: ["plain", "default", "strict", "build"].map(str::to_owned).to_vec(),
        }
    }

    /// Less of it: under two minutes with two rounds.
    pub(crate) fn short() -> Self {
        Self {
            rounds: 2,
            trues: (60, 320),
            statics: (200, 960),
            output: (64 * MIB, 16 * MIB),
            input: 64 * MIB,
            draws: 1,
            echoes: 500,
            idle: 300,
            limits_idle: false,
            sleepers: vec![1000],
            unread: 300,
            commands: 1000,
            profiles: Vec::new(),
        }
    }
}
