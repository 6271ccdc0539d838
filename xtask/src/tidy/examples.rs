//! Whether each type that an embedder calls shows how: every public type of `reslot` that has methods has an example in its documentation, or in
//! that of one of its methods.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, ImplItem, Item, Meta, TraitItem, Type, Visibility};

use super::circles::leaves;

/// The files by which `reslot` passes types on: what they define or name in a `pub use` is public.
pub const FACES: [&str; 8] = [
    "host/runtime/src/lib.rs",
    "host/runtime/src/surface.rs",
    "host/runtime/src/testing.rs",
    "host/native/src/foreign.rs",
    "host/config/src/lib.rs",
    "host/control/src/lib.rs",
    "host/control/src/protocol.rs",
    "host/metrics/src/lib.rs",
];

/// Types without an example, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("Engine", "a program gives one to a builder, whose documentation shows it"),
    ("GenerationHolders", MADE_BY_THE_HOST),
    ("PreflightReport", MADE_BY_THE_HOST),
    ("Record", MADE_BY_THE_HOST),
    ("ReloadReport", MADE_BY_THE_HOST),
    ("RetireReport", MADE_BY_THE_HOST),
    ("RollbackReport", MADE_BY_THE_HOST),
    ("SchemaGap", MADE_BY_THE_HOST),
    ("UnmappedImage", MADE_BY_THE_HOST),
    ("Answer", MADE_BY_THE_HOST),
    ("Answered", MADE_BY_THE_HOST),
    ("Refused", MADE_BY_THE_HOST),
];

/// A caller reads its fields; its only methods make one.
const MADE_BY_THE_HOST: &str = "plain data that the host makes";

/// A public type without an example.
#[derive(Debug, PartialEq)]
pub struct Missing {
    pub file: PathBuf,
    pub line: usize,
    pub name: String,
}

#[derive(Default)]
struct Known {
    place: Option<(PathBuf, usize)>,
    has_methods: bool,
    has_example: bool,
}

/// The public types among `files` that have methods and no example. `files` are paths in the repository, with their texts.
pub fn missing(files: &[(PathBuf, String)]) -> Vec<Missing> {
    let mut public = BTreeSet::new();
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    // The crates of a host use its types, which have the names of std's; no embedder does.
    let files = files.iter().filter(|(file, _)| !file.starts_with("host/sync"));
    for (file, text) in files {
        // What does not parse is rustc's to find.
        let items = syn::parse_file(text).map_or_else(|_| Vec::new(), |parsed| parsed.items);
        if FACES.iter().any(|face| file == Path::new(face)) {
            passed_on(&items, &mut public);
        }
        defined(file, text, &items, &mut known);
    }
    let is_excused = |name: &str| WITHOUT.iter().any(|(excused, _)| *excused == name);
    let shown = known
        .into_iter()
        .filter(|(name, _)| public.contains(name) && !is_excused(name));
    let lacking = shown.filter(|(_, known)| known.has_methods && !known.has_example);
    let mut missing: Vec<_> = lacking
        .filter_map(|(name, known)| {
            let (file, line) = known.place?;
            Some(Missing { file, line, name })
        })
        .collect();
    missing.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    missing
}

/// The names that a file makes public.
fn passed_on(items: &[Item], public: &mut BTreeSet<String>) {
    for item in items {
        match item {
            Item::Use(one) if is_public(&one.vis) => public.extend(leaves(&one.tree).into_iter().map(|(_, name)| name)),
            Item::Struct(one) if is_public(&one.vis) => drop(public.insert(one.ident.to_string())),
            Item::Enum(one) if is_public(&one.vis) => drop(public.insert(one.ident.to_string())),
            Item::Trait(one) if is_public(&one.vis) => drop(public.insert(one.ident.to_string())),
            Item::Mod(one) if is_public(&one.vis) && !is_hidden(&one.attrs) => {
                let within = one.content.as_ref().map(|(_, items)| &items[..]);
                passed_on(within.unwrap_or_default(), public);
            }
            _ => {}
        }
    }
}

