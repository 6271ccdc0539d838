//! A program of plugins alone, which has nothing of its own but an allocator: what linked plugins leave as it is.

use std::{alloc::System, ffi::CStr, fs};

/// A program may have its own: two would not link.
#[global_allocator]
static PROGRAMS_OWN: System = System;

/// The file of the object in which a function lies.
fn file_of(function: *const ()) -> String {
    // SAFETY: all zeros is a valid value, to be overwritten.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; the answer's name stays as long as the object.
    unsafe {
        assert_ne!(libc::dladdr(function.cast(), &raw mut found), 0, "it lies in an object");
        CStr::from_ptr(found.dli_fname).to_string_lossy().into_owned()
    }
}

#[test]
fn the_programs_libc_is_its_own() {
    // So that the plugins are not left out by the linker.
    assert_ne!(desk_risk::PLUGIN.name(), desk_momentum::PLUGIN.name());
    for function in [
        libc::pthread_create as *const (),
        libc::pthread_key_create as *const (),
        libc::pthread_setspecific as *const (),
        libc::mmap64 as *const (),
        libc::munmap as *const (),
    ] {
        let file = file_of(function);
        assert!(file.contains("/libc.so") || file.contains("/libpthread"), "{file}");
    }
}

#[test]
fn the_program_has_no_root() {
    let program = fs::read("/proc/self/exe").expect("it runs");
    let has = |text: &[u8]| program.windows(text.len()).any(|window| window == text);
    // Names in a table of an ELF file end with a zero. They are put together here, so that this test does not find itself.
    let has_name = |parts: [&str; 2], between: &str| has(format!("\0{}\0", parts.join(between)).as_bytes());
    assert!(has(b"desk-momentum"), "the plugins are in it");
    assert!(
        has_name(["pthread", "create"], "_") || has_name(["pthread", "create@GLIBC_2.34"], "_"),
        "names are found"
    );
    assert!(!has_name(["reslot", "root"], "_"), "and no exported symbol of theirs");
    assert!(!has_name([".reslot", "manifest"], "."), "nor a section");
}
