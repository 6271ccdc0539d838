//! Builds variants of plugins for demos and tests, as after an edit. A plugin's package is copied with some lines replaced
//! and with its own name. One call of cargo builds all variants in a workspace under the target folder. The plugins
//! themselves are not changed, and cargo reuses earlier builds.

use std::{fs, io, path::Path, process::Stdio};

use toml::{Table, Value};

use crate::{Error, Profile, Workspace, cargo, keep_profiles_of};

/// A plugin with some lines replaced, or unchanged.
///
/// If a plugin's slot is named after its package, the variant is for a slot of another name. To keep the slot, the plugin
/// sets its name: `export_plugin!(…, name = "momentum")`. `Cargo.toml` and the files in `src` are copied, but no folders.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// The variant's name.
    pub name: &'static str,
    /// The package that is copied.
    pub of: &'static str,
    /// The replacements in the package's `src/lib.rs`. Each text must occur exactly once, after the earlier replacements.
    pub edits: &'static [(&'static str, &'static str)],
}

/// Builds all of these, and copies each library to `lib<name>.so` in `into`, a folder for these builds only.
///
/// `place` names the workspace of the build. A second build in it waits.
///
/// # Errors
/// If a package is unknown, if a text to replace does not occur exactly once, or if the compiler refuses a variant.
pub fn build_variants(
    workspace: &Workspace,
    place: &str,
    variants: &[Variant],
    profile: Profile,
    into: &Path,
) -> Result<(), Error> {
    let folder = workspace.target.join("reslot").join("variants").join(place);
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let lock = folder.join("lock");
    let held = fs::File::create(&lock).map_err(Error::io("create", &lock))?;
    held.lock().map_err(Error::io("lock", &lock))?;

    write_if_other(&folder.join("Cargo.toml"), &manifest(workspace, variants)?)?;
    copy(&workspace.root.join("Cargo.lock"), &folder.join("Cargo.lock"))?;
    for variant in variants {
        write(workspace, place, variant, &folder.join(variant.name))?;
    }

    let mut command = cargo();
    command
        .current_dir(&folder)
        .args(["build", "--workspace", "--offline", "--quiet"]);
    command.args(profile.arguments()).arg("--target-dir").arg(&workspace.target);
    let answer = command.stdin(Stdio::null()).output();
    let answer = answer.map_err(Error::io("start", Path::new(command.get_program())))?;
    if !answer.status.success() {
        return Err(Error::Variants {
            folder,
            said: String::from_utf8_lossy(&answer.stderr).trim_end().to_owned(),
        });
    }
    let built = workspace.target.join(match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    });
    for Variant { name, .. } in variants {
        let library = format!("lib{}.so", package(place, name).replace('-', "_"));
        copy(&built.join(library), &into.join(format!("lib{name}.so")))?;
    }
    Ok(())
}

/// Cargo puts all libraries into one folder, so each needs its own name.
fn package(place: &str, name: &str) -> String {
    format!("variant-{place}-{name}")
}

fn write(workspace: &Workspace, place: &str, variant: &Variant, to: &Path) -> Result<(), Error> {
    let plugins = || workspace.packages().filter(|package| package.is_library_for_loading);
    let of = workspace
        .loadable(variant.of)
        .ok_or_else(|| reslot_project::Error::UnknownPlugin {
            name: variant.of.to_owned(),
            known: plugins().map(|package| package.name.clone()).collect(),
        })?;
    let source = of.folder.join("src");
    fs::create_dir_all(to.join("src")).map_err(Error::io("create", to))?;
    for entry in fs::read_dir(&source).map_err(Error::io("list", &source))? {
        let file = entry.map_err(Error::io("list", &source))?.file_name();
        let mut text = read(&source.join(&file))?;
        if file == "lib.rs" {
            text = edited(text, variant, &source.join(&file))?;
        }
        write_if_other(&to.join("src").join(&file), &text)?;
    }
    let file = of.folder.join("Cargo.toml");
    let mut own = table(&file)?;
    if let Some(Value::Table(package_of)) = own.get_mut("package") {
        package_of.insert("name".to_owned(), package(place, variant.name).into());
    }
    if let Some(Value::Table(library)) = own.get_mut("lib") {
        // A plugin may also be an rlib, for programs that link it. A library that is compiled as both cannot be loaded, so
        // only the cdylib is built.
        library.insert("crate-type".to_owned(), vec![Value::from("cdylib")].into());
    }
    write_if_other(&to.join("Cargo.toml"), &own.to_string())
}

fn table(file: &Path) -> Result<Table, Error> {
    let broken =
        |error: toml::de::Error| Error::io("read", file)(io::Error::new(io::ErrorKind::InvalidData, error.to_string()));
    read(file)?.parse().map_err(broken)
}

fn edited(mut text: String, variant: &Variant, file: &Path) -> Result<String, Error> {
    for (old, new) in variant.edits {
        let found = text.matches(old).count();
        if found != 1 {
            return Err(Error::Edit {
                variant: variant.name,
                file: file.to_owned(),
                edit: old,
                found,
            });
        }
        text = text.replace(old, new);
    }
    Ok(text)
}

