//! Scenario tests: a real host, real libraries built by cargo, seen from outside only. One file a theme.

mod backtraces;
mod bad_input;
mod c_habits;
mod cases;
mod compat;
mod folder;
mod history;
mod holders;
mod hosts;
mod main_job;
mod memory;
mod peers;
mod preflight;
mod preflight_in_host;
mod private_copies;
mod quarantine;
mod races;
mod safe_points;
mod schemas;
mod support;
mod threads;
mod together;
mod workers;
