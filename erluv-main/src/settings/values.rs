//! The types of the values. What the `config` crate would bend (`"yes"` to true, 1.9 to 2, 12 to "12") is an error
//! here: every value is first taken as what it is ([`Found`]) and then has to be of its kind and in its range (S-58).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A value as it stands in its layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    Nothing,
    Flag(bool),
    Whole(i64),
    Float(f64),
    Text(String),
    List(Vec<Found>),
    Table(Vec<(String, Found)>),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Whole(number) => write!(f, "the number {number}"),
            Self::Float(number) => write!(f, "the number {number}"),
            Self::Text(text) => write!(f, "the string {text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
        }
    }
}

struct AsItIs;

impl<'de> Visitor<'de> for AsItIs {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Found, E> {
        Ok(Found::Flag(flag))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Found, E> {
        Ok(Found::Whole(number))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Found, E> {
        Ok(Found::Float(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(Found::Text(text.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Nothing)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Found::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Found, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = table.next_entry()? {
            entries.push(entry);
        }
        Ok(Found::Table(entries))
    }
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsItIs)
    }
}

/// Defines the type of a value by the function that makes it of a [`Found`].
macro_rules! value {
    ($(#[$about:meta])* $name:ident($inner:ty), $make:expr) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "Found")]
        pub(in crate::settings) struct $name(pub(in crate::settings) $inner);

        impl TryFrom<Found> for $name {
            type Error = String;
            fn try_from(found: Found) -> Result<Self, String> {
                let make: fn(Found) -> Result<$inner, String> = $make;
                make(found).map(Self)
            }
        }
    };
}

value! { /// true or false.
Flag(bool), flag }
value! { /// A string of at least one character, none of them a control character.
Text(String), text }
value! { /// A string, or a list of strings.
Texts(Vec<String>), texts }
value! { /// An absolute path.
Folder(PathBuf), path }
value! { /// A time of 10 milliseconds to 7 days.
Time(Duration), |found| time(found, Duration::from_millis(10)) }
value! { /// A time of 0 to 7 days.
Grace(Duration), |found| time(found, Duration::ZERO) }
value! { /// A port of TCP.
Port(u16), |found| whole(found, 1, 65535) }
value! { /// Bytes of a frame of the distribution protocol, 4 KiB to 128 MiB.
FrameSize(u32), |found| whole(found, 4096, 134_217_728) }
value! { /// Bytes of queued input, 4 KiB to 1 GiB.
QueueSize(u32), |found| whole(found, 4096, 1_073_741_824) }
value! { /// How many workers.
WorkerCount(u32), |found| whole(found, 1, 1_000_000) }
value! { /// Starts in a second.
StartRate(u32), |found| whole(found, 1, 100_000) }
value! { /// Bytes of arguments and environment.
ArgBytes(usize), |found| whole(found, 256, 131_072) }
value! { /// A user id that is not root's.
UserId(u32), |found| whole(found, 1, 4_294_967_294) }
value! { /// A priority that is main's own or above it.
Nice(i8), |found| whole(found, -20, 0) }
value! { /// The bits that a new file does not get.
Umask(u32), umask }
value! { /// A limit, soft and hard; `None` for unlimited.
Limit(LimitPair), limit }

pub(super) mod sandbox;

/// Soft and hard, `None` for unlimited.
pub(super) type LimitPair = (Option<u64>, Option<u64>);

/// Whether workers get control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Found")]
pub(crate) enum CgroupUse {
    /// Wherever main may make them.
    Auto,
    /// Yes; not to be able to is an error.
    Required,
    /// No.
    Never,
}

impl TryFrom<Found> for CgroupUse {
    type Error = String;
    fn try_from(found: Found) -> Result<Self, String> {
        match found {
            Found::Flag(true) => Ok(Self::Required),
            Found::Flag(false) => Ok(Self::Never),
            Found::Text(text) if text == "auto" => Ok(Self::Auto),
            other => Err(expected("true, false or \"auto\"", &other)),
        }
    }
}

/// What happens where this system cannot do all of a confinement (S-74).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Found")]
pub(crate) enum SandboxNeed {
    /// Nothing is run.
    Required,
    /// What lacks is said in the log.
    BestEffort,
}

impl TryFrom<Found> for SandboxNeed {
    type Error = String;
    fn try_from(found: Found) -> Result<Self, String> {
        match found {
            Found::Text(text) if text == "required" => Ok(Self::Required),
            Found::Text(text) if text == "best_effort" => Ok(Self::BestEffort),
            other => Err(expected("\"required\" or \"best_effort\"", &other)),
        }
    }
}

fn expected(what: &str, found: &Found) -> String {
    format!("write {what}, not {found}")
}

fn flag(found: Found) -> Result<bool, String> {
    match found {
        Found::Flag(flag) => Ok(flag),
        other => Err(expected("true or false", &other)),
    }
}

fn text(found: Found) -> Result<String, String> {
    match found {
        Found::Text(text) if text.is_empty() => Err("empty, leave the key away instead".to_owned()),
        Found::Text(text) if text.chars().any(char::is_control) => Err("has a control character in it".to_owned()),
        Found::Text(text) => Ok(text),
        other => Err(expected("a string in quotes", &other)),
    }
}

fn texts(found: Found) -> Result<Vec<String>, String> {
    match found {
        Found::List(items) => items.into_iter().map(text).collect(),
        Found::Text(_) => text(found).map(|text| vec![text]),
        other => Err(expected("a string or a list of strings", &other)),
    }
}

fn path(found: Found) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(found)?);
    if path.is_absolute() { Ok(path) } else { Err(format!("write an absolute path, not {path:?}")) }
}

fn whole<T: TryFrom<i64>>(found: Found, least: i64, most: i64) -> Result<T, String> {
    let range = || format!("a whole number from {least} to {most}");
    match found {
        Found::Whole(number) if (least..=most).contains(&number) => {
            T::try_from(number).map_err(|_| expected(&range(), &Found::Whole(number)))
        }
        other => Err(expected(&range(), &other)),
    }
}

fn time(found: Found, least: Duration) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    let time = match &found {
        Found::Text(text) => humantime::parse_duration(text).map_err(|_| expected("a time such as \"30s\"", &found))?,
        Found::Whole(number) => return Err(format!("a time has a unit, write \"{number}s\" or \"{number}ms\"")),
        other => return Err(expected("a time such as \"30s\"", other)),
    };
    if (least..=MOST).contains(&time) {
        Ok(time)
    } else {
        Err(format!("write a time from {} to 7days, not {found}", humantime::format_duration(least)))
    }
}

fn umask(found: Found) -> Result<u32, String> {
    let octal = match &found {
        Found::Text(text) if text.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) => text.as_str(),
        other => return Err(expected("octal digits in quotes, such as \"077\"", other)),
    };
    match u32::from_str_radix(octal, 8) {
        Ok(bits) if bits <= 0o777 => Ok(bits),
        _ => Err(expected("three octal digits at most, such as \"077\"", &found)),
    }
}

