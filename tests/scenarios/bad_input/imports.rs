//! Imports that no plugin can use safely.

use super::*;

#[test]
fn imports_that_no_plugin_can_use_safely_are_refused_each_with_an_alternative() {
    let words = &[
        "imports `on_exit`: its handler runs when the host exits",
        "use the plugin's `stop`, or atexit",
    ];
    let bad = Bad::fixture("fx-unsafe-imports", Step::Lint, words);
    let findings = reslot::artifact::inspect(&bad.bytes).findings;
    for symbol in [
        "on_exit",
        "thrd_create",
        "tss_create",
        "__pthread_key_create",
        "register_printf_function",
        "register_printf_specifier",
        "register_printf_type",
    ] {
        let named = format!("imports `{symbol}`: ");
        assert!(
            findings.iter().any(|finding| finding.to_string().starts_with(&named)),
            "{symbol}: {findings:?}"
        );
    }
    assert_eq!(findings.len(), 7, "{findings:?}");
    bad.is_never_taken();
}
