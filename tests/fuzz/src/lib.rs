//! The bodies of the fuzz targets, as ordinary functions: `fuzz/` calls them from libFuzzer, and the test `replay` calls them
//! with the committed inputs, with any compiler. A body panics if a promise about its input is broken.
//!
//! To add a target: a function here and a row in [`TARGETS`], a file in `fuzz/fuzz_targets`, a `[[bin]]` in
//! `fuzz/Cargo.toml`, and some seeds in `fuzz/corpus`.

mod artifact;
mod compare;
mod control;
mod elf;
mod events;
mod history;
mod manifest;
mod marshal;
mod metrics;
mod settings;
mod state;

pub use artifact::{artifact, built_artifact, debug_info};
pub use compare::{Case, Edit, compare, fits, verdict};
pub use control::control;
pub use events::events;
pub use history::history;
pub use manifest::manifest;
pub use marshal::marshal;
pub use metrics::metrics;
pub use settings::settings;
pub use state::state;

/// A target: what it does with one input.
pub type Body = fn(&[u8]);

/// Every target, by its name in `fuzz/`.
pub const TARGETS: [(&str, Body); 12] = [
    ("artifact", artifact),
    ("built_artifact", built_artifact),
    ("compare", compare),
    ("control", control),
    ("debug_info", debug_info),
    ("events", events),
    ("history", history),
    ("manifest", manifest),
    ("marshal", marshal),
    ("metrics", metrics),
    ("settings", settings),
    ("state", state),
];

/// A message about a file has no control characters of it, and is not as long as the file.
fn is_safe_for_a_terminal(text: &str) {
    assert!(
        text.chars().all(|letter| letter == '\n' || !letter.is_control()),
        "control characters of a file in {text:?}"
    );
    assert!(text.len() < 1 << 20, "a message of {} bytes", text.len());
}
