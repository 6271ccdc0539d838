//! The libc functions by which a Rust library ties itself to the process, replaced inside the image.
//!
//! std (and any C linked into the plugin) reaches libc for thread-local destructors, pthread keys, threads and mappings. Each
//! of these leaves a pointer into the image in libc's hands; some keep the image mapped, others crash once it is not. So the
//! plugin's crate defines the symbols itself, *hidden*: the linker binds the plugin's own references to them, nothing is
//! exported, and neither RTLD_DEEPBIND nor the host's exports play a part. Each jumps to a function here, which hands the
//! request to the host. Until the host's table is installed (static constructors, or the crate linked into an ordinary
//! program), the request goes to libc's function, found by `dlsym(RTLD_NEXT)`.
//!
//! What the host does with a request lives in the host.

use super::host;
use crate::{attachment::Services, root::VIRTUAL_KEYS};
use std::{
    ffi::{CStr, c_int, c_void},
    mem::transmute,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Defines the hidden symbols; expanded by `export_plugin!` in the plugin's crate, whose objects are linked directly.
#[doc(hidden)]
#[macro_export]
macro_rules! __replace_libc_symbols {
    () => {
        $crate::__replace_libc_symbols! { @each
            "__cxa_thread_atexit_impl" => cxa_thread_atexit;
            "__cxa_thread_atexit" => cxa_thread_atexit;
            "pthread_key_create" => pthread_key_create;
            "pthread_key_delete" => pthread_key_delete;
            "pthread_setspecific" => pthread_setspecific;
            "pthread_getspecific" => pthread_getspecific;
            "pthread_create" => pthread_create;
            "mmap" => mmap64;
            "mmap64" => mmap64;
            "munmap" => munmap;
        }
    };
    (@each $($symbol:literal => $function:ident;)*) => {
        // A module, because a macro that is all assembly may not stand where a statement may.
        mod __reslot_replaced_libc_symbols { $(
        #[cfg(target_arch = "x86_64")]
        ::core::arch::global_asm!(
            ::core::concat!(".pushsection .text.", $symbol, ",\"ax\",@progbits"),
            ::core::concat!(".globl ", $symbol),
            ::core::concat!(".hidden ", $symbol),
            ::core::concat!(".type ", $symbol, ",@function"),
            ::core::concat!($symbol, ":"),
            "jmp {function}",
            ::core::concat!(".size ", $symbol, ", . - ", $symbol),
            ".popsection",
            function = sym $crate::__private::replaced::$function,
        );
        #[cfg(target_arch = "aarch64")]
        ::core::arch::global_asm!(
            ::core::concat!(".pushsection .text.", $symbol, ",\"ax\",@progbits"),
            ::core::concat!(".globl ", $symbol),
            ::core::concat!(".hidden ", $symbol),
            ::core::concat!(".type ", $symbol, ",@function"),
            ::core::concat!($symbol, ":"),
            "b {function}",
            ::core::concat!(".size ", $symbol, ", . - ", $symbol),
            ".popsection",
            function = sym $crate::__private::replaced::$function,
        );
    )* }
    };
}

/// libc's own function. `dlsym` takes locks but registers nothing.
fn libc_own(cache: &AtomicUsize, name: &CStr) -> *const c_void {
    let known = cache.load(Ordering::Relaxed);
    if known != 0 {
        return std::ptr::with_exposed_provenance(known);
    }
    // SAFETY: the name is a C string; RTLD_NEXT looks behind the object that this code is in.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    cache.store(found.expose_provenance(), Ordering::Relaxed);
    found
}

macro_rules! forward_to_libc {
    ($name:literal, fn($($argument:ident: $of:ty),*) -> $answer:ty, missing = $missing:expr) => {{
        static OWN: AtomicUsize = AtomicUsize::new(0);
        let own = libc_own(&OWN, $name);
        if own.is_null() {
            return $missing;
        }
        // SAFETY: libc's function of this name has this signature.
        let own = unsafe { transmute::<*const c_void, unsafe extern "C" fn($($of),*) -> $answer>(own) };
        // SAFETY: the arguments are the caller's, unchanged.
        unsafe { own($($argument),*) }
    }};
}

/// # Safety
/// As libc's `__cxa_thread_atexit_impl`.
pub unsafe extern "C" fn cxa_thread_atexit(
    destructor: unsafe extern "C" fn(*mut c_void),
    object: *mut c_void,
    library: *mut c_void,
) -> c_int {
    match host() {
        // SAFETY: the host's table is valid while this image is mapped.
        Some(Services { table, token }) => unsafe { table.thread_atexit()(token, destructor as *const (), object.cast()) },
        None => {
            type Destructor = unsafe extern "C" fn(*mut c_void);
            forward_to_libc!(
                c"__cxa_thread_atexit_impl",
                fn(destructor: Destructor, object: *mut c_void, library: *mut c_void) -> c_int,
                missing = -1
            )
        }
    }
}

/// # Safety
/// As libc's function of this name.
pub unsafe extern "C" fn pthread_key_create(key: *mut u32, destructor: *const c_void) -> c_int {
    match host() {
        // SAFETY: the host's table is valid while this image is mapped; `key` is the caller's.
        Some(Services { table, token }) => unsafe { table.key_create()(token, key, destructor.cast()) },
        None => {
            if !destructor.is_null() {
                super::EARLY.fetch_add(1, Ordering::Relaxed);
            }
            forward_to_libc!(
                c"pthread_key_create",
                fn(key: *mut u32, destructor: *const c_void) -> c_int,
                missing = libc::EAGAIN
            )
        }
    }
}

/// # Safety
/// As libc's function of this name.
pub unsafe extern "C" fn pthread_key_delete(key: u32) -> c_int {
    match host() {
        // SAFETY: the host's table is valid while this image is mapped.
        Some(Services { table, token }) if key >= VIRTUAL_KEYS => unsafe { table.key_delete()(token, key) },
        _ => forward_to_libc!(c"pthread_key_delete", fn(key: u32) -> c_int, missing = libc::EINVAL),
    }
}

/// # Safety
/// As libc's function of this name.
pub unsafe extern "C" fn pthread_setspecific(key: u32, value: *const c_void) -> c_int {
    match host() {
        // SAFETY: the host's table is valid while this image is mapped.
        Some(Services { table, token }) if key >= VIRTUAL_KEYS => unsafe { table.set_specific()(token, key, value.cast()) },
        _ => forward_to_libc!(
            c"pthread_setspecific",
            fn(key: u32, value: *const c_void) -> c_int,
            missing = libc::EINVAL
        ),
    }
}

/// # Safety
/// As libc's function of this name.
pub unsafe extern "C" fn pthread_getspecific(key: u32) -> *mut c_void {
    match host() {
        // SAFETY: the host's table is valid while this image is mapped.
        Some(Services { table, token }) if key >= VIRTUAL_KEYS => unsafe { table.get_specific()(token, key).cast() },
        _ => forward_to_libc!(
            c"pthread_getspecific",
            fn(key: u32) -> *mut c_void,
            missing = std::ptr::null_mut()
        ),
    }
}

/// # Safety
/// As libc's function of this name.
pub unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    start: *const c_void,
    argument: *mut c_void,
) -> c_int {
    match host() {
        // SAFETY: the host's table is valid while this image is mapped; the arguments are the caller's.
        Some(Services { table, token }) => unsafe {
            table.thread_create()(token, thread.cast(), attributes.cast(), start.cast(), argument.cast())
        },
        None => {
            super::EARLY.fetch_add(1, Ordering::Relaxed);
            forward_to_libc!(
                c"pthread_create",
                fn(thread: *mut c_void, attributes: *const c_void, start: *const c_void, argument: *mut c_void) -> c_int,
                missing = libc::EAGAIN
            )
        }
    }
}

/// # Safety
/// As libc's function of this name.
pub unsafe extern "C" fn mmap64(
    address: *mut c_void,
    len: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    match host() {
        // SAFETY: the host's table is valid while this image is mapped; the arguments are the caller's.
        Some(Services { table, token }) => unsafe {
            table.map()(token, address.cast(), len, protection, flags, file, offset).cast()
        },
        None => forward_to_libc!(
            c"mmap64",
            fn(address: *mut c_void, len: usize, protection: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void,
            missing = libc::MAP_FAILED
        ),
    }
}

/// # Safety
/// As libc's function of this name.
pub unsafe extern "C" fn munmap(address: *mut c_void, len: usize) -> c_int {
    match host() {
        // SAFETY: the host's table is valid while this image is mapped; the arguments are the caller's.
        Some(Services { table, token }) => unsafe { table.unmap()(token, address.cast(), len) },
        None => forward_to_libc!(c"munmap", fn(address: *mut c_void, len: usize) -> c_int, missing = -1),
    }
}
