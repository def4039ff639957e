//! The settings of a terminal by the names that erlexec has for them: which there are, which values they take, and
//! where they stand in a `termios`. Pure data: the calls that read and set a terminal are those of the programs.
//!
//! Modes take 0 or 1, characters 0 to 255, speeds one of those in bits per second that termios(3) has. A name that this
//! system has nothing for (`vflush` on Linux, `iuclc` on the others) is taken and changes nothing, so that one list of
//! settings serves everywhere.

#[cfg(unix)]
use libc::tcflag_t;

/// Speeds in bits per second that every system has. A line at 0 is hung up, so 0 is none.
const SPEEDS: [u32; 18] =
    [50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400];

/// What a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Character,
    Mode,
    Speed,
}

const CHARACTERS: [&str; 18] = [
    "vintr", "vquit", "verase", "vkill", "veof", "veol", "veol2", "vstart", "vstop", "vsusp", "vdsusp", "vreprint",
    "vwerase", "vlnext", "vflush", "vswtch", "vstatus", "vdiscard",
];

const MODES: [&str; 36] = [
    "ignpar", "parmrk", "inpck", "istrip", "inlcr", "igncr", "icrnl", "xcase", "iuclc", "ixon", "ixany", "ixoff",
    "imaxbel", "iutf8", "isig", "icanon", "echo", "echoe", "echok", "echonl", "noflsh", "tostop", "iexten", "echoctl",
    "echoke", "pendin", "opost", "olcuc", "onlcr", "ocrnl", "onocr", "onlret", "cs7", "cs8", "parenb", "parodd",
];

fn kind(name: &str) -> Option<Kind> {
    match name {
        "tty_op_ispeed" | "tty_op_ospeed" => Some(Kind::Speed),
        _ if CHARACTERS.contains(&name) => Some(Kind::Character),
        _ if MODES.contains(&name) => Some(Kind::Mode),
        _ => None,
    }
}

/// Whether there is a setting of that name, in small letters, and it takes that value.
pub fn check(name: &str, value: u32) -> bool {
    match kind(name) {
        Some(Kind::Character) => value <= 255,
        Some(Kind::Mode) => value <= 1,
        Some(Kind::Speed) => SPEEDS.contains(&value),
        None => false,
    }
}

/// Puts one setting into what tcsetattr(3) takes. False, and nothing changed, where [`check`] says no.
///
/// `cs7` and `cs8` are two names of one choice. Linux has one speed for both directions: the later of the two counts.
#[cfg(unix)]
pub fn apply(termios: &mut libc::termios, name: &str, value: u32) -> bool {
    if !check(name, value) {
        return false;
    }
    match kind(name) {
        Some(Kind::Character) => put_character(termios, name, value),
        Some(Kind::Mode) => put_mode(termios, name, value != 0),
        Some(Kind::Speed) => put_speed(termios, name, value),
        None => {}
    }
    true
}

#[cfg(unix)]
fn put_character(termios: &mut libc::termios, name: &str, value: u32) {
    let place = place(name).and_then(|place| termios.c_cc.get_mut(place));
    if let (Some(place), Ok(value)) = (place, libc::cc_t::try_from(value)) {
        *place = value;
    }
}

/// Where a control character stands in `c_cc`; `None` where this system has none of that name.
#[cfg(unix)]
fn place(name: &str) -> Option<usize> {
    match name {
        "vintr" => Some(libc::VINTR),
        "vquit" => Some(libc::VQUIT),
        "verase" => Some(libc::VERASE),
        "vkill" => Some(libc::VKILL),
        "veof" => Some(libc::VEOF),
        "veol" => Some(libc::VEOL),
        "veol2" => Some(libc::VEOL2),
        "vstart" => Some(libc::VSTART),
        "vstop" => Some(libc::VSTOP),
        "vsusp" => Some(libc::VSUSP),
        "vreprint" => Some(libc::VREPRINT),
        "vwerase" => Some(libc::VWERASE),
        "vlnext" => Some(libc::VLNEXT),
        "vdiscard" => Some(libc::VDISCARD),
        #[cfg(target_os = "linux")]
        "vswtch" => Some(libc::VSWTC),
        #[cfg(not(target_os = "linux"))]
        "vdsusp" => Some(libc::VDSUSP),
        #[cfg(not(target_os = "linux"))]
        "vstatus" => Some(libc::VSTATUS),
        _ => None,
    }
}

