//! What the macros refuse, in the words in which they refuse it, and what they accept. Each file in `refusals/` is named for
//! the one thing that is wrong with it; each in `accepted/` compiles without a warning.
//!
//! After a change of words: `TRYBUILD=overwrite cargo test -p reslot-plugin-api --test refusals`, and read the diff.

#[test]
fn refusals_name_the_type_and_the_remedy() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/refusals/*.rs");
    cases.pass("tests/accepted/*.rs");
}
