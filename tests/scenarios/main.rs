//! Scenario tests: a real host, real libraries built by cargo, seen from outside only. One file a theme.

mod backtraces;
mod bad_input;
mod c_habits;
mod cases;
mod compat;
mod deadlines;
mod exclusive;
mod folder;
mod health;
mod holders;
mod hosts;
mod main_job;
mod memory;
mod moody;
mod peers;
mod preflight;
mod private_copies;
mod probation;
mod quarantine;
mod races;
mod rollback;
mod safe_points;
mod schemas;
mod support;
mod threads;
mod workers;