#[cfg(unix)]
fn put_mode(termios: &mut libc::termios, name: &str, on: bool) {
    match name {
        "cs7" | "cs8" => {
            let size = if (name == "cs8") == on { libc::CS8 } else { libc::CS7 };
            put(&mut termios.c_cflag, libc::CSIZE, false);
            put(&mut termios.c_cflag, size, true);
        }
        "parenb" => put(&mut termios.c_cflag, libc::PARENB, on),
        "parodd" => put(&mut termios.c_cflag, libc::PARODD, on),
        _ => {
            put(&mut termios.c_iflag, input(name), on);
            put(&mut termios.c_oflag, output(name), on);
            put(&mut termios.c_lflag, local(name), on);
        }
    }
}

#[cfg(unix)]
fn put(word: &mut tcflag_t, bits: tcflag_t, on: bool) {
    if on { *word |= bits } else { *word &= !bits }
}

/// The bits of a mode in `c_iflag`; none where it is not one of these.
#[cfg(unix)]
fn input(name: &str) -> tcflag_t {
    match name {
        "ignpar" => libc::IGNPAR,
        "parmrk" => libc::PARMRK,
        "inpck" => libc::INPCK,
        "istrip" => libc::ISTRIP,
        "inlcr" => libc::INLCR,
        "igncr" => libc::IGNCR,
        "icrnl" => libc::ICRNL,
        "ixon" => libc::IXON,
        "ixany" => libc::IXANY,
        "ixoff" => libc::IXOFF,
        "imaxbel" => libc::IMAXBEL,
        #[cfg(target_os = "linux")]
        "iuclc" => libc::IUCLC,
        #[cfg(target_os = "linux")]
        "iutf8" => libc::IUTF8,
        _ => 0,
    }
}

/// The bits of a mode in `c_oflag`; none where it is not one of these.
#[cfg(unix)]
fn output(name: &str) -> tcflag_t {
    match name {
        "opost" => libc::OPOST,
        "onlcr" => libc::ONLCR,
        "ocrnl" => libc::OCRNL,
        "onocr" => libc::ONOCR,
        "onlret" => libc::ONLRET,
        #[cfg(any(target_os = "linux", target_os = "openbsd"))]
        "olcuc" => libc::OLCUC,
        _ => 0,
    }
}

/// The bits of a mode in `c_lflag`; none where it is not one of these.
#[cfg(unix)]
fn local(name: &str) -> tcflag_t {
    match name {
        "isig" => libc::ISIG,
        "icanon" => libc::ICANON,
        "echo" => libc::ECHO,
        "echoe" => libc::ECHOE,
        "echok" => libc::ECHOK,
        "echonl" => libc::ECHONL,
        "noflsh" => libc::NOFLSH,
        "tostop" => libc::TOSTOP,
        "iexten" => libc::IEXTEN,
        "echoctl" => libc::ECHOCTL,
        "echoke" => libc::ECHOKE,
        "pendin" => libc::PENDIN,
        #[cfg(target_os = "linux")]
        "xcase" => libc::XCASE,
        _ => 0,
    }
}

