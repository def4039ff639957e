//! What a result was measured on, and which cores the benchmark may use.

use std::process::Command;

use serde::Serialize;

/// The machine, as far as it matters for figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The time of the run, UTC.
    pub(crate) date: String,
    /// The processor's model as the kernel names it.
    pub(crate) cpu: String,
    /// How many cores this process may use.
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The OTP release of the nodes.
    pub(crate) otp: String,
    /// The revision of the sources, with a plus sign where they were changed since.
    pub(crate) revision: String,
    /// The load average of the minute before the run: figures of a busy machine do not count.
    pub(crate) load: String,
}

impl Machine {
    /// Asks the system; what it does not say is empty.
    pub(crate) fn look(otp: u32) -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let model = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()));
        let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M"]),
            cpu: model.unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            otp: otp.to_string(),
            revision: said("git", &["rev-parse", "--short", "HEAD"]) + if changed { "" } else { "+" },
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The cores that this process may use, as taskset(1) writes them, such as `0-1`.
pub(crate) fn cores() -> Result<String, String> {
    let own = i32::try_from(std::process::id()).map_err(|error| error.to_string())?;
    Ok(erluv_tests::proc::field(own, "Cpus_allowed_list"))
}

/// From now on this thread, and all that it starts, runs on these cores; by taskset(1).
pub(crate) fn pin(cores: &str) -> Result<(), String> {
    let own = std::process::id().to_string();
    let output = Command::new("taskset").args(["-cp", cores, &own]).output();
    let output = output.map_err(|error| format!("taskset: {error}: install util-linux"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("taskset: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
