//! Opens an object that is mapped already, so that the loader keeps its record of the object for that time. `counts` reads the record.

use std::{
    ffi::{CStr, CString, OsStr, c_char, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// An additional opening of a mapped object. Dropping this closes only this opening.
pub(super) struct Held {
    handle: *mut c_void,
}

/// The public part of the loader's record of an object, as `link.h` declares it.
#[repr(C)]
pub(super) struct LinkMap {
    base: usize,
    name: *const c_char,
}

impl Held {
    /// Opens the object with this path again, if it is mapped.
    pub(super) fn open(path: &Path) -> Option<Self> {
        Self::open_named(&CString::new(path.as_os_str().as_bytes()).ok()?)
    }

    /// Opens the object that the loader lists by this name again, if there is one.
    pub(super) fn open_named(name: &CStr) -> Option<Self> {
        // SAFETY: `name` is a C string; with RTLD_NOLOAD nothing is mapped and no constructor runs.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(Self { handle })
    }

    /// Makes the loader keep the object until the process ends. `name` is the name by which it was opened.
    pub(super) fn keep_for_good(&self, name: &CStr) {
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: `self` keeps the object mapped, so nothing is loaded here; the call only sets the mark. The new handle is never
        // closed, which keeps the object, too.
        unsafe { libc::dlopen(name.as_ptr(), flags) };
    }

    /// The loader's record of the object.
    pub(super) fn link_map(&self) -> Option<*const LinkMap> {
        let mut map: *const LinkMap = std::ptr::null();
        // SAFETY: the handle is open (closed only in `drop`), and `map` is a writable pointer, as RTLD_DI_LINKMAP needs.
        let answer = unsafe { libc::dlinfo(self.handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) };
        (answer == 0 && !map.is_null()).then_some(map)
    }

    /// The path under which it was opened.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let map = self.link_map()?;
        // SAFETY: the loader keeps the record while `self` has the object open; the name in it is a C string.
        let name = unsafe { CStr::from_ptr((*map).name) };
        Some(OsStr::from_bytes(name.to_bytes()).into())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: `open_named` made the handle, and only this drop closes it.
        unsafe { libc::dlclose(self.handle) };
    }
}
