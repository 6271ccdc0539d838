//! Properties that hold for whatever is made up, and the replay of what the fuzz targets have found.
//!
//! A failure of a property prints the smallest case that was found, and writes its seed to `proptest-regressions/`: commit
//! that file, and every later run begins with it. `PROPTEST_CASES=100000` looks longer than the usual 256.

mod layers;
mod layouts;
mod replay;
mod verdicts;
