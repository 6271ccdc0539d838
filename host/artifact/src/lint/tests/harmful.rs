//! Imports that cause an error or a warning.

use super::*;

fn sorted(mut names: [&str; 2]) -> [&str; 2] {
    names.sort_unstable();
    names
}

#[test]
fn harmful_imports_are_refused_and_doubtful_ones_remarked() {
    const WEAK: u8 = 0x22;
    let with = |name: &'static str, info: u8, section: u16| {
        let mut library = Library::default();
        library.symbols.push((name, info, section));
        inspect(&library.build(), &EXPECT)
    };
    let refused = imports::NEVER.iter().map(|never| never.symbol);
    for symbol in refused.clone() {
        let found = with(symbol, FUNCTION, UNDEFINED);
        assert!(
            matches!(&found.findings[..], [LintError::UnsafeImport { symbol: named, .. }] if named == symbol),
            "{symbol}: {found:?}"
        );
        let (text, remedy) = (found.findings[0].to_string(), found.findings[0].remedy());
        assert!(
            text.starts_with(&format!("imports `{symbol}`: ")) && remedy.len() > 10,
            "{text}"
        );
        assert_eq!(found.imports, sorted([symbol, "write"]));
        assert_eq!(with(symbol, FUNCTION, HERE).findings, [], "what it defines itself is its own");
    }
    // libgcc tests for this symbol to detect threads.
    assert_eq!(with("__pthread_key_create", WEAK, UNDEFINED).findings, []);
    assert_eq!(with("on_exit", WEAK, UNDEFINED).findings.len(), 1);
    let doubtful = imports::DOUBTFUL.iter().map(|(symbol, _)| *symbol);
    for symbol in doubtful.clone() {
        let found = with(symbol, FUNCTION, UNDEFINED);
        assert_eq!((found.findings.len(), found.warnings.len()), (0, 1), "{symbol}");
        assert!(found.warnings[0].contains(symbol));
    }
    let mut all: Vec<&str> = refused.chain(doubtful).chain(imports::REPLACED.iter().copied()).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "each symbol is judged once");
    for symbol in [
        "sigaction",
        "signal",
        "__cxa_atexit",
        "__register_atfork",
        "__cxa_at_quick_exit",
        "environ",
        "setitimer",
    ] {
        let found = with(symbol, FUNCTION, UNDEFINED);
        assert_eq!((found.findings, found.warnings), (vec![], vec![]), "{symbol}");
    }
}
