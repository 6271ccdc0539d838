//! Properties of randomly generated input, and the replay of the inputs of the fuzz targets.
//!
//! A failure of a property prints the smallest case that was found, and writes its seed to `proptest-regressions/`: commit
//! that file, and every later run begins with it. `PROPTEST_CASES=100000` looks longer than the usual 256.

mod calls;
mod layers;
mod layouts;
mod replay;
mod verdicts;
