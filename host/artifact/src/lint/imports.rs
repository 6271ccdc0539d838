//! The imports from libc that a plugin must not have, and those that need care. Through these symbols other code gets a
//! pointer into the image, or runs a thread in it, and does not release it at `dlclose`.
//!
//! Not here, because glibc 2.36 lets go by itself (`tests/foreign/libc_lists.rs` holds it to that): `__cxa_atexit` and `atexit`
//! (run at `dlclose`), `__register_atfork` and `__cxa_at_quick_exit` (unregistered there). Nor what the host sees before it closes
//! an image: `signal`, `sigaction` and their kin, and through them `setitimer` and `alarm`. Nor what every Rust library imports
//! and uses well: `environ`, `sigaltstack`, `dlsym`, `syscall`. `qsort_r`, `glob`, `tsearch` and `dl_iterate_phdr` call back
//! before they return.

use super::LintError;
use std::collections::BTreeMap;

/// The imports of a file. A weak import may be absent, and often the code only tests whether it exists.
pub(super) type Imports<'data> = BTreeMap<&'data [u8], Binding>;

/// The binding of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    Strong,
    Weak,
}

/// An import that no plugin can use safely.
pub(super) struct Never {
    pub(super) symbol: &'static str,
    /// The harm that it does.
    pub(super) why: &'static str,
    /// What to use in its place.
    pub(super) instead: &'static str,
    /// Whether C runtimes have a weak reference that they only compare with null.
    is_a_probe_when_weak: bool,
}

const fn never(symbol: &'static str, why: &'static str, instead: &'static str) -> Never {
    let is_a_probe_when_weak = false;
    Never {
        symbol,
        why,
        instead,
        is_a_probe_when_weak,
    }
}

const PRINTF: &str = "printf of the whole process would call into the plugin; the next build registers before this one could take \
                      it back";
const PRINTF_INSTEAD: &str = "format the text in the plugin and print it with %s";

/// Imports that no plugin can use safely.
pub(super) const NEVER: &[Never] = &[
    never(
        "on_exit",
        "its handler runs when the host exits, after the plugin's code is gone, and can not be taken back",
        "use the plugin's `stop`, or atexit, whose handlers run when the plugin is unloaded; or leave out the dependency that \
         calls it",
    ),
    never(
        "thrd_create",
        "it starts a thread that the host does not see, so the plugin could be unmapped under it",
        "start threads with std::thread or pthread_create, which the SDK replaces",
    ),
    never(
        "tss_create",
        "libc would call the key's destructor, inside the plugin, after the plugin's code is gone",
        "make the key with pthread_key_create, which the SDK replaces, or use thread_local!",
    ),
    Never {
        is_a_probe_when_weak: true,
        ..never(
            "__pthread_key_create",
            "it is pthread_key_create under a name that the SDK does not replace",
            "call pthread_key_create",
        )
    },
    never("register_printf_function", PRINTF, PRINTF_INSTEAD),
    never("register_printf_specifier", PRINTF, PRINTF_INSTEAD),
    never("register_printf_type", PRINTF, PRINTF_INSTEAD),
];

const NOTIFIES: &str = "with SIGEV_THREAD, libc calls the plugin on a thread that the host does not see: use SIGEV_NONE or \
                        SIGEV_SIGNAL, or an own thread";
const ASYNCHRONOUS: &str = "libc's helper threads write through what they are given until they are done, and with SIGEV_THREAD \
                            call the plugin: nothing given may lie in the plugin, and `stop` must wait for them";
const BUFFER: &str = "the stream keeps the buffer that it is given: give it none, or one from malloc that is never freed, but \
                      no static of the plugin";
const RANDOM: &str = "random() of the whole process goes on to use the buffer that it is given: use random_r, or a crate";
const CXX: &str = "libstdc++ keeps the function for the whole process: put the former one back in `stop`";

