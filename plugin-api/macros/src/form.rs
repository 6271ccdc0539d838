//! Finds out whether the compiled crate will be loaded from a file or linked into a program.
//!
//! Only the crate types tell this. A cargo feature would apply to every use of the crate in one build, and an option of
//! `export_plugin!` would need a change of the source. Cargo passes the crate types only on the compiler's command line. A
//! procedural macro runs inside the compiler, so it can read them there.

use proc_macro::{Delimiter, TokenStream, TokenTree};

/// The form of a plugin's crate, from the compiler's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A library file for a host, or a program or test of its own.
    Loadable,
    /// The crate also becomes an rlib, which is linked into a program.
    Linkable,
}

/// Returns the tokens of the form that applies, from `loadable { … } linkable { … }`.
pub(crate) fn choose(forms: TokenStream) -> TokenStream {
    let wanted = match form_by(std::env::args()) {
        Form::Loadable => "loadable",
        Form::Linkable => "linkable",
    };
    let mut found = false;
    let chosen = forms.into_iter().find_map(|token| match token {
        TokenTree::Ident(name) => {
            found = name.to_string() == wanted;
            None
        }
        TokenTree::Group(group) if found && group.delimiter() == Delimiter::Brace => Some(group.stream()),
        _ => None,
    });
    chosen.unwrap_or_default()
}

/// An editor's language server compiles nothing and has no such arguments. It gets the form that other crates can refer to.
fn form_by(arguments: impl Iterator<Item = String>) -> Form {
    let (mut types, mut is_test) = (Vec::new(), false);
    let mut arguments = arguments.flat_map(with_files);
    while let Some(argument) = arguments.next() {
        let given = match argument.split_once('=') {
            Some(("--crate-type", given)) => Some(given.to_owned()),
            _ if argument == "--crate-type" => arguments.next(),
            _ => None,
        };
        types.extend(given.iter().flat_map(|given| given.split(',')).map(str::to_owned));
        is_test |= argument == "--test";
    }
    match types.iter().any(|given| given == "rlib" || given == "lib") || types.is_empty() {
        true if !is_test => Form::Linkable,
        _ => Form::Loadable,
    }
}

/// If a command line is too long for the system, `@FILE` means the lines of a file.
fn with_files(argument: String) -> Vec<String> {
    let read = argument.strip_prefix('@').and_then(|file| std::fs::read_to_string(file).ok());
    match read {
        Some(lines) => lines.lines().map(str::to_owned).collect(),
        None => vec![argument],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(arguments: &str) -> Form {
        form_by(arguments.split(' ').map(str::to_owned))
    }

    #[test]
    fn crate_types_decide() {
        for loadable in [
            "rustc --crate-name momentum --crate-type cdylib --emit=dep-info,link",
            "rustc --crate-type=cdylib src/lib.rs",
            "rustc --crate-type bin src/main.rs",
            "rustc --crate-name momentum --test",
            "rustc --test --crate-type rlib",
        ] {
            assert_eq!(form(loadable), Form::Loadable, "{loadable}");
        }
        for linkable in [
            "rustc --crate-name momentum --crate-type cdylib --crate-type rlib --emit=dep-info,link",
            "rustc --crate-type cdylib,rlib src/lib.rs",
            "rustc --crate-type=lib src/lib.rs",
            "rust-analyzer-proc-macro-srv",
        ] {
            assert_eq!(form(linkable), Form::Linkable, "{linkable}");
        }
    }

    #[test]
    fn arguments_may_stand_in_a_file() {
        let file = std::env::temp_dir().join(format!("reslot-arguments-{}", std::process::id()));
        std::fs::write(&file, "--crate-name\nmomentum\n--crate-type\ncdylib\n").expect("a temporary file");
        let form = form(&format!("rustc @{}", file.display()));
        std::fs::remove_file(&file).expect("it is ours");
        assert_eq!(form, Form::Loadable);
    }
}
