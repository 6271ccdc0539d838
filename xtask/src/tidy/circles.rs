//! Finds import cycles inside a crate. A file that imports another one cannot be understood without it, and in a cycle this
//! holds both ways. A cycle of two or three files in one folder is allowed. A larger cycle, or one across folders, is
//! effectively one large file.
//!
//! Imports of a module from its own folder (`use child::Name`) do not count, because these files are its parts. Tests are
//! not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Item, UseTree, Visibility};

/// The largest allowed cycle in one folder.
const MOST: usize = 3;

/// The path of a module in its crate; the crate's root has none.
type Module = Vec<String>;

/// A cycle of files that import each other.
#[derive(Debug, PartialEq)]
pub struct Circle {
    /// In the order of their names.
    pub files: Vec<PathBuf>,
    /// Whether they are in several folders.
    pub crosses: bool,
}

/// The forbidden cycles among the files of a crate, which are given by their paths below `src` and their texts.
pub fn too_large(files: &[(PathBuf, String)]) -> Vec<Circle> {
    let krate = Crate::read(files);
    let circles = krate.circles().into_iter().map(|modules| {
        let folders: BTreeSet<_> = modules.iter().map(|module| krate.folder(module)).collect();
        Circle {
            files: modules.iter().map(|module| krate.modules[module].file.clone()).collect(),
            crosses: folders.len() > 1,
        }
    });
    circles.filter(|circle| circle.crosses || circle.files.len() > MOST).collect()
}

struct Crate {
    modules: BTreeMap<Module, Source>,
}

#[derive(Default)]
struct Source {
    file: PathBuf,
    /// The paths of its own crate that it uses, from the root.
    named: Vec<Vec<String>>,
    /// The paths that it re-exports, by name.
    passed_on: BTreeMap<String, Vec<String>>,
}

impl Crate {
    fn read(files: &[(PathBuf, String)]) -> Self {
        let modules = files.iter().filter_map(|(file, text)| {
            let module = module_of(file)?;
            let mut source = Source {
                file: file.clone(),
                ..Source::default()
            };
            // Files that do not parse are skipped; rustc reports them.
            for item in syn::parse_file(text).map_or_else(|_| Vec::new(), |parsed| parsed.items) {
                source.read(&module, &item);
            }
            Some((module, source))
        });
        Self {
            modules: modules.collect(),
        }
    }

    /// The module to which a path leads, after following re-exports.
    fn target(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        // Longer chains of re-exports do not occur.
        for _ in 0..8 {
            let at = (0..=path.len()).rev().find(|at| self.modules.contains_key(&path[..*at]))?;
            let (module, rest) = path.split_at(at);
            let next = rest.first().and_then(|name| self.modules[module].passed_on.get(name));
            match next {
                Some(next) => path = next.clone(),
                None => return Some(module.to_vec()),
            }
        }
        None
    }

    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let named = self.modules[module].named.iter();
        let targets = named.filter_map(|path| self.target(path));
        // The root of a crate only declares modules.
        targets.filter(|target| target != module && !target.is_empty()).collect()
    }

    /// The sets of files that reach each other.
    fn circles(&self) -> Vec<Vec<Module>> {
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            self.modules.keys().map(|from| (from, self.reached(from))).collect();
        let mut circles: BTreeSet<Vec<Module>> = BTreeSet::new();
        for (from, all) in &reached {
            let both = all.iter().filter(|to| reached[to].contains(*from));
            let circle: Vec<Module> = both.cloned().collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reached(&self, from: &Module) -> BTreeSet<Module> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<Module> = self.imports(from).into_iter().collect();
        while let Some(next) = open.pop() {
            if reached.insert(next.clone()) {
                open.extend(self.imports(&next));
            }
        }
        reached
    }

    /// The folder of a file. A file with a folder of the same name belongs to that folder.
    fn folder(&self, module: &Module) -> Module {
        let has_own = self
            .modules
            .keys()
            .any(|other| other.len() > module.len() && other.starts_with(module));
        match has_own {
            true => module.clone(),
            false => module[..module.len() - 1].to_vec(),
        }
    }
}

