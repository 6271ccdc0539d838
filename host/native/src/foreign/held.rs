//! An object that is mapped already, held open for a moment so that the loader's record of it stands still. What is read there is
//! counts' affair.

use std::{
    ffi::{CStr, CString, OsStr, c_char, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// One more opening of a mapped object. Dropping it takes the opening back, and no more than that.
pub(super) struct Held {
    handle: *mut c_void,
}

/// The loader's record of an object, as far as `link.h` shows it.
#[repr(C)]
pub(super) struct LinkMap {
    base: usize,
    name: *const c_char,
}

impl Held {
    /// Holds what is mapped under this path, if it is.
    pub(super) fn open(path: &Path) -> Option<Self> {
        Self::open_named(&CString::new(path.as_os_str().as_bytes()).ok()?)
    }

    /// Holds what the loader knows by this name, if it does.
    pub(super) fn open_named(name: &CStr) -> Option<Self> {
        // SAFETY: a C string; with this flag nothing is mapped and no constructor runs.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(Self { handle })
    }

    /// Has the loader keep the object until the process ends. `name` is what it was found by.
    pub(super) fn keep_for_good(&self, name: &CStr) {
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: it is mapped, and held by `self`; the flag only keeps it. The new handle is left open, which does the same.
        unsafe { libc::dlopen(name.as_ptr(), flags) };
    }

    /// The loader's record of it.
    pub(super) fn link_map(&self) -> Option<*const LinkMap> {
        let mut map: *const LinkMap = std::ptr::null();
        // SAFETY: an open handle, and room for the answer.
        let answer = unsafe { libc::dlinfo(self.handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) };
        (answer == 0 && !map.is_null()).then_some(map)
    }

    /// Under which path it was opened.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let map = self.link_map()?;
        // SAFETY: the record is the loader's and stays while `self` holds the object; its name is a C string.
        let name = unsafe { CStr::from_ptr((*map).name) };
        Some(OsStr::from_bytes(name.to_bytes()).into())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: opened in `open_named`, and closed once.
        unsafe { libc::dlclose(self.handle) };
    }
}
