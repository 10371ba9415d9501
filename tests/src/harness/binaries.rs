//! The binaries under test: builds them and finds them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The environment variable that names a folder with ready-made binaries; nothing is built then.
pub const VARIABLE: &str = "TBTOKEN_BIN_DIR";

/// The packages of the binaries; each has a binary of the same name.
pub const PACKAGES: [&str; 3] = ["tbtokend", "tbctl", "tbtui"];

/// Returns the path of the binary `name`, and [prepares](prepare) the binaries first if necessary.
///
/// # Panics
/// If the binaries cannot be built, or there is no such binary.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let path = prepare(Progress::Hidden).join(name);
    assert!(path.is_file(), "there is no binary at {}", path.display());
    path
}

/// Whether cargo's progress is shown while it builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Shown on standard error.
    Shown,
    /// Shown only if the build fails.
    Hidden,
}

/// Returns the folder of the binaries. The first call of a process builds all of them, in the profile and the target folder
/// of the calling program.
///
/// # Panics
/// With cargo's output if they cannot be built.
pub fn prepare(progress: Progress) -> &'static Path {
    prepare_only(&PACKAGES, progress)
}

/// Does the same as [`prepare`] for these packages only, so that a test of the daemon need not wait for the clients. Only
/// the first call of a process builds.
///
/// # Panics
/// With cargo's output if they cannot be built.
pub fn prepare_only(packages: &[&str], progress: Progress) -> &'static Path {
    try_prepare(packages, progress).unwrap_or_else(|error| panic!("{error}"))
}

/// Does the same as [`prepare_only`], for a program that shows the error to a person.
///
/// # Errors
/// The binaries cannot be built, or are not where [`VARIABLE`] says.
pub fn try_prepare(packages: &[&str], progress: Progress) -> io::Result<&'static Path> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let given = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let Some(folder) = given else {
            let folder = own_profile_folder();
            return build(&folder, packages, progress).map(|()| folder);
        };
        match packages.iter().find(|name| !folder.join(name).is_file()) {
            None => Ok(folder),
            Some(name) => {
                let folder = folder.display();
                Err(format!("there is no {name} in {folder}; put it there, or unset {VARIABLE}"))
            }
        }
    });
    folder.as_deref().map_err(|error| io::Error::other(error.as_str()))
}

/// Returns the profile's folder of this program: `target/debug` for `target/debug/demo` and for
/// `target/debug/deps/some_test-0123`.
fn own_profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this very program");
    let folder = own.parent().expect("a program lies in a folder");
    match folder.file_name().is_some_and(|name| name == "deps" || name == "examples") {
        true => folder.parent().expect("deps lies in the folder of a profile").to_owned(),
        false => folder.to_owned(),
    }
}

fn build(folder: &Path, packages: &[&str], progress: Progress) -> Result<(), String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace");
    let target = folder.parent().expect("the folder of a profile lies in the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).arg("build").arg("--target-dir").arg(target);
    if workspace.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    // What is measured is what is shipped: the packages by themselves. Everything else takes the crates as the workspace has
    // compiled them already, which may have features that only tests need.
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let select = match profile {
        "debug" => "--bin",
        _ => {
            cargo.args(["--profile", profile]);
            "-p"
        }
    };
    for package in packages {
        cargo.args([select, package]);
    }
    if progress == Progress::Shown {
        eprintln!("building {} …", packages.join(", "));
        cargo.stderr(Stdio::inherit());
    }
    let output = cargo.output().map_err(|error| {
        format!(
            "failed to run cargo, which builds the programs: {error}; install Rust (https://rustup.rs) so that cargo is in PATH, or name a folder that holds {} in {VARIABLE}",
            packages.join(", ")
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("failed to build {}: cargo ended with {}\n{said}", packages.join(", "), output.status))
}