fn limit(found: Found) -> Result<LimitPair, String> {
    let Found::Table(entries) = found else {
        return one_limit(found).map(|both| (both, both));
    };
    let (mut soft, mut hard) = (None, None);
    for (key, value) in entries {
        match key.as_str() {
            "soft" => soft = Some(one_limit(value)?),
            "hard" => hard = Some(one_limit(value)?),
            other => return Err(format!("write {{ soft = ..., hard = ... }}, there is no {other:?}")),
        }
    }
    let (Some(soft), Some(hard)) = (soft, hard) else {
        return Err("write both, { soft = ..., hard = ... }".to_owned());
    };
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err("the soft limit is above the hard one".to_owned());
    }
    Ok((soft, hard))
}

fn one_limit(found: Found) -> Result<Option<u64>, String> {
    match found {
        Found::Text(text) if text == "unlimited" => Ok(None),
        Found::Whole(number) if number >= 0 => whole(Found::Whole(number), 0, i64::MAX).map(Some),
        other => Err(expected("a whole number of 0 or more, \"unlimited\" or { soft = ..., hard = ... }", &other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Found {
        Found::Text(text.to_owned())
    }

    #[test]
    fn s58_nothing_is_bent_into_another_kind() {
        for bent in [string("true"), string("yes"), Found::Whole(1), Found::Nothing] {
            assert!(Flag::try_from(bent.clone()).is_err(), "{bent}");
        }
        for bent in [string("4369"), Found::Float(1.9), Found::Flag(true), Found::Float(f64::NAN)] {
            assert!(Port::try_from(bent.clone()).is_err(), "{bent}");
        }
        for bent in [Found::Whole(12), Found::Flag(true), Found::List(vec![]), string(""), string("a\nb")] {
            assert!(Text::try_from(bent.clone()).is_err(), "{bent}");
        }
    }

    #[test]
    fn s58_numbers_have_a_range() {
        for bad in [0, -1, 65536, i64::MIN, i64::MAX] {
            assert!(Port::try_from(Found::Whole(bad)).is_err(), "{bad}");
        }
        assert_eq!(Port::try_from(Found::Whole(65535)), Ok(Port(65535)));
        assert_eq!(UserId::try_from(Found::Whole(4_294_967_294)), Ok(UserId(4_294_967_294)));
        assert!(UserId::try_from(Found::Whole(4_294_967_295)).is_err());
    }

    #[test]
    fn s58_times_have_a_unit_and_a_range() {
        for (good, millis) in [("30s", 30_000), ("500ms", 500), ("10ms", 10), ("7days", 604_800_000), ("1m 5s", 65_000)]
        {
            assert_eq!(Time::try_from(string(good)), Ok(Time(Duration::from_millis(millis))));
        }
        for bad in ["", "30", "-1s", "inf", "NaN", "9ms", "0s", "8days", "1e3s", "99999999999999999999s"] {
            assert!(Time::try_from(string(bad)).is_err(), "{bad}");
        }
        assert_eq!(Grace::try_from(string("0s")), Ok(Grace(Duration::ZERO)));
        let error = Time::try_from(Found::Whole(30)).unwrap_err();
        assert_eq!(error, "a time has a unit, write \"30s\" or \"30ms\"");
    }

    #[test]
    fn a_umask_is_octal_digits_in_quotes() {
        assert_eq!(Umask::try_from(string("027")), Ok(Umask(0o027)));
        for bad in [Found::Whole(77), string("+77"), string("78"), string("1777"), string(""), string("0o77")] {
            assert!(Umask::try_from(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_limit_is_a_number_a_word_or_a_pair() {
        let pair = |soft, hard| Found::Table(vec![("soft".to_owned(), soft), ("hard".to_owned(), hard)]);
        assert_eq!(Limit::try_from(Found::Whole(5)), Ok(Limit((Some(5), Some(5)))));
        assert_eq!(Limit::try_from(string("unlimited")), Ok(Limit((None, None))));
        assert_eq!(Limit::try_from(pair(Found::Whole(1), string("unlimited"))), Ok(Limit((Some(1), None))));
        for bad in [
            pair(string("unlimited"), Found::Whole(1)),
            pair(Found::Whole(2), Found::Whole(1)),
            Found::Table(vec![("soft".to_owned(), Found::Whole(1))]),
            Found::Table(vec![("softer".to_owned(), Found::Whole(1))]),
            Found::Whole(-1),
            Found::Float(1.5),
            string("many"),
        ] {
            assert!(Limit::try_from(bad.clone()).is_err(), "{bad}");
        }
    }
}
