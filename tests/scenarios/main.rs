//! Scenario tests: a real host, real libraries built by cargo, seen from outside only. One file a theme.

mod main_job;
mod support;
