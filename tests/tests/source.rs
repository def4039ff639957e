//! Requirements that are about how the programs are written: what is built into them, and what must not stand in their
//! sources. Where the compiler or a lint refuses it already, these tests see to it that nobody switches that off.

use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Rust files below a folder, with their path from the top.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![top().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(top()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder}");
    found
}

/// The programs' own files, without those that only tests are made of.
fn programs() -> Vec<(String, String)> {
    let all = ["erluv-main/src", "erluv-child/src", "erluv-proto/src"].into_iter().flat_map(files);
    all.filter(|(name, _)| !is_for_tests(name)).collect()
}

fn is_for_tests(name: &str) -> bool {
    name.contains("test") && !name.contains("self_test") || name.ends_with("bench.rs") || name.ends_with("scenarios.rs")
}

/// The code of a file: without comments, and without what comes after `#[cfg(test)]` at its end.
fn code(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    code.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

#[test]
fn s14_what_makes_a_descriptor_that_is_not_close_on_exec_is_refused() {
    let lints = read("clippy.toml");
    for call in ["nix::unistd::pipe", "nix::unistd::dup", "libc::pipe", "libc::dup", "libc::socket", "libc::accept"] {
        assert!(lints.contains(&format!("path = \"{call}\"")), "{call} is not refused by clippy.toml");
    }
    // Calls that can make either kind, wherever they stand, say which.
    for (name, text) in programs() {
        let code = code(&text);
        let calls = ["= open(", "match open(", "pipe_with(", "socket_with(", "recvmsg(", "socketpair("];
        for (at, call) in
            ["libc::open(", "libc::openat("].iter().chain(&calls).flat_map(|call| code.match_indices(call))
        {
            let around = code.get(at.saturating_sub(600)..(at + 400).min(code.len())).unwrap_or(&code);
            let says = ["CLOEXEC", "plan.", "file.flags", "c\"/dev/null\"", "Redirect"]
                .iter()
                .any(|word| around.contains(word));
            assert!(says, "{name}: {call} without CLOEXEC nearby");
        }
    }
}

#[test]
fn s23_nothing_between_fork_and_exec_is_written_that_allocates_or_locks() {
    // That nothing of it allocates is tried, too: in the unit tests of erluv-main an allocation there ends the process.
    let words = [
        "Box::",
        "Vec::new",
        "vec![",
        "format!",
        ".to_string(",
        ".to_owned(",
        ".to_vec(",
        "String::",
        ".collect(",
        ".clone()",
        "println!",
        "log::",
        ".lock(",
        "HashMap",
        "std::fs::",
        "std::env::",
        ".unwrap(",
        ".expect(",
        "panic!",
    ];
    let steps = ["attributes", "capabilities", "filter", "mount_calls", "mounts", "own", "users"];
    let steps = steps.map(|name| format!("sandbox/{name}"));
    for name in ["call", "forked", "init"].into_iter().chain(steps.iter().map(String::as_str)) {
        let forked = code(&read(&format!("erluv-main/src/sys/{name}.rs")));
        for word in words {
            assert!(!forked.contains(word), "{name}.rs: {word}");
        }
    }
    assert!(code(&read("erluv-main/src/sys/linux.rs")).contains("libc::SYS_execve,"));
}

#[test]
fn nothing_that_may_run_in_main_s_memory_calls_the_c_library() {
    let steps = ["attributes", "capabilities", "filter", "landlock", "mod", "mount_calls", "mounts", "namespaces"];
    let more = ["own", "users"].into_iter().chain(steps).map(|name| format!("sandbox/{name}"));
    let names = ["forked", "vfork/raw", "vfork/spawner"].map(str::to_owned).into_iter().chain(more);
    for name in names {
        let code = code(&read(&format!("erluv-main/src/sys/{name}.rs")));
        assert!(!code.contains("last_os_error"), "{name}.rs");
        for call in code.split("libc::").skip(1) {
            let called =
                call.trim_start_matches(|byte: char| byte == '_' || byte.is_ascii_lowercase() || byte.is_ascii_digit());
            assert!(called.len() == call.len() || !called.starts_with('('), "{name}.rs: libc::{:.30}", call);
        }
    }
    // What it calls in its place makes its calls itself, unless somebody asks it not to.
    assert!(read("deny.toml").contains("{ crate = \"rustix\", deny = [\"use-libc\"] }"));
}

#[test]
fn s62_the_cookie_is_wiped_and_compared_in_constant_time() {
    let cookie = code(&read("erluv-proto/src/dist/cookie.rs"));
    assert!(cookie.contains("pub struct Cookie(Zeroizing<Vec<u8>>);"));
    // No copy of it can be made, and none of it be printed.
    let derived = cookie.split("pub struct Cookie(").next().unwrap().rsplit("\n\n").next().unwrap();
    assert!(!derived.contains("derive"), "{derived}");
    assert!(!cookie.contains("for Cookie {"), "a trait could copy or print the cookie");
    let handshake = code(&read("erluv-proto/src/dist/handshake.rs"));
    assert!(handshake.contains(".ct_eq("));
    assert!(!handshake.contains("digest =="), "a digest is compared byte by byte");
    // The file's bytes are wiped as well.
    assert!(code(&read("erluv-main/src/settings/trusted.rs")).contains("Zeroizing<Vec<u8>>"));
}

#[test]
fn s72_no_signal_handler_is_installed_but_by_the_crate_that_writes_one_byte() {
    for (name, text) in programs() {
        let code = code(&text);
        for word in ["libc::signal(", "signal_hook::low_level", "sys::signal::signal(", "sigaction::new", "SigHandler"]
        {
            assert!(!code.contains(word), "{name}: {word}");
        }
        // What is set by hand is "default" or "ignore", never a function.
        for (at, _) in code.match_indices("sa_sigaction =") {
            assert!(code[at..].starts_with("sa_sigaction = libc::SIG_"), "{name}");
        }
        if code.contains("Signals::new(") {
            assert!(code.contains("use signal_hook_mio::"), "{name}");
        }
    }
}

#[test]
fn s77_the_build_aborts_on_panic_checks_overflow_and_keeps_unsafe_in_its_place() {
    let manifest = read("Cargo.toml");
    let section = |name: &str| manifest.split(&format!("[{name}]\n")).nth(1).unwrap().split("\n[").next().unwrap();
    assert!(section("profile.release").contains("panic = \"abort\""));
    assert!(section("profile.release").contains("overflow-checks = true"));
    assert!(section("profile.dev").contains("panic = \"abort\""));
    for (table, lint) in [
        ("workspace.lints.rust", "unsafe_code"),
        ("workspace.lints.rust", "unsafe_op_in_unsafe_fn"),
        ("workspace.lints.clippy", "undocumented_unsafe_blocks"),
        ("workspace.lints.clippy", "multiple_unsafe_ops_per_block"),
        ("workspace.lints.clippy", "unwrap_used"),
        ("workspace.lints.clippy", "arithmetic_side_effects"),
    ] {
        assert!(section(table).contains(&format!("{lint} = \"deny\"")), "{lint}");
    }
    for member in ["erluv-main", "erluv-child", "erluv-proto"] {
        assert!(read(&format!("{member}/Cargo.toml")).contains("[lints]\nworkspace = true"), "{member}");
    }
    assert!(read("erluv-proto/src/lib.rs").contains("#![forbid(unsafe_code)]"));
    for (name, text) in programs() {
        let place = name.starts_with("erluv-main/src/sys/") || name.starts_with("erluv-child/src/sys");
        assert!(place || !code(&text).contains("unsafe "), "{name}: unsafe outside of sys");
        assert!(
            name.ends_with("/sys/mod.rs") || name.ends_with("/sys.rs") || !code(&text).contains("allow(unsafe_code"),
            "{name}"
        );
    }
    assert!(read("tests/run.sh").contains("-D warnings"));
}

#[test]
fn s22_the_privileged_half_makes_no_thread() {
    for (name, text) in files("erluv-main/src") {
        if !is_for_tests(&name) {
            assert!(!code(&text).contains("thread::spawn") && !code(&text).contains("thread::Builder"), "{name}");
        }
    }
}