/// Imports that are safe only when used with care.
pub(super) const DOUBTFUL: &[(&str, &str)] = &[
    (
        "putenv",
        "the environment keeps the pointer that it is given: it must not point into the plugin; use setenv",
    ),
    (
        "openlog",
        "syslog keeps the pointer to the name that it is given: call closelog in `stop`, or leave openlog to the host",
    ),
    ("setvbuf", BUFFER),
    ("setbuf", BUFFER),
    ("setbuffer", BUFFER),
    ("initstate", RANDOM),
    ("setstate", RANDOM),
    (
        "fopencookie",
        "libc flushes a stream that is still open when the process exits, by calling the plugin: close it in `stop`",
    ),
    ("timer_create", NOTIFIES),
    ("mq_notify", NOTIFIES),
    ("aio_read", ASYNCHRONOUS),
    ("aio_read64", ASYNCHRONOUS),
    ("aio_write", ASYNCHRONOUS),
    ("aio_write64", ASYNCHRONOUS),
    ("aio_fsync", ASYNCHRONOUS),
    ("aio_fsync64", ASYNCHRONOUS),
    ("lio_listio", ASYNCHRONOUS),
    ("lio_listio64", ASYNCHRONOUS),
    ("getaddrinfo_a", ASYNCHRONOUS),
    (
        "clone",
        "with CLONE_VM it starts a thread that neither libc nor the host knows, so the plugin could be unmapped under it: use \
         std::thread",
    ),
    (
        "dlopen",
        "what the plugin opens is not undone: close it in `stop`, or it stays for each generation anew",
    ),
    (
        "dlmopen",
        "each namespace has a libc of its own that the SDK's replacements do not reach, and a process has room for 15: use \
         dlopen",
    ),
    (
        "__register_frame",
        "the unwinder keeps the pointer that it is given: call __deregister_frame before `stop` returns",
    ),
    (
        "__register_frame_info",
        "the unwinder keeps the pointers that it is given: call __deregister_frame_info before `stop` returns",
    ),
    (
        "profil",
        "libc counts into the buffer that it is given until profil(NULL, 0, 0, 0): call that in `stop`",
    ),
    ("_ZSt13set_terminatePFvvE", CXX),
    ("_ZSt14set_unexpectedPFvvE", CXX),
    ("_ZSt15set_new_handlerPFvvE", CXX),
];

/// The symbols that the SDK defines, hidden, in each plugin. An import of one of them means that the definition is missing and
/// libc would get a pointer into the image.
pub(super) const REPLACED: &[&str] = &[
    "__cxa_thread_atexit_impl",
    "__cxa_thread_atexit",
    "pthread_key_create",
    "pthread_key_delete",
    "pthread_setspecific",
    "pthread_getspecific",
    "pthread_create",
    "mmap",
    "mmap64",
    "munmap",
];

/// The errors and the warnings about these imports.
pub(super) fn judge(imports: &Imports<'_>) -> (Vec<LintError>, Vec<String>) {
    let binding = |symbol: &str| imports.get(symbol.as_bytes()).copied();
    let harmful = |never: &&Never| match binding(never.symbol) {
        Some(Binding::Strong) => true,
        Some(Binding::Weak) => !never.is_a_probe_when_weak,
        None => false,
    };
    let never = NEVER.iter().filter(harmful).map(|never| LintError::UnsafeImport {
        symbol: never.symbol.to_owned(),
        why: never.why,
        instead: never.instead,
    });
    let replaced = REPLACED.iter().filter(|symbol| binding(symbol).is_some());
    let unreplaced = replaced.map(|symbol| LintError::Unreplaced {
        symbol: symbol.to_string(),
    });
    let doubtful = DOUBTFUL.iter().filter(|(symbol, _)| binding(symbol).is_some());
    let warnings = doubtful.map(|(symbol, why)| format!("imports `{symbol}`: {why}"));
    (never.chain(unreplaced).collect(), warnings.collect())
}