/// The types that a file defines, and what it says of them.
fn defined(file: &Path, text: &str, items: &[Item], known: &mut BTreeMap<String, Known>) {
    let mut define = |name: String, kind: &str, attributes: &[Attribute]| {
        let begins = [format!("pub {kind} {name}"), format!("pub unsafe {kind} {name}")];
        let of_it = |line: &str| {
            begins.iter().any(|begin| {
                let rest = line.trim_start().strip_prefix(&begin[..]);
                rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
            })
        };
        let line = text.lines().position(of_it).map_or(1, |at| at + 1);
        let known = known.entry(name).or_default();
        known.place.get_or_insert_with(|| (file.to_owned(), line));
        known.has_example |= shows(attributes);
    };
    for item in items {
        match item {
            Item::Struct(one) if is_public(&one.vis) => define(one.ident.to_string(), "struct", &one.attrs),
            Item::Enum(one) if is_public(&one.vis) => define(one.ident.to_string(), "enum", &one.attrs),
            Item::Trait(one) if is_public(&one.vis) => define(one.ident.to_string(), "trait", &one.attrs),
            _ => {}
        }
    }
    for item in items {
        match item {
            Item::Impl(one) if one.trait_.is_none() => {
                let Some(name) = name_of(&one.self_ty) else { continue };
                for method in &one.items {
                    if let ImplItem::Fn(method) = method
                        && is_public(&method.vis)
                        && !is_hidden(&method.attrs)
                    {
                        let known = known.entry(name.clone()).or_default();
                        known.has_methods = true;
                        known.has_example |= shows(&method.attrs);
                    }
                }
            }
            Item::Trait(one) if is_public(&one.vis) => {
                let has_methods = one.items.iter().any(|item| matches!(item, TraitItem::Fn(_)));
                known.entry(one.ident.to_string()).or_default().has_methods |= has_methods;
            }
            Item::Mod(one) => {
                let within = one.content.as_ref().map(|(_, items)| &items[..]);
                defined(file, text, within.unwrap_or_default(), known);
            }
            _ => {}
        }
    }
}

fn name_of(one: &Type) -> Option<String> {
    match one {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    let mut texts = attributes.iter().map(|attribute| attribute.to_token_stream().to_string());
    texts.any(|text| text.contains("doc (hidden)"))
}

/// Whether there is Rust code in this documentation that at least compiles.
fn shows(attributes: &[Attribute]) -> bool {
    let docs = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => Some(doc.value.to_token_stream().to_string()),
        _ => None,
    });
    let blocks = docs.filter_map(|text| Some(text.split_once("```")?.1.trim_end_matches('"').trim().to_owned()));
    // Each block has a first and a last fence; the first one says what is in it.
    blocks
        .step_by(2)
        .any(|kind| matches!(&*kind, "" | "rust" | "no_run" | "rust,no_run" | "should_panic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let files: Vec<_> = files
            .iter()
            .map(|(file, text)| (PathBuf::from(file), (*text).to_owned()))
            .collect();
        missing(&files)
            .into_iter()
            .map(|missing| (missing.name, missing.line))
            .collect()
    }

    const FACE: &str = "pub use slot::{Slot, Other as Known};\n#[doc(hidden)] pub mod __inner { pub use crate::Hidden; }";

    #[test]
    fn type_with_methods_and_no_example_is_found() {
        let slot = "/// A slot.\npub struct Slot;\nimpl Slot {\n    pub fn load(&self) {}\n}\npub struct Slots;\n";
        let found = names(&[(FACES[0], FACE), ("host/runtime/src/slot.rs", slot)]);
        assert_eq!(found, [("Slot".to_owned(), 2)]);
        // Nothing is public without a face.
        assert!(names(&[("host/runtime/src/slot.rs", slot)]).is_empty());
    }

    #[test]
    fn example_may_stand_at_the_type_or_at_a_method() {
        for text in [
            "/// A slot.\n/// ```\n/// ```\npub struct Slot;\nimpl Slot { pub fn load(&self) {} }",
            "pub struct Slot;\nimpl Slot {\n/// ```\n/// ```\npub fn load(&self) {} }",
            "pub struct Slot;\nimpl Slot { fn load(&self) {} }\nimpl Clone for Slot { fn clone(&self) -> Self { Slot } }",
            "pub struct Hidden;\nimpl Hidden { pub fn load(&self) {} }",
        ] {
            assert!(
                names(&[(FACES[0], FACE), ("host/runtime/src/slot.rs", text)]).is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn trait_with_methods_needs_one_too() {
        let found = names(&[(FACES[1], "pub trait Surface { fn start(self); }\npub trait Marker {}")]);
        assert_eq!(found, [("Surface".to_owned(), 1)]);
    }
}
