//! Gets rare programs that tests need from Debian's packages, without root and without installing or starting anything: apt
//! downloads a package into a cache folder, and dpkg unpacks it there. The programs are Prometheus with its promtool,
//! Golly, and, for `wasm`, a compiler.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{Error, Workspace};

/// The variable that names a folder with `prometheus` and `promtool`, for machines that have them elsewhere. With `none`,
/// the tests that need them are skipped with a message.
pub const PROMETHEUS_FOLDER: &str = "RESLOT_PROMETHEUS";

/// The cache folder for these programs.
pub fn cache(workspace: &Workspace) -> PathBuf {
    workspace.target.join("reslot").join("tools")
}

/// Prometheus's programs.
#[derive(Debug, Clone)]
pub struct Prometheus {
    /// The server.
    pub server: PathBuf,
    /// The checker for rules and metrics.
    pub promtool: PathBuf,
}

/// Finds Prometheus: in the folder that [`PROMETHEUS_FOLDER`] names, among the installed programs, in `cache`, or in
/// Debian's package, which is unpacked into `cache`. None if the variable is `none`.
///
/// # Errors
/// If it is not found and cannot be downloaded.
pub fn prometheus(cache: &Path) -> Result<Option<Prometheus>, Error> {
    if let Some(folder) = env::var_os(PROMETHEUS_FOLDER) {
        if folder == "none" {
            return Ok(None);
        }
        let folder = PathBuf::from(folder);
        return in_folder(&folder).map(Some).ok_or_else(|| Error::Tool {
            program: "prometheus",
            why: format!(
                "{PROMETHEUS_FOLDER} names {}, which does not have both `prometheus` and `promtool`",
                folder.display()
            ),
        });
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = env::split_paths(&path).find_map(|folder| in_folder(&folder)) {
        return Ok(Some(found));
    }
    let unpacked = unpack("prometheus", cache, |folder| in_folder(&folder.join("usr/bin")).is_some())?;
    Ok(in_folder(&unpacked.join("usr/bin")))
}

/// Golly's folder: `usr/bin/bgolly`, which plays Life for comparison, and the patterns in `usr/share/golly`. It is unpacked
/// into `cache` if necessary.
///
/// # Errors
/// If it cannot be downloaded.
pub fn golly(cache: &Path) -> Result<PathBuf, Error> {
    unpack("golly", cache, |folder| folder.join("usr/bin/bgolly").is_file())
}

/// The remedy for a program that cannot be downloaded.
pub(crate) fn without(program: &str) -> String {
    match program {
        "prometheus" => format!(
            "; or let `prometheus` be installed, or have {PROMETHEUS_FOLDER} name the folder that it is in (or be `none`, and its test is \
             left out)"
        ),
        "rustc-web" => format!(
            "; or run `rustup target add {}`, and the installed compiler is used",
            reslot_project::WASM_TARGET
        ),
        _ => String::new(),
    }
}

/// The folder in `cache` with the unpacked package; it corresponds to `/`.
fn unpack(package: &'static str, cache: &Path, is_whole: impl Fn(&Path) -> bool) -> Result<PathBuf, Error> {
    let unpacked = cache.join(package);
    if is_whole(&unpacked) {
        return Ok(unpacked);
    }
    fs::create_dir_all(cache).map_err(Error::io("make", cache))?;
    // The lock serialises processes, so that none removes a folder that another one has completed and may use. It is
    // released when it is dropped.
    let lock = cache.join(format!("{package}.lock"));
    let file = fs::File::create(&lock).map_err(Error::io("make", &lock))?;
    file.lock().map_err(Error::io("lock", &lock))?;
    if is_whole(&unpacked) {
        return Ok(unpacked);
    }
    let work = tempfile::Builder::new()
        .prefix(&format!("{package}-"))
        .tempdir_in(cache)
        .map_err(Error::io("make a folder in", cache))?;
    let downloaded = download(package, work.path())?;
    let fresh = work.path().join("unpacked");
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("-x").arg(&downloaded).arg(&fresh);
    succeed(package, dpkg)?;
    let _ = fs::remove_dir_all(&unpacked);
    fs::rename(&fresh, &unpacked).map_err(Error::io("fill", &unpacked))?;
    match is_whole(&unpacked) {
        true => Ok(unpacked),
        false => Err(Error::Tool {
            program: package,
            why: format!(
                "the package was unpacked into {}, and the programs are not in it",
                unpacked.display()
            ),
        }),
    }
}

fn in_folder(folder: &Path) -> Option<Prometheus> {
    let (server, promtool) = (folder.join("prometheus"), folder.join("promtool"));
    (server.is_file() && promtool.is_file()).then_some(Prometheus { server, promtool })
}

/// Downloads packages with apt into a folder, by lists that are new: those of the system may be older than a package that is needed. The
/// answer is the files, in the order of the names.
pub(crate) fn download_newest(packages: &[String], lists: &Path, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let program = "rustc-web";
    let options = [format!("Dir::State::lists={}", lists.display())];
    if !lists.join("partial").is_dir() {
        fs::create_dir_all(lists.join("partial")).map_err(Error::io("make", lists))?;
        succeed(program, apt(folder, &options, &["update"]))?;
    }
    let mut found = Vec::new();
    for package in packages {
        let into = folder.join(package);
        fs::create_dir_all(&into).map_err(Error::io("make", &into))?;
        succeed(program, apt(&into, &options, &["download", package]))?;
        found.push(downloaded(program, &into)?);
    }
    Ok(found)
}

/// The value of a field of a package.
pub(crate) fn field(package: &Path, field: &str) -> Result<String, Error> {
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("-f").arg(package).arg(field);
    let output = succeed("rustc-web", dpkg)?;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}

/// Unpacks a package into a folder, which corresponds to `/`.
pub(crate) fn extract(package: &Path, into: &Path) -> Result<(), Error> {
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("-x").arg(package).arg(into);
    succeed("rustc-web", dpkg).map(drop)
}

/// Downloads a package with apt into a folder. If apt has no package lists (as in fresh containers), it downloads lists into
/// the folder, because only root may write the system's lists.
fn download(package: &'static str, folder: &Path) -> Result<PathBuf, Error> {
    let first = succeed(package, apt(folder, &[], &["download", package]));
    if let Err(first) = first {
        let lists = folder.join("lists");
        fs::create_dir_all(lists.join("partial")).map_err(Error::io("make", &lists))?;
        let options = [
            format!("Dir::State::lists={}", lists.display()),
            format!("Dir::Cache={}", folder.join("cache").display()),
        ];
        // The error of the first attempt explains more.
        succeed(package, apt(folder, &options, &["update"]))
            .and_then(|_| succeed(package, apt(folder, &options, &["download", package])))
            .map_err(|_| first)?;
    }
    downloaded(package, folder)
}

fn downloaded(program: &'static str, folder: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .ok_or_else(|| Error::Tool {
            program,
            why: "apt-get downloaded no package".to_owned(),
        })
}

