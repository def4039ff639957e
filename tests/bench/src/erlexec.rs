//! erlexec, as whoever measures has built it: nothing of it comes along.

use std::path::{Path, PathBuf};

use crate::programs::{Programs, USER};

/// The name of its port program.
pub(crate) const PORT: &str = "exec-port";

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) struct Erlexec {
    modules: PathBuf,
    script: PathBuf,
}

impl Erlexec {
    /// Looks for it in the folder that it was built in, and writes a script that starts its port program. That is a user's,
    /// as it does not run as root by itself, and has the 1024 descriptors that most systems give: it closes each that a
    /// process may have, in each program that it starts.
    ///
    /// # Errors
    /// What of it is not there.
    pub(crate) fn of(folder: &Path, programs: &Programs) -> Result<Self, String> {
        let (modules, port) = find(folder)?;
        let port = port.display();
        let script = format!(
            "#!/bin/sh\nulimit -n 1024\nexport SHELL=/bin/sh\n\
             exec setpriv --reuid={USER} --regid={USER} --clear-groups '{port}' \"$@\"\n"
        );
        Ok(Self { modules, script: programs.script("erlexec-port", &script) })
    }

    /// The expressions that start it and wait until it answers.
    pub(crate) fn start(&self) -> String {
        let (modules, script) = (self.modules.display(), self.script.display());
        // By this variable it knows that the VM is root's, and asks for a user to be named.
        format!(
            "true = os:unsetenv(\"USER\"), true = code:add_patha(\"{modules}\"), \
             {{ok, _}} = exec:start([{{portexe, \"{script}\"}}]), [] = exec:which_children()"
        )
    }
}

/// Its `ebin` and its port program, as rebar3 has built them in the folder.
fn find(folder: &Path) -> Result<(PathBuf, PathBuf), String> {
    let missing = |what: &str| format!("{}: no {what}: name the folder in which erlexec was built", folder.display());
    let folder = folder.canonicalize().map_err(|_| missing("such folder"))?;
    let modules = folder.join("ebin");
    if !modules.join("exec.beam").exists() {
        return Err(missing("ebin/exec.beam"));
    }
    // In a folder by the name of the machine, where it was built for several.
    let within = std::fs::read_dir(folder.join("priv")).map_err(|_| missing("priv"))?;
    let places = within.flatten().map(|entry| entry.path()).flat_map(|path| [path.join(PORT), path]);
    let port = places.filter(|path| path.is_file()).find(|path| path.file_name().is_some_and(|name| name == PORT));
    Ok((modules, port.ok_or_else(|| missing("exec-port in priv"))?))
}

#[cfg(test)]
mod tests {
    use erluv_tests::folder::Folder;

    use super::*;

    #[test]
    fn it_is_found_with_its_port_program_in_a_folder_of_the_machine_or_without() {
        for within in ["", "x86_64-linux"] {
            let folder = Folder::new();
            let port = folder.path().join("priv").join(within);
            std::fs::create_dir_all(&port).unwrap();
            std::fs::create_dir_all(folder.path().join("ebin")).unwrap();
            std::fs::write(folder.path().join("ebin/exec.beam"), "").unwrap();
            assert!(find(folder.path()).is_err_and(|error| error.contains("exec-port")));
            std::fs::write(port.join(PORT), "").unwrap();
            assert!(find(folder.path()).unwrap().1.ends_with(PORT));
        }
    }

    #[test]
    fn a_folder_that_is_not_erlexec_s_is_an_error_that_says_what_lacks() {
        let folder = Folder::new();
        assert!(find(folder.path()).is_err_and(|error| error.contains("ebin/exec.beam")));
        assert!(find(&folder.path().join("no")).is_err_and(|error| error.contains("such folder")));
    }
}
