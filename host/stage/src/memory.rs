//! Private copies in sealed memory, which the kernel maps like a file. They are for folders that are mounted noexec. The
//! staging folder manages them.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The kind of a host's private copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateCopies {
    /// Files in the private folder, which must allow execution.
    Files,
    /// Sealed memory (`memfd_create`). The private folder holds a link to each, so it may be mounted noexec; it must be
    /// writable, and `/proc` must be mounted. A copy uses its size in memory until the image is unmapped.
    Memory,
}

/// Whether the folder's file system forbids execution.
pub(super) fn forbids_execution(folder: &Path) -> io::Result<bool> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: an all-zero statvfs is a valid value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is a C string, and `found` is writable.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_flag & libc::ST_NOEXEC != 0)
}

/// Writes `bytes` into sealed memory, and makes a link to it at `link`.
///
/// The loader knows the copy by the link's path, which is unique. `/proc/PID/fd/N` is not: if the number were reused while
/// the first image is still mapped, the loader would return that image. The descriptor must stay open while the image may be
/// mapped, because debuggers and backtraces follow the link.
pub(super) fn write(link: &Path, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(link.file_name().unwrap_or_default().as_bytes())?;
    let mut memory = File::from(create(&name)?);
    memory.write_all(bytes)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: this command takes an integer and accesses no memory of this process.
    if unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    symlink(descriptor_path(&memory)?, link)?;
    Ok(memory.into())
}

/// The name of the memory behind `link` in the kernel's map of this process.
pub(super) fn name_in_map(link: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from("/memfd:");
    name.push(link.file_name().unwrap_or_default());
    name.into()
}

/// The name, in the kernel's map of this process, of a copy or memory that another process owns.
pub(super) fn name_of_lent(path: &Path) -> io::Result<PathBuf> {
    let opened = File::open(path)?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    // Memory has no path in a folder.
    let plain = name.as_os_str().as_bytes().strip_suffix(b" (deleted)");
    Ok(plain.map_or_else(|| name.clone(), |plain| OsStr::from_bytes(plain).into()))
}

/// Memory that can be read like a file. It passes data of any size to another process without waiting for its reads.
pub fn holding(name: &CStr, parts: &[&[u8]]) -> io::Result<File> {
    let mut memory = File::from(create(name)?);
    parts.iter().try_for_each(|part| memory.write_all(part))?;
    memory.rewind()?;
    Ok(memory)
}

fn create(name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // The memory is mapped but never executed as a program. This flag is needed if the administrator forbids programs in
    // memory (vm.memfd_noexec). Kernels before 6.3 do not know it.
    let made = memfd(name, flags | libc::MFD_NOEXEC_SEAL);
    match made {
        Err(unknown) if unknown.raw_os_error() == Some(libc::EINVAL) => memfd(name, flags),
        made => made,
    }
}

fn memfd(name: &CStr, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a C string.
    let made = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and no other code knows it, so `OwnedFd` is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// The path does not use `/proc/self`, because a child process must find the same file by it. The process id is the one in
/// this `/proc`, which differs from our own if `/proc` belongs to an outer pid namespace.
fn descriptor_path(memory: &File) -> io::Result<PathBuf> {
    let process = std::fs::read_link("/proc/self")?;
    let path = Path::new("/proc")
        .join(process)
        .join("fd")
        .join(memory.as_raw_fd().to_string());
    Ok(path)
}