impl Source {
    fn read(&mut self, module: &Module, item: &Item) {
        match item {
            Item::Use(one) => {
                let passes_on = !matches!(one.vis, Visibility::Inherited);
                for (path, name) in leaves(&one.tree) {
                    let Some(path) = from_root(module, &path, passes_on) else {
                        continue;
                    };
                    if passes_on {
                        self.passed_on.insert(name, path);
                    } else {
                        self.named.push(path);
                    }
                }
            }
            Item::Mod(one) if is_test(&one.attrs) => {}
            other => {
                let text = other.to_token_stream().to_string();
                let paths = ["crate", "super"].into_iter().flat_map(|root| inline_paths(&text, root));
                let paths: Vec<_> = paths.filter_map(|path| from_root(module, &path, false)).collect();
                self.named.extend(paths);
            }
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("test"))
}

/// `slot/generation.rs` is `slot::generation`; none for tests.
fn module_of(file: &Path) -> Option<Module> {
    let stem = file.with_extension("");
    let mut module: Module = stem.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.iter().any(|part| part == "tests" || part == "bin") {
        return None;
    }
    if let [root] = &module[..]
        && (root == "lib" || root == "main")
    {
        module.clear();
    }
    Some(module)
}

/// Each path of a `use`, with the name that it introduces.
pub(super) fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            let below = leaves(&path.tree).into_iter();
            below
                .map(|(mut path, name)| {
                    path.insert(0, first.clone());
                    let name = if name == "self" { first.clone() } else { name };
                    (path, name)
                })
                .collect()
        }
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(name) => vec![(vec![name.ident.to_string()], name.rename.to_string())],
        UseTree::Glob(_) => vec![(Vec::new(), "*".to_owned())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// A path from the root of the crate. One without a root is taken for one of a module below if `passes_on` says so, as in
/// `pub use child::Name`; else it is another crate's, or a part of this very module.
fn from_root(module: &Module, path: &[String], passes_on: bool) -> Option<Vec<String>> {
    let mut base = module.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
        }
        _ if passes_on => {}
        _ => return None,
    }
    base.extend(rest.iter().filter(|part| *part != "self").cloned());
    Some(base)
}

/// The paths that begin with `root` in the tokens of an item.
fn inline_paths(text: &str, root: &str) -> Vec<Vec<String>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_name = |word: &&&str| word.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    let mut paths = Vec::new();
    for at in (0..words.len()).filter(|at| words[*at] == root) {
        let mut path = vec![root.to_owned()];
        let mut next = at + 1;
        while words.get(next) == Some(&"::")
            && let Some(name) = words.get(next + 1).filter(is_name)
        {
            path.push((*name).to_owned());
            next += 2;
        }
        if path.len() > 1 {
            paths.push(path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<(Vec<String>, bool)> {
        let files: Vec<_> = files
            .iter()
            .map(|(file, text)| (PathBuf::from(file), (*text).to_owned()))
            .collect();
        let named = |circle: Circle| {
            let names = circle.files.iter().map(|file| file.display().to_string()).collect();
            (names, circle.crosses)
        };
        too_large(&files).into_iter().map(named).collect()
    }

    #[test]
    fn circle_that_crosses_a_folder_is_found_through_reexports() {
        let found = circles(&[
            ("lib.rs", "mod host; mod slot;"),
            ("host.rs", "use crate::slot::Claim;"),
            ("slot.rs", "mod claim; pub(crate) use claim::Claim;"),
            ("slot/claim.rs", "fn f() { crate::host::after(); }"),
        ]);
        assert_eq!(found, [(vec!["host.rs".to_owned(), "slot/claim.rs".to_owned()], true)]);
    }

    #[test]
    fn three_files_of_one_folder_may_import_each_other_and_four_may_not() {
        let mut files = vec![
            ("a.rs", "mod one; mod two; mod three; mod four;"),
            ("a/one.rs", "use super::two::X;"),
            ("a/two.rs", "use super::three::X;"),
            ("a/three.rs", "use super::{one::{self, X}};"),
        ];
        assert!(circles(&files).is_empty());
        files[3].1 = "use super::four::X;";
        files.push(("a/four.rs", "use crate::a::one::X;"));
        assert_eq!(circles(&files)[0].0.len(), 4);
    }

    #[test]
    fn module_and_its_folder_are_one_and_tests_do_not_count() {
        let files = [
            ("a.rs", "mod inner; use inner::X; struct Y;"),
            ("a/inner.rs", "use super::Y;"),
            ("b.rs", "use crate::a::Y; struct Z;"),
            ("a/tests.rs", "use crate::b::Z;"),
            ("c.rs", "struct W; #[cfg(test)] mod tests { use crate::d::V; }"),
            ("d.rs", "use crate::c::W; struct V;"),
        ];
        assert!(circles(&files).is_empty());
    }
}
