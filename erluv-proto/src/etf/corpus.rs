//! Terms as a node of OTP 25 writes them (`term_to_binary(T, [{minor_version, 2}])`, without the version byte), and
//! mutations of them.

const WRITTEN_BY_BEAM: &[&str] = &[
    // Integers around each limit of their encodings.
    "68027704696e74736c0000000a610061ff620000010062ffffffff627fffffff62800000006e0400000000806e0800ffffffffff\
        ffff7f6e080100000000000000806e080000000000000000806a",
    // Floats.
    "68027706666c6f6174736803463ff8000000000000468000000000000000467e37e43c8800759c",
    // Binaries and bit strings.
    "6802770462696e736c000000046d000000006d000000036162634d0000000103204d00000003070102066a",
    // `[[], "abc", [1|2], [[alias|Ref]|x], [alias|Ref], [a, [b, [c]]]]`
    "680277056c697374736c000000066a6b00036162636c00000001610161026c000000016c000000017705616c6961735a0003770d\
        6e6f6e6f6465406e6f686f7374000000000001126363f800010b56abf77701786c000000017705616c6961735a0003770d6e6f6e\
        6f6465406e6f686f7374000000000001126363f800010b56abf76c000000027701616c000000027701626c000000017701636a6a\
        6a6a",
    // Maps, one with a map as key.
    "680377046d617073740000000074000000027701616101740000000177016261026b000103",
    // A pid, a reference, a port.
    "6804770369647358770d6e6f6e6f6465406e6f686f73740000000900000000000000005a0003770d6e6f6e6f6465406e6f686f73\
        74000000000001126363f800010b56abf759770d6e6f6e6f6465406e6f686f73740000000000000000",
    // `fun lists:map/2` and a closure.
    "6803770466756e737177056c6973747377036d61706102700000004a010c7724ab6c97ccb440377c5145c2e39500000000000000\
        017705683167656e6100620063b92558770d6e6f6e6f6465406e6f686f7374000000090000000000000000770178",
    // A call with options, as it comes from a node.
    "680377092467656e5f63616c6c680258770d6e6f6e6f6465406e6f686f73740000000900000000000000006c000000017705616c\
        6961735a0003770d6e6f6e6f6465406e6f686f7374000000000001126363f800010b56abf76803770372756e6c000000026b0008\
        2f62696e2f6361746d000000022d6e6a6c000000037705737464696e68027703656e7674000000016b0001416b0001426802770c\
        6b696c6c5f74696d656f757461056a",
];

/// All terms of the corpus: tuples of a name and something.
pub(super) fn terms() -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    WRITTEN_BY_BEAM.iter().map(|hex| hex.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// What no BEAM since 25 writes, but the format has.
pub(super) fn others() -> Vec<Vec<u8>> {
    let all: &[&[u8]] = &[
        // Two fields of a record (OTP 29).
        b"C\0\0\0\x02\0w\x01mw\x01rw\x01aw\x01ba\x01h\x01a\x02",
        // A float in text, old atoms, an old pid, references and ports.
        b"c1.50000000000000000000e+00\0\0\0\0\0",
        b"h\x03d\0\x01as\x01bd\0\x01\xe5",
        b"gw\x03a@h\0\0\0\x01\0\0\0\0\x01",
        b"h\x02r\0\x02w\x03a@h\x01\0\0\0\x01\0\0\0\x02ew\x03a@h\0\0\0\x01\x01",
        b"h\x02fw\x03a@h\0\0\0\x01\x01xw\x03a@h\0\0\0\x01\0\0\0\x02\0\0\0\x03",
        // The old fun.
        b"u\0\0\0\x01gw\x03a@h\0\0\0\x01\0\0\0\0\x01w\x01ma\x01b\0\0\0\x02k\0\x01x",
        // An alias reference of five words, a list without elements.
        b"Z\0\x05w\x03a@h\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05",
        b"l\0\0\0\0a\x01",
        b"o\0\0\0\x02\x01\xff\xff",
    ];
    all.iter().map(|bytes| bytes.to_vec()).collect()
}

/// Pseudo-random numbers (xorshift), so that a failure can be repeated.
pub(super) struct Xorshift(pub(super) u64);

impl Xorshift {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    /// Changes a few bytes, cuts, repeats or puts tags in.
    pub(super) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let place = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, u8::try_from(67 + self.below(55)).unwrap()),
                2 => bytes.extend_from_within(place..),
                3 if !bytes.is_empty() => bytes[place] = u8::try_from(67 + self.below(55)).unwrap(),
                _ if !bytes.is_empty() => bytes[place] ^= 1 << self.below(8),
                _ => bytes.push(131),
            }
            bytes.truncate(4096);
        }
    }
}