/// Linux: a code in `c_cflag`; the two numbers beside it are what glibc looks at.
#[cfg(target_os = "linux")]
fn put_speed(termios: &mut libc::termios, name: &str, value: u32) {
    let Some(code) = code(value) else { return };
    put(&mut termios.c_cflag, libc::CBAUD, false);
    put(&mut termios.c_cflag, code, true);
    #[cfg(target_env = "gnu")]
    match name {
        "tty_op_ispeed" => termios.c_ispeed = code,
        _ => termios.c_ospeed = code,
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = name;
}

/// The other systems: the number itself, of one type here and of another there. All of [`SPEEDS`] fit in each.
#[cfg(all(unix, not(target_os = "linux")))]
fn put_speed(termios: &mut libc::termios, name: &str, value: u32) {
    let place = if name == "tty_op_ispeed" { &mut termios.c_ispeed } else { &mut termios.c_ospeed };
    #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions, reason = "signed but on FreeBSD")]
    let speed = value.try_into().unwrap_or(*place);
    *place = speed;
}

/// The code of a speed of [`SPEEDS`].
#[cfg(target_os = "linux")]
fn code(speed: u32) -> Option<tcflag_t> {
    Some(match speed {
        50 => libc::B50,
        75 => libc::B75,
        110 => libc::B110,
        134 => libc::B134,
        150 => libc::B150,
        200 => libc::B200,
        300 => libc::B300,
        600 => libc::B600,
        1200 => libc::B1200,
        1800 => libc::B1800,
        2400 => libc::B2400,
        4800 => libc::B4800,
        9600 => libc::B9600,
        19_200 => libc::B19200,
        38_400 => libc::B38400,
        57_600 => libc::B57600,
        115_200 => libc::B115200,
        230_400 => libc::B230400,
        _ => return None,
    })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Nothing set, made without a system call.
    fn blank() -> libc::termios {
        libc::termios {
            c_iflag: 0,
            c_oflag: 0,
            c_cflag: 0,
            c_lflag: 0,
            c_line: 0,
            c_cc: [0; libc::NCCS],
            c_ispeed: 0,
            c_ospeed: 0,
        }
    }

    #[test]
    fn each_name_takes_the_values_of_its_kind_and_no_others() {
        let takes = |name: &str, values: &[u32]| values.iter().map(|value| check(name, *value)).collect::<Vec<_>>();
        for name in CHARACTERS {
            assert_eq!(takes(name, &[0, 3, 255, 256, u32::MAX]), [true, true, true, false, false], "{name}");
        }
        for name in MODES {
            assert_eq!(takes(name, &[0, 1, 2, u32::MAX]), [true, true, false, false], "{name}");
        }
        for name in ["tty_op_ispeed", "tty_op_ospeed"] {
            assert_eq!(takes(name, &[0, 9600, 9601, 115_200]), [false, true, false, true]);
        }
        for name in ["", "VINTR", "vintr ", "echo\0", "baud"] {
            assert_eq!(takes(name, &[0, 1, 9600]), [false; 3], "{name}");
        }
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut termios = blank();
        for (name, value) in [("echo", 2), ("vintr", 256), ("tty_op_ispeed", 1), ("none", 1)] {
            assert!(!apply(&mut termios, name, value), "{name}");
        }
        assert_eq!(format!("{termios:?}"), format!("{:?}", blank()));
    }

    #[test]
    fn every_mode_can_be_set_and_taken_back_alone() {
        let words = |termios: &libc::termios| [termios.c_iflag, termios.c_oflag, termios.c_cflag, termios.c_lflag];
        let mut seen = Vec::new();
        for name in MODES.into_iter().filter(|name| !name.starts_with("cs")) {
            let mut termios = blank();
            assert!(apply(&mut termios, name, 1));
            let set = words(&termios);
            assert!(set != [0; 4] && !seen.contains(&set), "{name}: {set:?}");
            seen.push(set);
            assert!(apply(&mut termios, name, 0));
            assert_eq!(words(&termios), [0; 4], "{name}");
        }
    }

    #[test]
    fn characters_go_to_their_places() {
        let mut termios = blank();
        assert!(apply(&mut termios, "vintr", 3) && apply(&mut termios, "veof", 4) && apply(&mut termios, "vswtch", 5));
        assert_eq!((termios.c_cc[libc::VINTR], termios.c_cc[libc::VEOF], termios.c_cc[libc::VSWTC]), (3, 4, 5));
        let before = termios.c_cc;
        for lacking in ["vflush", "vstatus", "vdsusp"] {
            assert!(apply(&mut termios, lacking, 9));
        }
        assert_eq!(termios.c_cc, before);
    }

    #[test]
    fn the_size_of_a_character_is_one_choice() {
        let mut termios = blank();
        for (name, value, size) in
            [("cs8", 1, libc::CS8), ("cs7", 1, libc::CS7), ("cs7", 0, libc::CS8), ("cs8", 0, libc::CS7)]
        {
            assert!(apply(&mut termios, name, value));
            assert_eq!(termios.c_cflag & libc::CSIZE, size, "{name} {value}");
        }
    }

    #[test]
    fn every_speed_has_its_code() {
        let mut seen = Vec::new();
        for speed in SPEEDS {
            let mut termios = blank();
            assert!(apply(&mut termios, "tty_op_ospeed", speed) && apply(&mut termios, "tty_op_ispeed", speed));
            let code = termios.c_cflag & libc::CBAUD;
            assert!(code != 0 && !seen.contains(&code), "{speed}");
            seen.push(code);
        }
    }
}
