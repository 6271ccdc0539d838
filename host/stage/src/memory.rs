//! Private copies without a file: sealed memory that the kernel maps like one, for folders that may hold no code (mounted noexec).
//! Where copies stand otherwise, and when they go, is the staging folder's affair.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where a host keeps the private copies of the artifacts that it maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateCopies {
    /// Files in the private folder, which must allow execution.
    Files,
    /// Sealed memory (`memfd_create`). The private folder holds a link to each, so it may be mounted noexec; it must be writable
    /// and `/proc` must be there. A copy takes its size in memory until the image is unmapped.
    Memory,
}

/// Whether nothing below this folder may be mapped as code.
pub(super) fn forbids_execution(folder: &Path) -> io::Result<bool> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: all-zero is a valid statvfs to be overwritten.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string, and room for the answer.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_flag & libc::ST_NOEXEC != 0)
}

/// Puts `bytes` into memory that nobody can write any more, and a link to it at `link`.
///
/// The loader knows the copy by the link's path, which is as unique as a file's would be. `/proc/PID/fd/N` itself is not: a
/// number that is used again while the first image is still mapped would be answered with that one. The descriptor has to stay
/// open as long as the image may be mapped all the same, because debuggers and backtraces follow the link.
pub(super) fn write(link: &Path, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(link.file_name().unwrap_or_default().as_bytes())?;
    let mut memory = File::from(create(&name)?);
    memory.write_all(bytes)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: this command takes an integer and touches no memory of ours.
    if unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    symlink(descriptor_path(&memory)?, link)?;
    Ok(memory.into())
}

/// What the kernel's map of this process calls the memory behind `link`.
pub(super) fn name_in_map(link: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from("/memfd:");
    name.push(link.file_name().unwrap_or_default());
    name.into()
}

/// What the kernel's map of this process will call a copy, or memory, that another process keeps.
pub(super) fn name_of_lent(path: &Path) -> io::Result<PathBuf> {
    let opened = File::open(path)?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    // Memory has no name in any folder.
    let plain = name.as_os_str().as_bytes().strip_suffix(b" (deleted)");
    Ok(plain.map_or_else(|| name.clone(), |plain| OsStr::from_bytes(plain).into()))
}

/// Memory that reads like a file, from its beginning: what another process is to be told, however much, without anybody waiting
/// for it to read.
pub fn holding(name: &CStr, parts: &[&[u8]]) -> io::Result<File> {
    let mut memory = File::from(create(name)?);
    parts.iter().try_for_each(|part| memory.write_all(part))?;
    memory.rewind()?;
    Ok(memory)
}

fn create(name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // It is mapped, and never executed as a program: where the administrator forbids programs in memory (vm.memfd_noexec), that
    // has to be said. Kernels before 6.3 do not know the flag.
    let made = memfd(name, flags | libc::MFD_NOEXEC_SEAL);
    match made {
        Err(unknown) if unknown.raw_os_error() == Some(libc::EINVAL) => memfd(name, flags),
        made => made,
    }
}

fn memfd(name: &CStr, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: a C string.
    let made = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Not `/proc/self`: a child of this process that looks at the path must find the same. The number is the one that this `/proc`
/// has for us, which is another than our own where it belongs to an outer pid namespace.
fn descriptor_path(memory: &File) -> io::Result<PathBuf> {
    let process = std::fs::read_link("/proc/self")?;
    let path = Path::new("/proc")
        .join(process)
        .join("fd")
        .join(memory.as_raw_fd().to_string());
    Ok(path)
}
