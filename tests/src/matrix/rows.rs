//! The behaviours: for each behaviour its fixture, the command, and how the test removes what keeps its image.
//! docs/unloading.md has the expected results.

use super::Column;
use fixture_interfaces::Deed;

/// A behaviour of plugins.
pub struct Row {
    /// Its name in the documentation, without backticks.
    pub name: &'static str,
    /// The package of the fixture that has it.
    pub fixture: &'static str,
    pub(super) act: Act,
    /// Text that the process must have printed at its end.
    pub(super) says: &'static [&'static str],
    pub(super) kept: Kept,
    /// The calling threads that make a difference.
    pub(super) columns: &'static [Column],
}

/// The command for the plugin.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Do(Deed),
    /// Calls the deed until its result is not 0.
    DoUntilDone(Deed),
    /// Its method panics.
    Fail,
    /// Its thread connects to a socket, and ends when that is closed.
    Linger,
}

/// What keeps its image, and how the test removes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing keeps it.
    ByNothing,
    /// The program ends what keeps it, after an event reported the reason with these words.
    Until(End, &'static str),
    /// Nothing can end what keeps it; an event reports the reason with these words.
    ForGood(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A thread of the plugin gets the request to end.
    ThreadEnds,
    /// The program puts its signal handlers back.
    HandlersPutBack,
    /// The program closes its own handle of the library.
    UseEnds,
}

impl Row {
    const fn new(name: &'static str, fixture: &'static str, act: Act) -> Self {
        Self {
            name,
            fixture,
            act,
            says: &[],
            kept: Kept::ByNothing,
            columns: &Column::ALL,
        }
    }

    const fn of(name: &'static str, fixture: &'static str, deed: Deed) -> Self {
        Self::new(name, fixture, Act::Do(deed))
    }

    /// The calling thread cannot matter, because the artifact is refused.
    const fn whole(name: &'static str, fixture: &'static str) -> Self {
        Self {
            columns: &[Column::Main],
            ..Self::of(name, fixture, Deed::ThreadLocal)
        }
    }

    const fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }

    const fn kept(self, kept: Kept) -> Self {
        Self { kept, ..self }
    }
}

/// All behaviours, in the order of the documentation.
pub const ROWS: &[Row] = &[
    Row::of("a thread-local with a destructor", "fx-probe", Deed::ThreadLocal),
    Row::of("thread::current", "fx-probe", Deed::CurrentThread),
    Row::of("a thread, spawned and joined", "fx-probe", Deed::SpawnJoin),
    Row::of("a scope with a thread", "fx-probe", Deed::Scope),
    Row::of("a channel's blocking recv", "fx-probe", Deed::Receive),
    Row::of("Mutex and Condvar", "fx-probe", Deed::Condvar),
    Row::of("println!", "fx-probe", Deed::PrintLine).says(&["a line with its end\n"]),
    Row::of("print! without a newline", "fx-probe", Deed::Print).says(&["a line without its end; "]),
    Row::of("a HashMap", "fx-probe", Deed::HashMap),
    Row::of("a LazyLock of 64 KiB", "fx-probe", Deed::LazyLock),
    Row::of("Box::leak", "fx-probe", Deed::Leak),
    Row::of("a panic, caught inside", "fx-probe", Deed::CatchPanic),
    Row::new("a panic through a method", "fx-probe", Act::Fail),
    Row::of("a backtrace, captured inside", "fx-probe", Deed::Backtrace),
    Row::of("another global allocator", "fx-allocator", Deed::ThreadLocal),
    Row::new("a thread of Context::spawn", "fx-workers", Act::DoUntilDone(Deed::Receive)),
    Row::new("a thread that outlives it", "fx-lingering", Act::Linger).kept(Kept::Until(End::ThreadEnds, "lingers")),
    Row::of("a detached pthread that outlives it", "fx-c-habits", Deed::DetachRaw)
        .kept(Kept::Until(End::ThreadEnds, "threads of the plugin still run")),
    Row::of("pthread_exit", "fx-c-habits", Deed::Scope),
    Row::of("pthread keys with destructors", "fx-c-habits", Deed::HashMap),
    Row::of("a C++ thread_local", "fx-c-habits", Deed::CxxThreadLocal),
    Row::of("a C destructor function", "fx-c-habits", Deed::LibraryDestructor).says(&["the library's destructor ran\n"]),
    Row::of("atexit", "fx-c-habits", Deed::AtExit).says(&["the handler for the exit ran\n"]),
    Row::of("pthread_atfork", "fx-c-habits", Deed::AtFork),
    Row::of("a signal handler", "fx-c-habits", Deed::Print)
        .kept(Kept::Until(End::HandlersPutBack, "handlers of signals [28]")),
    Row::of("a file mapping", "fx-c-habits", Deed::MapFile),
    Row::of("a C library that only it needs", "fx-needing", Deed::ThreadLocal),
    Row::of("linked with -z nodelete", "fx-nodelete", Deed::ThreadLocal),
    Row {
        columns: &[Column::Main],
        ..Row::of("used by another library", "fx-probe", Deed::HashMap)
            .kept(Kept::Until(End::UseEnds, "still in the loader's list"))
    },
    Row::whole("a key made by a static constructor", "fx-makes-key-early"),
    Row::whole("imports on_exit", "fx-on-exit"),
    Row::whole("a unique symbol", "fx-unique"),
    Row::whole("needs libstd-*.so", "fx-shared-std"),
    Row::whole("initial-exec thread-locals", "fx-static-tls"),
    Row::of("parking_lot and crossbeam-channel", "fx-crates", Deed::ParkingLot),
    Row::of("a rayon pool, dropped in stop", "fx-crates", Deed::RayonPool),
    Row::of("rayon's global pool", "fx-crates", Deed::RayonGlobal).kept(Kept::ForGood("threads of the plugin still run")),
    Row::of("a tokio runtime, dropped in stop", "fx-crates", Deed::Tokio),
    Row::of("regex", "fx-crates", Deed::Regex),
    Row::of("tracing-subscriber", "fx-crates", Deed::Subscriber).says(&["the image's own subscriber says so"]),
];
