//! Scenario tests: a real host, real libraries built by cargo, seen from outside only. One file a theme.

mod bad_input;
mod c_habits;
mod compat;
mod folder;
mod hosts;
mod main_job;
mod private_copies;
mod races;
mod support;
mod threads;
