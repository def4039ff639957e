//! The programs and modules of the benchmark, compiled for one run into a folder that ends with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use erluv_tests::folder::Folder;

use crate::filter;

/// Where they are.
#[derive(Debug)]
pub(crate) struct Programs {
    folder: Folder,
    /// What the C programs are told that hold theirs as erluv does: limits/held.h.
    held: [String; 3],
}

/// Whose the programs of the C programs are, as the workers of the daemons.
pub(crate) const USER: &str = "daemon";

impl Programs {
    /// Compiles everything with `cc` and `erlc`. In `group` the C programs make the groups of theirs.
    pub(crate) fn build(group: Option<&Path>) -> Result<Self, String> {
        let folder = Folder::new();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let top = here.join("../..");
        for name in ["spawn", "cnode", "relay", "count", "parts"] {
            run(cc(&folder, here, name).arg("-O2"))?;
        }
        for name in ["exit", "pause"] {
            run(cc(&folder, here, name).args([
                "-O2",
                "-static",
                "-nostdlib",
                "-ffreestanding",
                "-fno-stack-protector",
            ]))?;
        }
        let modules = folder.folder("ebin", 0o755);
        run(erlc(&modules).args(sources(&here.join("erlang"))?))?;
        let application = top.join("erluv-proto/erlang/src");
        run(erlc(&modules).args(sources(&application)?))?;
        std::fs::copy(application.join("erluv.app.src"), modules.join("erluv.app"))
            .map_err(|error| format!("erluv.app: {error}"))?;
        let filter = folder.path().join("filter");
        std::fs::write(&filter, filter::of_default_profile()?).map_err(|error| format!("filter: {error}"))?;
        let group = group.map_or_else(|| "-".to_owned(), |group| group.display().to_string());
        let held = [filter.display().to_string(), USER.to_owned(), group];
        Ok(Self { folder, held })
    }

    /// The arguments by which the C programs hold theirs.
    pub(crate) fn held(&self) -> &[String] {
        &self.held
    }

    /// A program of limits/, by the name of its source.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same in quotes, as Erlang writes a string: the folder's name has no character that needs more.
    pub(crate) fn text(&self, name: &str) -> String {
        format!("\"{}\"", self.path(name).display())
    }

    /// A script of that name that any user may execute.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        self.folder.file(name, 0o755, text.as_bytes())
    }

    /// The folder of the Erlang modules, for `-pa`.
    pub(crate) fn modules(&self) -> String {
        self.path("ebin").display().to_string()
    }
}

fn cc(folder: &Folder, here: &Path, name: &str) -> Command {
    let mut command = Command::new("cc");
    command.arg("-o").arg(folder.path().join(name)).arg(here.join("limits").join(format!("{name}.c")));
    command
}

fn erlc(into: &Path) -> Command {
    let mut command = Command::new("erlc");
    command.arg("-o").arg(into);
    command
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "erl")).collect())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}: install it", command.get_program()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))),
    }
}