fn apt(folder: &Path, options: &[String], arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    // As root, apt downloads as its own user, who may not have write permission here.
    command.current_dir(folder).args(["-q", "-o", "APT::Sandbox::User=root"]);
    command.args(options.iter().flat_map(|option| ["-o", option]));
    command.args(arguments);
    command
}

/// Runs a program, and returns its output.
pub(crate) fn succeed(program: &'static str, mut command: Command) -> Result<Vec<u8>, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |why| Err(Error::Tool { program, why });
    match command.output() {
        Ok(Output { status, stdout, .. }) if status.success() => Ok(stdout),
        Ok(output) => failed(format!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            failed(format!("there is no {name}: this system is not based on Debian"))
        }
        Err(error) => failed(format!("{name} cannot be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_has_a_remedy() {
        let mut command = Command::new("reslot-no-such-program");
        command.arg("x");
        let error = succeed("prometheus", command).expect_err("there is none").to_string();
        assert!(
            error.contains("RESLOT_PROMETHEUS") && error.contains("reslot-no-such-program"),
            "{error}"
        );
        let mut command = Command::new("sh");
        command.args(["-c", "echo offline >&2; exit 100"]);
        let error = succeed("prometheus", command).expect_err("it fails").to_string();
        assert!(error.contains("offline"), "{error}");
    }

    #[test]
    fn both_programs_have_to_be_there() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("prometheus"), "").expect("writable");
        assert!(in_folder(folder.path()).is_none());
        fs::write(folder.path().join("promtool"), "").expect("writable");
        assert!(in_folder(folder.path()).is_some());
    }
}
