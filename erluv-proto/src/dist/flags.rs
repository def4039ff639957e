//! The capability flags of the handshake (`dist.hrl` and `dist.h` of OTP 25 to 29; OTP document "Distribution
//! Protocol").

/// Visible in `nodes()`. Never set by erluv: it is a hidden node.
pub const PUBLISHED: u64 = 0x1;
/// Obsolete atom cache.
pub const ATOM_CACHE: u64 = 0x2;
/// References of more than one word.
pub const EXTENDED_REFERENCES: u64 = 0x4;
/// Monitors of pids.
pub const DIST_MONITOR: u64 = 0x8;
/// Funs have a tag of their own.
pub const FUN_TAGS: u64 = 0x10;
/// Monitors of names. Without both monitor flags a node sends no monitor at all.
pub const DIST_MONITOR_NAME: u64 = 0x20;
/// Obsolete atom cache between hidden nodes.
pub const HIDDEN_ATOM_CACHE: u64 = 0x40;
/// NEW_FUN_EXT.
pub const NEW_FUN_TAGS: u64 = 0x80;
/// Pids and ports of more bits.
pub const EXTENDED_PIDS_PORTS: u64 = 0x100;
/// EXPORT_EXT.
pub const EXPORT_PTR_TAG: u64 = 0x200;
/// BIT_BINARY_EXT.
pub const BIT_BINARIES: u64 = 0x400;
/// NEW_FLOAT_EXT.
pub const NEW_FLOATS: u64 = 0x800;
/// Characters beyond Latin-1 in the io protocol.
pub const UNICODE_IO: u64 = 0x1000;
/// Distribution headers with an atom cache. Changes the framing; not implemented here.
pub const DIST_HDR_ATOM_CACHE: u64 = 0x2000;
/// SMALL_ATOM_EXT.
pub const SMALL_ATOM_TAGS: u64 = 0x4000;
/// Atoms in UTF-8.
pub const UTF8_ATOMS: u64 = 0x10000;
/// MAP_EXT.
pub const MAP_TAG: u64 = 0x20000;
/// Creations of 32 bits.
pub const BIG_CREATION: u64 = 0x40000;
/// SEND_SENDER instead of SEND.
pub const SEND_SENDER: u64 = 0x80000;
/// Any term as label of a sequential trace.
pub const BIG_SEQTRACE_LABELS: u64 = 0x10_0000;
/// The reasons of exits as payload.
pub const EXIT_PAYLOAD: u64 = 0x40_0000;
/// Long messages in fragments. Changes the framing; not implemented here.
pub const FRAGMENTS: u64 = 0x80_0000;
/// The handshake of OTP 23.
pub const HANDSHAKE_23: u64 = 0x100_0000;
/// UNLINK_ID and its acknowledgement.
pub const UNLINK_ID: u64 = 0x200_0000;
/// Stands for all of [`MANDATORY_25`]. The OTP document gives another number; the header and the wire have this one.
pub const MANDATORY_25_DIGEST: u64 = 0x400_0000;
/// SPAWN_REQUEST and SPAWN_REPLY.
pub const SPAWN: u64 = 1 << 32;
/// Ask the peer for a name.
pub const NAME_ME: u64 = 1 << 33;
/// Pids and ports of 64 bits.
pub const V4_NC: u64 = 1 << 34;
/// ALIAS_SEND.
pub const ALIAS: u64 = 1 << 35;
/// Internal to BEAM.
pub const LOCAL_EXT: u64 = 1 << 36;
/// ALTACT_SIG_SEND, since OTP 28.
pub const ALTACT_SIG: u64 = 1 << 37;
/// RECORD_EXT, since OTP 29, which sends it without asking.
pub const NATIVE_RECORDS: u64 = 1 << 38;

/// What every node since OTP 25 has, and [`MANDATORY_25_DIGEST`] abbreviates.
pub const MANDATORY_25: u64 = 0x107_0f94;

/// What erluv announces.
pub const ERLUV: u64 = 0x2d_075f_5fbc;

/// What erluv requires of a peer: the mandatory flags of OTP 26 to 29, which 25 sends too.
pub const REQUIRED_OF_PEER: u64 = 0x4_0307_0f94;

/// The flags that a peer's number stands for.
pub const fn expand(flags: u64) -> u64 {
    if flags & MANDATORY_25_DIGEST == 0 { flags } else { flags | MANDATORY_25 }
}