/// The repository's manifest with the variants as members and with absolute paths.
fn manifest(workspace: &Workspace, variants: &[Variant]) -> Result<String, Error> {
    let file = workspace.root.join("Cargo.toml");
    let broken = |why: String| Error::io("read", &file)(io::Error::new(io::ErrorKind::InvalidData, why));
    let mut manifest = table(&file)?;
    let Some(Value::Table(shared)) = manifest.get_mut("workspace") else {
        return Err(broken("it has no [workspace]".to_owned()));
    };
    let members = variants.iter().map(|variant| Value::from(variant.name)).collect();
    shared.insert("members".to_owned(), Value::Array(members));
    shared.remove("exclude");
    if let Some(Value::Table(dependencies)) = shared.get_mut("dependencies") {
        for (_, dependency) in dependencies {
            if let Some(Value::String(path)) = dependency.get_mut("path") {
                *path = workspace.root.join(&*path).display().to_string();
            }
        }
    }
    let lock = read(&workspace.root.join("Cargo.lock"))?;
    let originals: Vec<_> = variants.iter().map(|variant| variant.of).collect();
    keep_profiles_of(&mut manifest, &lock, &originals);
    Ok(manifest.to_string())
}

fn read(file: &Path) -> Result<String, Error> {
    fs::read_to_string(file).map_err(Error::io("read", file))
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(drop).map_err(Error::io("copy", from))
}

/// An unchanged file is not written, because cargo compares modification times.
fn write_if_other(file: &Path, text: &str) -> Result<(), Error> {
    match fs::read_to_string(file) {
        Ok(there) if there == text => Ok(()),
        _ => fs::write(file, text).map_err(Error::io("write", file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with a plugin of no dependencies, whose output stays in it.
    fn workspace(at: &Path) -> Workspace {
        let plugin = at.join("plugins/answers");
        fs::create_dir_all(plugin.join("src")).expect("a folder");
        let files = [
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"3\"\nmembers = [\"plugins/*\"]\n[profile.dev.package.answers]\nopt-level = 1\n",
            ),
            ("Cargo.lock", "version = 4\n"),
            (
                "plugins/answers/Cargo.toml",
                "[package]\nname = \"answers\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n",
            ),
            (
                "plugins/answers/src/lib.rs",
                "mod word;\npub use word::WORD;\n#[used]\npub static ANSWER: &str = \"forty-two\";\n",
            ),
            (
                "plugins/answers/src/word.rs",
                "#[used]\npub static WORD: &str = \"the answer is\";\n",
            ),
        ];
        for (file, text) in files {
            fs::write(at.join(file), text).expect("write");
        }
        let mut workspace = Workspace::read(at).expect("a workspace");
        workspace.target = at.join("target");
        workspace
    }

    fn variant(name: &'static str, edits: &'static [(&'static str, &'static str)]) -> Variant {
        Variant {
            name,
            of: "answers",
            edits,
        }
    }

    #[test]
    fn all_are_built_each_with_its_edits_and_what_was_built_is_found_again() {
        let (at, into) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let workspace = workspace(at.path());
        let variants = [
            variant("as-it-is", &[]),
            variant("other", &[("\"forty-two\"", "\"forty-three\"")]),
        ];
        let has = |name: &str, words: &str| {
            let library = fs::read(into.path().join(format!("lib{name}.so"))).expect("it was built");
            library.windows(words.len()).any(|part| part == words.as_bytes())
        };
        let build = |variants: &[Variant]| build_variants(&workspace, "test", variants, Profile::Debug, into.path());
        build(&variants).expect("they build");
        assert!(has("as-it-is", "forty-two") && !has("as-it-is", "forty-three"));
        assert!(has("other", "forty-three") && !has("other", "forty-two"));
        assert!(has("other", "the answer is"), "its other files are copied as well");

        let written = |file: &str| {
            let file = workspace.target.join("reslot/variants/test").join(file);
            fs::metadata(file).and_then(|found| found.modified()).expect("it is there")
        };
        let before = ["Cargo.toml", "other/Cargo.toml", "other/src/lib.rs"].map(written);
        build(&variants).expect("they build");
        assert_eq!(before, ["Cargo.toml", "other/Cargo.toml", "other/src/lib.rs"].map(written));
        let source = fs::read_to_string(at.path().join("plugins/answers/src/lib.rs")).expect("it is there");
        assert!(source.contains("forty-two"), "the plugin itself is as it was");
    }

    #[test]
    fn an_edit_that_does_not_apply_a_mistake_and_an_unknown_plugin_are_named() {
        let (at, into) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let workspace = workspace(at.path());
        let refused = |variant: Variant| {
            let variants = [variant];
            let built = build_variants(&workspace, "test", &variants, Profile::Debug, into.path());
            built.expect_err("it cannot be built").to_string()
        };
        let nowhere = refused(variant("none", &[("forty-one", "forty")]));
        assert!(
            nowhere.contains("plugins/answers/src/lib.rs") && nowhere.contains("\"forty-one\""),
            "{nowhere}"
        );
        let often = refused(variant("often", &[("pub ", "")]));
        assert!(often.contains("2 times"), "{often}");
        let mistaken = refused(variant("mistaken", &[("\"forty-two\"", "42")]));
        assert!(
            mistaken.contains("mismatched types") && mistaken.contains("mistaken/src/lib.rs:4"),
            "{mistaken}"
        );
        let unknown = refused(Variant {
            of: "questions",
            ..variant("unknown", &[])
        });
        assert!(unknown.contains("`questions`") && unknown.contains("answers"), "{unknown}");
        assert!(
            fs::read_dir(into.path()).expect("a folder").next().is_none(),
            "nothing was copied"
        );
    }
}
