//! What `cargo xtask foreign` prints of libraries that behave, that stay, that end the process, and that are none.

use std::{fs, path::Path, process::Command};

fn compile(folder: &Path, name: &str, source: &str) {
    let sources = tempfile::tempdir().unwrap();
    let file = sources.path().join("source.c");
    fs::write(&file, source).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    let built = command
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.join(name))
        .arg(&file)
        .status();
    assert!(built.expect("a C compiler").success());
}

#[test]
fn each_library_has_its_line_and_none_of_them_reaches_the_parent() {
    let folder = tempfile::tempdir().unwrap();
    let constructor = |body: &str| {
        format!("#include <signal.h>\n#include <stdlib.h>\n __attribute__((constructor)) void f(void) {{ {body} }}")
    };
    for (name, source) in [
        ("libgood.so", "int f(void) { return 1; }".to_owned()),
        ("libaborts.so.1", constructor("abort();")),
        ("libfaults.so", constructor("*(volatile int *)0 = 1;")),
        ("libexits.so", constructor("exit(7);")),
        ("libhandles.so", "#include <signal.h>\n static void h(int s) { } __attribute__((constructor)) void f(void) { signal(SIGUSR1, h); }".into()),
    ] {
        compile(folder.path(), name, &source);
    }
    fs::write(folder.path().join("libtext.so"), "INPUT(-lm)").unwrap();
    std::os::unix::fs::symlink("libgood.so", folder.path().join("libagain.so")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_foreign"))
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let expected = [
        ("libgood.so", "unmapped", ""),
        ("libaborts.so.1", "crashed", "signal 6 while it was opened"),
        ("libfaults.so", "crashed", "signal 11 while it was opened"),
        ("libexits.so", "ended the process", "by itself, with 7"),
        ("libhandles.so", "stays", "the handlers of signals [10] point into it"),
        ("libtext.so", "refused", "it looks like a text file"),
    ];
    for (name, outcome, detail) in expected {
        let line = said.lines().find(|line| line.starts_with(name)).expect(name);
        assert!(line.contains(outcome) && line.contains(detail), "{line}");
    }
    for total in [
        "6 libraries",
        "2 crashed",
        "1 stays",
        "1 unmapped",
        "1   of those that stay: signal handlers",
    ] {
        assert!(said.contains(total), "{total:?} is not in\n{said}");
    }
}