/// Those flags that a peer can be told to lack, by their names in the OTP document.
const NAMES: [(u64, &str); 13] = [
    (EXTENDED_REFERENCES, "EXTENDED_REFERENCES"),
    (FUN_TAGS, "FUN_TAGS"),
    (NEW_FUN_TAGS, "NEW_FUN_TAGS"),
    (EXTENDED_PIDS_PORTS, "EXTENDED_PIDS_PORTS"),
    (EXPORT_PTR_TAG, "EXPORT_PTR_TAG"),
    (BIT_BINARIES, "BIT_BINARIES"),
    (NEW_FLOATS, "NEW_FLOATS"),
    (UTF8_ATOMS, "UTF8_ATOMS"),
    (MAP_TAG, "MAP_TAG"),
    (BIG_CREATION, "BIG_CREATION"),
    (HANDSHAKE_23, "HANDSHAKE_23"),
    (UNLINK_ID, "UNLINK_ID"),
    (V4_NC, "V4_NC"),
];

/// The names of the required flags that an expanded set lacks.
pub fn missing(flags: u64) -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().filter(move |(flag, _)| REQUIRED_OF_PEER & !flags & flag != 0).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_header_in_hexadecimal() {
        let table = [
            (PUBLISHED, 0x1),
            (ATOM_CACHE, 0x2),
            (EXTENDED_REFERENCES, 0x4),
            (DIST_MONITOR, 0x8),
            (FUN_TAGS, 0x10),
            (DIST_MONITOR_NAME, 0x20),
            (HIDDEN_ATOM_CACHE, 0x40),
            (NEW_FUN_TAGS, 0x80),
            (EXTENDED_PIDS_PORTS, 0x100),
            (EXPORT_PTR_TAG, 0x200),
            (BIT_BINARIES, 0x400),
            (NEW_FLOATS, 0x800),
            (UNICODE_IO, 0x1000),
            (DIST_HDR_ATOM_CACHE, 0x2000),
            (SMALL_ATOM_TAGS, 0x4000),
            (UTF8_ATOMS, 0x1_0000),
            (MAP_TAG, 0x2_0000),
            (BIG_CREATION, 0x4_0000),
            (SEND_SENDER, 0x8_0000),
            (BIG_SEQTRACE_LABELS, 0x10_0000),
            (EXIT_PAYLOAD, 0x40_0000),
            (FRAGMENTS, 0x80_0000),
            (HANDSHAKE_23, 0x100_0000),
            (UNLINK_ID, 0x200_0000),
            (MANDATORY_25_DIGEST, 0x400_0000),
            (SPAWN, 0x1_0000_0000),
            (NAME_ME, 0x2_0000_0000),
            (V4_NC, 0x4_0000_0000),
            (ALIAS, 0x8_0000_0000),
            (LOCAL_EXT, 0x10_0000_0000),
            (ALTACT_SIG, 0x20_0000_0000),
            (NATIVE_RECORDS, 0x40_0000_0000),
        ];
        for (flag, number) in table {
            assert_eq!(flag, number, "{number:#x}");
        }
    }

    #[test]
    fn erluv_announces_what_it_implements_and_nothing_else() {
        let implemented = EXTENDED_REFERENCES
            | DIST_MONITOR
            | FUN_TAGS
            | DIST_MONITOR_NAME
            | NEW_FUN_TAGS
            | EXTENDED_PIDS_PORTS
            | EXPORT_PTR_TAG
            | BIT_BINARIES
            | NEW_FLOATS
            | UNICODE_IO
            | SMALL_ATOM_TAGS
            | UTF8_ATOMS
            | MAP_TAG
            | BIG_CREATION
            | SEND_SENDER
            | BIG_SEQTRACE_LABELS
            | EXIT_PAYLOAD
            | HANDSHAKE_23
            | UNLINK_ID
            | MANDATORY_25_DIGEST
            | SPAWN
            | V4_NC
            | ALIAS
            | ALTACT_SIG;
        assert_eq!(ERLUV, implemented);
        assert_eq!(ERLUV, 0x2d_075f_5fbc);
        assert_eq!(ERLUV & (PUBLISHED | DIST_HDR_ATOM_CACHE | FRAGMENTS | ATOM_CACHE | NAME_ME | LOCAL_EXT), 0);
    }

    #[test]
    fn the_digest_stands_for_the_set_of_otp_25() {
        assert_eq!(expand(MANDATORY_25_DIGEST | V4_NC | UNLINK_ID) & MANDATORY_25, MANDATORY_25);
        assert_eq!(expand(0x1), 0x1);
    }

    #[test]
    fn every_required_flag_has_a_name() {
        assert_eq!(missing(0).count(), usize::try_from(REQUIRED_OF_PEER.count_ones()).unwrap());
        assert_eq!(missing(REQUIRED_OF_PEER).count(), 0);
        assert_eq!(missing(REQUIRED_OF_PEER & !V4_NC).collect::<Vec<_>>(), ["V4_NC"]);
        // What nodes of OTP 25/27, 28 and 29 announce.
        for seen in [0xd_07df_7fbd, 0x2d_07df_7fbd, 0x6d_07df_7fbd] {
            assert_eq!(missing(expand(seen)).count(), 0);
        }
    }
}
