//! Golly, which plays Life for comparison, and its patterns: Debian's package, unpacked into the target folder. Nothing is installed,
//! and nothing of it is kept in the repository.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Error;

/// Unpacks Debian's packages below `target`, unless that has been done before, and answers the folder that stands for `/`.
///
/// # Errors
/// If apt does not know them, or there is no apt.
pub fn fetch(target: &Path, packages: &[&str]) -> Result<PathBuf, Error> {
    let place = target.join("debian").join(packages.join("+"));
    fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
    let lock = place.join("lock");
    // Held until it is dropped: tests run beside each other.
    let alone = File::create(&lock).map_err(Error::io("create", &lock))?;
    alone.lock().map_err(Error::io("lock", &lock))?;
    let (root, complete) = (place.join("root"), place.join("complete"));
    if complete.exists() {
        return Ok(root);
    }
    let download = || {
        run(Command::new("apt-get")
            .current_dir(&place)
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
            .args(packages))
    };
    if download().is_err() {
        // A new machine has no lists yet.
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        download()?;
    }
    for entry in fs::read_dir(&place).map_err(Error::io("read", &place))?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(&root))?;
        }
    }
    fs::write(&complete, "").map_err(Error::io("write", &complete))?;
    Ok(root)
}

fn run(command: &mut Command) -> Result<Output, Error> {
    let program = PathBuf::from(command.get_program());
    let output = command.output().map_err(Error::io("start", &program))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(Error::io("get a package of Debian's with", &program)(std::io::Error::other(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))),
    }
}
