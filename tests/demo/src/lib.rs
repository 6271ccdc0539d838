//! The programs behind `cargo xtask demo`, `run`, `inspect`, `stress` and `bench`.
