use super::super::Found;
use super::*;

fn string(text: &str) -> Found {
    Found::Text(text.to_owned())
}

fn strings(texts: &[&str]) -> Found {
    Found::List(texts.iter().map(|text| string(text)).collect())
}

/// No value of this type is made of any of these.
fn none<T: TryFrom<Found, Error = String> + std::fmt::Debug>(bad: &[Found]) {
    for found in bad {
        let error = T::try_from(found.clone()).unwrap_err();
        assert!(!error.is_empty() && !error.contains('\n'), "{found} {error}");
    }
}

#[test]
fn a_size_is_a_number_or_one_with_a_unit() {
    for (text, bytes) in [("0", 0), ("1K", 1024), ("64M", 64 << 20), ("2G", 2 << 30), ("3T", 3 << 40), ("017", 17)] {
        assert_eq!(Bytes::try_from(string(text)), Ok(Bytes(Some(bytes))), "{text}");
    }
    assert_eq!(Bytes::try_from(Found::Whole(5)), Ok(Bytes(Some(5))));
    assert_eq!(Bytes::try_from(string("unlimited")), Ok(Bytes(None)));
    let bad = ["", "M", "-1", "+1", "1.5G", "1 G", "1k", "1GB", "9999999T", "99999999999999999999", "16777216T", "x"];
    none::<Bytes>(&bad.map(string));
    none::<Bytes>(&[Found::Whole(-1), Found::Float(1.0), Found::Flag(true), Found::Nothing]);
    assert_eq!(TmpSize::try_from(Found::Flag(false)), Ok(TmpSize(None)));
    none::<TmpSize>(&[Found::Flag(true), Found::Whole(4095), string("unlimited")]);
    assert_eq!(OutputSize::try_from(string("1G")), Ok(OutputSize(Some(1 << 30))));
    none::<OutputSize>(&[Found::Whole(0), string("0")]);
}

#[test]
fn processors_are_counted_whole_or_in_percent() {
    let of = |found: Found| CpuMax::try_from(found).unwrap().0;
    assert_eq!((of(Found::Whole(2)), of(string("50%")), of(string("1%"))), (Some(200_000), Some(50_000), Some(1000)));
    assert_eq!(
        (of(string("unlimited")), of(string("150%")), of(Found::Whole(4096))),
        (None, Some(150_000), Some(409_600_000))
    );
    none::<CpuMax>(&["", "%", "0%", "50", "-1%", "1.5%", "409601%", "50 %"].map(string));
    none::<CpuMax>(&[Found::Whole(0), Found::Whole(-1), Found::Whole(4097), Found::Float(0.5)]);
}

#[test]
fn s58_counts_weights_and_priorities_have_a_range() {
    assert_eq!(Pids::try_from(Found::Whole(1)), Ok(Pids(Some(1))));
    none::<Pids>(&[Found::Whole(0), Found::Whole(4_194_305), string("1")]);
    assert_eq!(Weight::try_from(Found::Whole(10_000)), Ok(Weight(10_000)));
    none::<Weight>(&[Found::Whole(0), Found::Whole(10_001)]);
    assert_eq!(Priority::try_from(Found::Whole(-20)), Ok(Priority(-20)));
    none::<Priority>(&[Found::Whole(-21), Found::Whole(20)]);
    assert_eq!(OomScore::try_from(Found::Whole(-1000)), Ok(OomScore(-1000)));
    none::<OomScore>(&[Found::Whole(-1001), Found::Whole(1001)]);
    assert_eq!(WallTime::try_from(string("1h")), Ok(WallTime(Some(Duration::from_secs(3600)))));
    assert_eq!(WallTime::try_from(string("unlimited")), Ok(WallTime(None)));
    none::<WallTime>(&[string("0s"), string("8days"), Found::Whole(5)]);
    assert_eq!(IoLevel::try_from(string("idle")), Ok(IoLevel(IoPriority::Idle)));
    assert_eq!(IoLevel::try_from(Found::Whole(7)), Ok(IoLevel(IoPriority::BestEffort(7))));
    none::<IoLevel>(&[Found::Whole(8), Found::Whole(-1), string("7"), string("realtime")]);
}

