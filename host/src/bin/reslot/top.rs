//! `reslot top`: a running host on one screen. `model` is what is known, `draw` puts it on a screen, `keys` reads what was typed,
//! `watcher` asks the host, `source` says what there is to ask, `terminal` is the terminal and the signals, and `run` is the loop that
//! joins them. Nothing here knows more of a host than `reslot::control::protocol` says.

mod draw;
mod keys;
mod model;
mod run;
#[cfg(test)]
mod samples;
mod source;
mod terminal;
mod text;
mod watcher;

pub(crate) use run::run;
pub(crate) use source::Socket;
