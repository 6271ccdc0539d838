//! The technical frames of a backtrace: frames of the panic itself, of the code that catches panics, and of the program's
//! start. The text for people leaves them out; `frames` has all.

use super::{Frame, Origin};

/// Functions between the panic and its hook. They are the innermost frames.
const TELLING: [&str; 14] = [
    "reslot_plugin_api::inside::panic_hook::",
    "core::panicking::",
    "std::panicking::panic_with_hook",
    "std::panicking::rust_panic_with_hook",
    "std::panicking::begin_panic",
    "std::panicking::panic_handler",
    "std::panic::panic_any",
    "std::sys::backtrace::__rust_end_short_backtrace",
    "rust_begin_unwind",
    "__rustc::rust_begin_unwind",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
];

/// Functions between a function and its caller that catch panics or call closures.
const GLUE: [&str; 11] = [
    "reslot_plugin_api::",
    "reslot::slot::",
    "reslot::image::services::",
    "std::panic::catch_unwind",
    "std::panicking::try",
    "std::panicking::catch_unwind",
    "core::panic::unwind_safe::AssertUnwindSafe",
    "core::ops::function::",
    "alloc::boxed::Box",
    "__rust_try",
    "std::thread::",
];

/// The same by the ends of their files: with line numbers only, an inlined function's name has no path.
const GLUE_FILES: [&str; 10] = [
    "std/src/panic.rs",
    "std/src/panicking.rs",
    "std/src/sys/backtrace.rs",
    "std/src/thread/lifecycle.rs",
    "core/src/panic/unwind_safe.rs",
    "core/src/ops/function.rs",
    "alloc/src/boxed.rs",
    "plugin-api/src/interface.rs",
    "plugin-api/src/root.rs",
    "plugin-api/src/plugin.rs",
];

/// Calls through a pointer to a closure, of which the hook is one.
const CALLS: [&str; 2] = ["alloc::boxed::Box", "core::ops::function::"];

/// The other frames, with their numbers. All frames if none would be left, as for an artifact without names.
pub(super) fn without(frames: &[Frame]) -> impl Iterator<Item = (usize, &Frame)> {
    let (from, to) = (panic_frames(frames), started(frames));
    let kept = move |at: usize| frames[at].origin != Origin::Elsewhere && !is_glue(&frames[at]) && !is_generated(frames, at);
    let some_are = (from..to).any(kept);
    let all = (from..to).filter(move |at| !some_are || kept(*at));
    all.map(|at| (at, &frames[at]))
}

fn is_glue(frame: &Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    is_one_of(frame, &GLUE) || GLUE_FILES.iter().any(|end| file.ends_with(end))
}

/// The two ends of a call, which `#[interface]` wrote: `…Client::method` and `…Table::method`, next to where it is contained.
fn is_generated(frames: &[Frame], at: usize) -> bool {
    let function = frames[at].function.as_deref().unwrap_or_default();
    let mut segments = function.split("::").map(|segment| segment.trim_end_matches('>'));
    let named = segments.any(|segment| segment.ends_with("Table") || segment.ends_with("Client"));
    let before = at.checked_sub(1).and_then(|before| frames.get(before));
    let is_end = |frame: &Frame| is_glue(frame) || frame.origin != frames[at].origin;
    named && (before.is_some_and(is_end) || frames.get(at + 1).is_some_and(is_end))
}

/// The number of innermost frames that belong to the panic.
fn panic_frames(frames: &[Frame]) -> usize {
    let mut until = 0;
    for (at, frame) in frames.iter().enumerate() {
        if is_one_of(frame, &TELLING) {
            until = at + 1;
        } else if !is_one_of(frame, &CALLS) {
            break;
        }
    }
    until
}

/// The index of the first frame of the start of the thread, the program or the test.
fn started(frames: &[Frame]) -> usize {
    let begins = |frame: &Frame| {
        let function = frame.function.as_deref().unwrap_or_default();
        function.contains("__rust_begin_short_backtrace")
    };
    frames.iter().position(begins).unwrap_or(frames.len())
}

fn is_one_of(frame: &Frame, names: &[&str]) -> bool {
    let Some(function) = frame.function.as_deref() else {
        return false;
    };
    // `<T as Trait>::function` is named for its type.
    let function = function.trim_start_matches('<');
    names.iter().any(|name| function.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(functions: &[&str]) -> Vec<Frame> {
        let frame = |name: &&str| Frame {
            function: Some((*name).into()),
            ..Frame::new(Origin::Plugin, "plugin".into(), 0)
        };
        functions.iter().map(frame).collect()
    }

    fn shown(functions: &[&str]) -> Vec<usize> {
        without(&frames(functions)).map(|(number, _)| number).collect()
    }

    #[test]
    fn the_machinery_above_and_below_is_left_out() {
        let functions = [
            "reslot_plugin_api::inside::panic_hook::tell_host",
            "<alloc::boxed::Box<F,A> as core::ops::function::Fn<Args>>::call",
            "std::panicking::panic_with_hook",
            "std::sys::backtrace::__rust_end_short_backtrace",
            "core::panicking::panic_fmt",
            "momentum::inner",
            "std::panicking::catch_unwind::do_call",
            "reslot_plugin_api::interface::contain",
            "desk::round",
            "std::sys::backtrace::__rust_begin_short_backtrace",
            "main",
        ];
        assert_eq!(shown(&functions), [5, 8]);
    }

    #[test]
    fn a_panic_that_was_caught_further_out_hides_nothing() {
        let functions = [
            "core::panicking::panic_fmt",
            "momentum::inner",
            "core::panicking::panic_fmt",
            "momentum::outer",
        ];
        assert_eq!(shown(&functions), [1, 2, 3]);
    }

    #[test]
    fn without_names_everything_is_shown() {
        let nameless = vec![Frame::new(Origin::Elsewhere, "libx.so".into(), 16); 3];
        assert_eq!(without(&nameless).count(), 3);
    }
}
