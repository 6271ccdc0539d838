//! Cases that other well-tested systems have, with their names. Some of them are in other files:
//!
//! - `garbage_and_truncated_file` and `wrong_protocol_version` in `bad_input`, `bad_checksum` in `history::disk`,
//! - `identical_copy_is_not_reloaded` in `main_job`, `two_builds_in_one_second_both_seen` in `folder`,
//! - `atomic_set_one_bad` in `together::bad_member`, `unconfirmed_version_reverts_on_restart` in `history::restart`.

mod lifecycle;
mod loading;
mod state;
mod unloading;