#[test]
fn words_are_those_of_the_manual() {
    assert_eq!(Scheduling::try_from(string("batch")), Ok(Scheduling(Scheduler::Batch)));
    none::<Scheduling>(&[string("fifo"), string(""), Found::Whole(0)]);
    assert_eq!(Calls::try_from(string("strict")), Ok(Calls(CallList::Strict)));
    none::<Calls>(&[string("Strict"), string("all"), Found::Flag(true)]);
    assert_eq!(KillsCaller::try_from(string("kill")), Ok(KillsCaller(true)));
    none::<KillsCaller>(&[string("eperm"), Found::Flag(true)]);
    assert_eq!(HostName::try_from(string("box-1.x")), Ok(HostName(Some(c"box-1.x".to_owned()))));
    assert_eq!(HostName::try_from(Found::Flag(false)), Ok(HostName(None)));
    none::<HostName>(&[string(""), string("a b"), string(&"x".repeat(65)), Found::Flag(true)]);
}

#[test]
fn a_path_goes_nowhere_else() {
    let good = strings(&["/", "/a", "/a.b/..c"]);
    assert_eq!(Paths::try_from(good), Ok(Paths(vec![c"/".to_owned(), c"/a".to_owned(), c"/a.b/..c".to_owned()])));
    assert_eq!(Paths::try_from(string("/a")), Ok(Paths(vec![c"/a".to_owned()])));
    for bad in ["", "a", "./a", "/a/", "//", "/a//b", "/a/./b", "/..", "/a/..", "/a\0b", "/a\nb"] {
        none::<Paths>(&[string(bad), strings(&["/x", bad])]);
        none::<Root>(&[string(bad)]);
        none::<Binds>(&[string(bad), string(&format!("/x:{bad}")), string(&format!("{bad}:/x"))]);
    }
    assert_eq!(Root::try_from(string("/")), Ok(Root(None)));
    let bind = |source: &std::ffi::CStr, target: &std::ffi::CStr| Bind {
        source: source.to_owned(),
        target: target.to_owned(),
        writable: false,
    };
    assert_eq!(Binds::try_from(strings(&["/a", "/a:/b"])), Ok(Binds(vec![bind(c"/a", c"/a"), bind(c"/a", c"/b")])));
    assert_eq!(Binds::try_from(string("/:/host")), Ok(Binds(vec![bind(c"/", c"/host")])));
    none::<Binds>(&[string("/"), string("/a:/"), string("/a:/b:/c"), Found::Whole(1)]);
}

#[test]
fn ports_are_numbers_or_any() {
    assert_eq!(Ports::try_from(Found::List(vec![])), Ok(Ports(Some(vec![]))));
    assert_eq!(Ports::try_from(Found::Whole(443)), Ok(Ports(Some(vec![443]))));
    assert_eq!(Ports::try_from(string("any")), Ok(Ports(None)));
    none::<Ports>(&[Found::Whole(0), Found::Whole(65536), string("http"), strings(&["80"])]);
}

#[test]
fn a_line_of_io_max_has_a_device_and_limits() {
    let of = |text: &str| IoLimits::try_from(string(text)).map(|limits| limits.0);
    let line = IoMax { device: (8, 16), read_bytes: Some(10 << 20), write_bytes: None, reads: None, writes: Some(100) };
    assert_eq!(of("8:16 rbps=10M wiops=100"), Ok(vec![line]));
    for bad in [
        "",
        "8:16",
        "8 rbps=1",
        "8:16 rbps",
        "8:16 rbps=0",
        "8:16 rbps=1 rbps=2",
        "sda rbps=1",
        "8:+1 rbps=1",
        "8:1 x=1",
    ] {
        none::<IoLimits>(&[string(bad), strings(&[bad])]);
    }
    assert_eq!(IoLimits::try_from(Found::List(vec![])), Ok(IoLimits(vec![])));
}

#[cfg(target_os = "linux")]
#[test]
fn capabilities_go_by_their_names() {
    let of = |names: &[&str]| Capabilities::try_from(strings(names)).map(|bits| bits.0);
    assert_eq!(of(&[]), Ok(0));
    assert_eq!(of(&["CAP_CHOWN", "net_bind_service"]), Ok(1 | 1 << 10));
    assert_eq!(of(&["CHECKPOINT_RESTORE", "checkpoint_restore"]), Ok(1 << 40));
    for bad in ["", "ALL", "CAP_", "CAP_CAP_CHOWN", "0", "CHOWN "] {
        none::<Capabilities>(&[string(bad)]);
    }
}

#[test]
fn a_variable_is_known_absent_or_a_text() {
    let of = |found: Found| EnvValue::try_from(found).map(|value| value.0);
    assert_eq!(of(Found::Flag(true)), Ok(Variable::Known));
    assert_eq!(of(Found::Flag(false)), Ok(Variable::Absent));
    assert_eq!(of(string("")), Ok(Variable::Text(String::new())));
    none::<EnvValue>(&[string("a\0"), Found::Whole(1), strings(&["a"])]);
}
