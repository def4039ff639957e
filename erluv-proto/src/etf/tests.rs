//! The validator against hostile bytes, the views, and the way through `eetf` and back.

use super::corpus::{Xorshift, others, terms};
use super::*;

fn term(bytes: &[u8]) -> Term<'_> {
    Term::exactly(bytes).unwrap()
}

fn put(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// `depth` tuples of one element inside each other, around `{}`.
fn nested(depth: usize) -> Vec<u8> {
    [[104, 1].repeat(depth), vec![104, 0]].concat()
}

#[test]
fn s66_what_stops_eetf_stops_at_the_validator() {
    let refused: &[(&[u8], EtfError)] = &[
        (b"R\0", EtfError::Tag(82)),
        (b"D\0", EtfError::Tag(68)),
        (b"E\0", EtfError::Tag(69)),
        (b"y\0\0\0\0a\x01", EtfError::Tag(121)),
        (b"P\0\0\0\x0ax\x9c", EtfError::Tag(80)),
        (b"l\xff\xff\xff\xff", EtfError::Truncated),
        (b"i\xff\xff\xff\xff", EtfError::Truncated),
        (b"t\xff\xff\xff\xff", EtfError::Truncated),
        (b"m\xff\xff\xff\xff", EtfError::Truncated),
        (b"o\xff\xff\xff\xff\0", EtfError::Truncated),
        (b"C\xff\xff\xff\xff\0", EtfError::Truncated),
        (b"M\0\0\0\x01\0\xff", EtfError::Bits(0)),
        (b"M\0\0\0\x01\x09\xff", EtfError::Bits(9)),
        (b"M\0\0\0\0\x01", EtfError::Bits(1)),
        (b"Xa\x01\0\0\0\x01\0\0\0\0\0\0\0\x01", EtfError::Tag(97)),
        (b"XR\0\0\0\0\x01\0\0\0\0\0\0\0\x01", EtfError::Tag(82)),
        (b"qw\x01aw\x01bb\0\0\0\x01", EtfError::Tag(98)),
        (b"", EtfError::Truncated),
    ];
    for (bytes, error) in refused {
        assert_eq!(Term::exactly(bytes).as_ref(), Err(error), "{bytes:?}");
        // The same inside a tuple, a list, a map and as a tail.
        for around in [b"h\x01".as_slice(), b"l\0\0\0\x01", b"t\0\0\0\x01j", b"l\0\0\0\x01j"] {
            let inside = [around, bytes].concat();
            assert_eq!(Term::exactly(&inside).as_ref(), Err(error), "{inside:?}");
        }
    }
}

#[test]
fn s66_containers_nest_sixty_four_deep_and_no_deeper() {
    assert!(Term::exactly(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(Term::exactly(&nested(MAX_DEPTH + 1)), Err(EtfError::Depth));
    assert_eq!(Term::exactly(&nested(500_000)), Err(EtfError::Depth));
    // Beside each other they may be many, and a level that is left is free again.
    let pair = nested(MAX_DEPTH - 1);
    assert!(Term::exactly(&[b"h\x03".as_slice(), &pair, &pair, &pair].concat()).is_ok());
}

#[test]
fn s66_one_term_has_no_more_than_so_many() {
    let list = |count: u32| {
        put(|out| {
            put_list(out, count);
            (0..count).for_each(|_| put_integer(out, 1));
            put_nil(out);
        })
    };
    assert!(Term::exactly(&list(MAX_TERMS - 2)).is_ok());
    assert_eq!(Term::exactly(&list(MAX_TERMS - 1)), Err(EtfError::Terms));
    let halves = [b"h\x02".as_slice(), &list(60_000), &list(60_000)].concat();
    assert_eq!(Term::exactly(&halves), Err(EtfError::Terms));
}

#[test]
fn references_have_one_to_five_words() {
    let reference =
        |words: u8| [&[90, 0, words, 119, 1, b'a', 0, 0, 0, 1][..], &vec![7; 4 * usize::from(words)]].concat();
    for words in 1..=5 {
        assert!(term(&reference(words)).is_reference());
    }
    for words in [0, 6, 255] {
        assert_eq!(Term::exactly(&reference(words)), Err(EtfError::Words(u16::from(words))));
    }
}

#[test]
fn atoms_have_255_characters_of_valid_utf8_at_most() {
    let long = "\u{1f600}".repeat(255);
    let atom = put(|out| put_atom(out, &long));
    assert_eq!((atom[0], term(&atom).atom()), (118, Some(long.as_str())));
    let longer = [&[118, 1, 0][..], &[b'a'; 256]].concat();
    assert_eq!(Term::exactly(&longer), Err(EtfError::Atom));
    assert_eq!(put(|out| put_atom(out, &"a".repeat(300))).len(), 257);
    assert_eq!(Term::exactly(b"w\x02\xc3("), Err(EtfError::Atom));
    assert_eq!(Term::exactly(&[&[100, 1, 0][..], &[b'a'; 256]].concat()), Err(EtfError::Atom));
    assert_eq!(term(b"s\x01\xe5").atom(), None);
    assert!(term(b"d\0\x02ok").is_atom("ok"));
    assert!(term(b"w\0").is_atom(""));
    assert!(!term(b"k\0\x02ok").is_atom("ok"));
}

#[test]
fn terms_are_split_off_one_by_one() {
    let mut input = b"a\x01h\x02a\x02a\x03\x83jrest".as_slice();
    assert_eq!(Term::take(&mut input).unwrap().integer(), Some(1));
    assert_eq!(Term::take(&mut input).unwrap().as_bytes(), b"h\x02a\x02a\x03");
    assert_eq!(Term::take_versioned(&mut input), Ok(Term::NIL));
    let before = input;
    assert_eq!(Term::take_versioned(&mut input), Err(EtfError::Version(b'r')));
    assert!(Term::take(&mut input).is_err());
    assert_eq!(input, before);
    assert_eq!(Term::exactly(b"jj"), Err(EtfError::Trailing(1)));
    assert_eq!(Term::take_versioned(&mut b"".as_slice()), Err(EtfError::Truncated));
}

#[test]
fn integers_of_every_encoding() {
    for value in [0, 1, 255, 256, -1, i64::from(i32::MAX), i64::from(i32::MIN), 1 << 31, i64::MAX, i64::MIN, -(1 << 40)]
    {
        let bytes = put(|out| put_integer(out, value));
        assert_eq!(term(&bytes).integer(), Some(value));
    }
    assert_eq!(put(|out| put_integer(out, -1)), b"b\xff\xff\xff\xff");
    assert_eq!(put(|out| put_integer(out, 1 << 31)), b"n\x04\0\0\0\0\x80");
    assert_eq!(put(|out| put_integer(out, i64::MIN)), b"n\x08\x01\0\0\0\0\0\0\0\x80");
    let largest = put(|out| put_unsigned(out, u64::MAX));
    assert_eq!(largest, b"n\x08\0\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(term(&largest).integer(), None);
    assert_eq!(term(b"n\x0b\0\x07\0\0\0\0\0\0\0\0\0\0").integer(), Some(7));
    assert_eq!(term(b"n\0\0").integer(), Some(0));
    assert_eq!(term(b"w\x01a").integer(), None);
    let endless = [&[110, 255, 1][..], &[255; 255]].concat();
    assert_eq!(term(&endless).integer(), None);
}

#[test]
fn an_alias_tag_is_a_cons_and_no_list() {
    let reference = b"Z\0\x05w\x03a@h\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05".as_slice();
    let bytes = [b"l\0\0\0\x01w\x05alias".as_slice(), reference].concat();
    let tag = term(&bytes);
    let (first, rest) = tag.cons().unwrap();
    assert!(first.is_atom("alias") && rest.is_reference());
    assert_eq!(rest.as_bytes(), reference);
    assert!(tag.list().is_none());
    assert_eq!(put(|out| put_term(out, &tag.to_eetf().unwrap())), bytes);
    assert_eq!(format!("{tag:?}"), "[alias|#Ref<1.2.3.4.5>]");
}

#[test]
fn views_give_only_what_a_term_is() {
    let list = term(b"l\0\0\0\x02a\x01a\x02j");
    assert_eq!(list.list().unwrap().map(|x| x.integer().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(list.list().unwrap().len(), 2);
    assert_eq!((list.cons(), list.tuple().is_some(), list.string()), (None, false, None));
    assert_eq!(list.first().and_then(Term::integer), Some(1));
    assert!(term(b"l\0\0\0\x01a\x01a\x6a").list().is_none());
    assert_eq!(Term::NIL.list().unwrap().len(), 0);
    assert_eq!((Term::NIL.string(), Term::NIL.first()), (Some([].as_slice()), None));
    assert_eq!(term(b"k\0\x02hi").string(), Some(b"hi".as_slice()));
    assert!(term(b"k\0\x02hi").list().is_none());
    let pair = term(b"h\x02a\x01m\0\0\0\x02hi");
    let [one, hi] = pair.tuple_of().unwrap();
    assert_eq!((one.integer(), hi.binary()), (Some(1), Some(b"hi".as_slice())));
    assert!(pair.tuple_of::<1>().is_none() && pair.tuple_of::<3>().is_none());
    assert!(term(b"i\0\0\0\x02a\x01a\x02").tuple_of::<2>().is_some());
    let map = term(b"t\0\0\0\x02w\x01aa\x01w\x01ba\x02");
    let pairs: Vec<_> = map.map().unwrap().map(|(k, v)| (k.atom().unwrap(), v.integer().unwrap())).collect();
    assert_eq!(pairs, [("a", 1), ("b", 2)]);
    assert_eq!(map.map().unwrap().len(), 2);
}

#[test]
fn pids_are_read_in_parts_and_written_from_64_bits() {
    let bytes = put(|out| put_pid(out, "e@h", 0x1_0000_0005, 9));
    assert_eq!(bytes, b"Xw\x03e@h\0\0\0\x05\0\0\0\x01\0\0\0\x09");
    let pid = term(&bytes).pid().unwrap();
    assert_eq!(pid, Pid { node: "e@h", id: 5, serial: 1, creation: 9 });
    assert_eq!((pid.number(), pid.to_string()), (0x1_0000_0005, "<e@h.5.1>".to_owned()));
    let old = term(b"gd\0\x03a@h\0\0\0\x01\0\0\0\x02\x03").pid().unwrap();
    assert_eq!(old, Pid { node: "a@h", id: 1, serial: 2, creation: 3 });
    assert_eq!(
        put(|out| put_reference(out, "e@h", 9, [1, 2, 3])),
        b"Z\0\x03w\x03e@h\0\0\0\x09\0\0\0\x01\0\0\0\x02\0\0\0\x03"
    );
}

#[test]
fn floats_and_records_pass_and_a_record_is_no_eetf_term() {
    assert_eq!(term(b"F\x3f\xf8\0\0\0\0\0\0").to_eetf(), Ok(eetf::Term::from(eetf::Float { value: 1.5 })));
    let record = others().remove(0);
    let around = [b"h\x01".as_slice(), &record].concat();
    assert_eq!(term(&around).to_eetf(), Err(EtfError::Tag(67)));
    assert_eq!(term(b"s\x01\xe5").to_eetf(), Err(EtfError::Atom));
    // Latin-1 that happens to be UTF-8 would be another atom.
    assert_eq!(term(b"s\x02\xc3\xa5").to_eetf(), Err(EtfError::Atom));
    assert!(matches!(term(b"F\x7f\xf0\0\0\0\0\0\0").to_eetf(), Err(EtfError::Eetf(_))));
}

#[test]
fn iodata_is_flattened() {
    let flat = |bytes: &[u8], limit| {
        let mut out = b">".to_vec();
        term(bytes).iodata(limit, &mut out).map(|()| out)
    };
    assert_eq!(flat(b"m\0\0\0\x02hi", 2).unwrap(), b">hi");
    assert_eq!(flat(b"m\0\0\0\x02hi", 1), Err(IodataError::Long));
    assert_eq!(flat(b"j", 0).unwrap(), b">");
    assert_eq!(flat(b"k\0\x02hi", 9).unwrap(), b">hi");
    // ["a", [66, <<"c">>, []] | <<"d">>]
    let mixed = b"l\0\0\0\x02k\0\x01al\0\0\0\x03aBm\0\0\0\x01cjjm\0\0\0\x01d";
    assert_eq!(flat(mixed, 4).unwrap(), b">aBcd");
    assert_eq!(flat(mixed, 3), Err(IodataError::Long));
    // [1 | [2 | "x"]]
    assert_eq!(flat(b"l\0\0\0\x01a\x01l\0\0\0\x01a\x02k\0\x01x", 9).unwrap(), b">\x01\x02x");
    for no in [
        b"a\x01".as_slice(),
        b"w\x01a",
        b"l\0\0\0\x01w\x01aj",
        b"l\0\0\0\x01a\x01a\x02",
        b"l\0\0\0\x01b\0\0\x01\0j",
        b"h\0",
    ] {
        assert_eq!(flat(no, 99), Err(IodataError::NotIodata), "{no:?}");
    }
    // What was appended before the error is taken back.
    let mut out = b">".to_vec();
    assert!(term(b"l\0\0\0\x02aBw\x01aj").iodata(9, &mut out).is_err());
    assert_eq!(out, b">");
    // As deep as the validator allows.
    let deep = [b"l\0\0\0\x01".repeat(MAX_DEPTH), b"k\0\x01x".to_vec(), b"j".repeat(MAX_DEPTH)].concat();
    assert_eq!(flat(&deep, 1).unwrap(), b">x");
}

#[test]
fn debug_is_erlangs_notation_cut_and_escaped() {
    let shown = |bytes: &[u8]| format!("{:?}", term(bytes));
    assert_eq!(shown(b"h\x04w\x02okw\x02A\nm\0\0\0\x02a\x1bk\0\x01x"), "{ok,'A\\n',<<\"a\\x1b\">>,\"x\"}");
    assert_eq!(shown(b"t\0\0\0\x01a\x01l\0\0\0\x01jj"), "#{1 => [[]]}");
    assert_eq!(shown(b"F\x3f\xf8\0\0\0\0\0\0"), "#tag70<8 bytes>");
    let long = shown(&put(|out| put_binary(out, &[b'a'; 5000])));
    assert!(long.len() <= 303 && long.ends_with("..."), "{}", long.len());
    let deep = ["{".repeat(MAX_DEPTH + 1), "}".repeat(MAX_DEPTH + 1)].concat();
    assert_eq!(shown(&nested(MAX_DEPTH)), deep);
}

#[test]
fn terms_written_by_beam_come_back_from_eetf_byte_for_byte() {
    for bytes in terms() {
        let built = term(&bytes).to_eetf().unwrap();
        let again = put(|out| put_term(out, &built));
        // eetf keeps maps unordered: of the one term with a map of two pairs, only the content is the same.
        if term(&bytes).tuple().unwrap().next().unwrap().is_atom("maps") {
            assert_eq!((term(&again).to_eetf(), again.len()), (Ok(built), bytes.len()));
        } else {
            assert_eq!(again, bytes, "{:?}", term(&bytes));
        }
    }
}

#[test]
fn put_term_is_right_where_eetf_errs() {
    let int = |value: i32| eetf::Term::from(eetf::FixInteger { value });
    let negative = eetf::Term::from(eetf::List::from(vec![int(-1), int(5)]));
    assert_eq!(put(|out| put_term(out, &negative)), b"l\0\0\0\x02b\xff\xff\xff\xffa\x05j");
    let long = eetf::Term::from(eetf::ByteList { bytes: vec![7; 70_000] });
    let bytes = put(|out| put_term(out, &long));
    assert_eq!(term(&bytes).list().unwrap().len(), 70_000);
    let improper = eetf::Term::from(eetf::ImproperList::from((vec![int(1)], int(2))));
    assert_eq!(put(|out| put_term(out, &improper)), b"l\0\0\0\x01a\x01a\x02");
    assert_eq!(put(|out| put_term(out, &eetf::Term::from(eetf::List::nil()))), b"j");
    assert_eq!(put(|out| put_term(out, &eetf::Term::from(String::new()))), b"j");
    let infinite = eetf::Term::from(eetf::Float { value: f64::INFINITY });
    assert!(term(&put(|out| put_term(out, &infinite))).is_atom("undefined"));
    let impossible = eetf::Term::from(eetf::BitBinary::from((vec![1, 2], 9)));
    assert!(Term::exactly(&put(|out| put_term(out, &impossible))).is_ok());
    let tuple = eetf::Term::from(eetf::Tuple::from(vec![int(1); 300]));
    let bytes = put(|out| put_term(out, &tuple));
    assert_eq!((bytes[0], term(&bytes).tuple().unwrap().len()), (105, 300));
}

#[test]
fn what_the_validator_takes_never_stops_eetf_or_the_views() {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    let seeds: Vec<_> = terms().into_iter().chain(others()).collect();
    assert!(seeds.iter().all(|bytes| Term::exactly(bytes).is_ok()));
    let mut random = Xorshift(SEED);
    let mut taken = 0u32;
    for _ in 0..60_000 {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        random.mutate(&mut bytes);
        let mut rest = bytes.as_slice();
        let Ok(term) = Term::take(&mut rest) else { continue };
        taken += 1;
        assert_eq!(Term::exactly(term.as_bytes()), Ok(term));
        assert_eq!(term.as_bytes().len() + rest.len(), bytes.len());
        assert!(format!("{term:?}").len() <= 303);
        let mut out = Vec::new();
        if term.iodata(100, &mut out).is_err() {
            assert!(out.is_empty());
        }
        assert!(out.len() <= 100);
        if let Ok(built) = term.to_eetf() {
            let again = put(|out| put_term(out, &built));
            assert!(Term::exactly(&again).is_ok(), "{term:?}");
        }
    }
    assert!(taken > 5_000, "only {taken} mutations pass");
}
