//! The text of a new plugin: a crate that builds, with a test that reloads it while it is called.

use std::collections::BTreeSet;

use quote::ToTokens;
use syn::{ReturnType, Type};

use super::interfaces::{Interfaces, Method, dyn_name, implementor};

/// The input of a template.
pub struct Template<'a> {
    /// The name of the package and the slot.
    pub name: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The interface crate, as in a `use`.
    pub crate_name: &'a str,
    /// The items of that crate.
    pub interfaces: &'a Interfaces,
}

impl Template<'_> {
    /// Whether the plugin has one owner. A plugin that is called only by `&self` is made for many threads, without state.
    pub fn has_owner(&self) -> bool {
        self.interfaces
            .methods(self.interface)
            .iter()
            .any(|method| method.takes_self_mutably)
    }

    /// `src/lib.rs`
    pub fn library(&self) -> String {
        let Self {
            name,
            interface,
            crate_name,
            ..
        } = self;
        let mut ty = type_name(name);
        // The plugin may have the same name as its interface.
        if !self.interfaces.named_in(&ty).is_empty() {
            ty += "Plugin";
        }
        let body = self.implementation(interface, &ty, self.has_owner());
        let uses = self.uses(&body, Some(interface));
        let (state, declaration, options) = if self.has_owner() {
            (
                "use serde::{Deserialize, Serialize};\n",
                format!(
                    "/// Its value is its state: the next build starts from it. A new field needs `#[serde(default)]`.\n\
                     #[derive(Default, Serialize, Deserialize)]\nstruct {ty} {{\n    calls: u64,\n}}"
                ),
                "",
            )
        } else {
            (
                "",
                format!(
                    "/// Many threads call it at once. It has no state for the next build.\n#[derive(Default)]\nstruct {ty};"
                ),
                ", stateless",
            )
        };
        format!(
            "//! The plugin `{name}`: describe here in a sentence what it does.\n#![forbid(unsafe_code)]\n\n\
             use reslot_plugin_api::export_plugin;\nuse {crate_name}::{uses};\n{state}\n{declaration}\n\n{body}\n\
             export_plugin!({ty}: dyn {interface}{options});\n"
        )
    }

    /// `tests/reload.rs`
    pub fn test(&self) -> String {
        let Self {
            name,
            interface,
            crate_name,
            ..
        } = self;
        let methods = self.interfaces.methods(interface);
        let calls: Vec<_> = methods
            .iter()
            .filter(|method| method.takes_self_mutably == self.has_owner())
            .filter_map(|m| self.call(m))
            .collect();
        let load = match calls.first() {
            Some(call) => format!("plugin.{call}?;"),
            None => "let _ = plugin; // call it here".to_owned(),
        };
        let sight = methods
            .iter()
            .find(|method| !method.takes_self_mutably && self.is_readable(method))
            .and_then(|method| self.call(method));
        let same = match sight {
            Some(call) => format!(".same(|plugin| Ok(plugin.{call}?))"),
            None => ".same(|_| Ok(())) // better: a value that depends on the state, which must be equal before and after \
                 each move"
                .to_owned(),
        };
        let form = if self.has_owner() {
            ".claimed(|plugin| {"
        } else {
            ".shared(2, |plugin| {"
        };
        let mut silent = String::new();
        let mut done = BTreeSet::new();
        let mut open: Vec<_> = methods.iter().flat_map(lent).collect();
        while let Some(other) = open.pop() {
            if done.insert(other.clone()) {
                open.extend(self.interfaces.methods(&other).iter().flat_map(lent));
                let ty = implementor(&other);
                silent += &format!(
                    "/// An object that the plugin calls.\nstruct {ty};\n\n{}\n",
                    self.implementation(&other, &ty, false)
                );
            }
        }
        let body = format!(
            "{silent}#[test]\nfn replacing_it_is_safe() -> Result<(), Box<dyn std::error::Error>> {{\n\
             let report = UpDownUp::<dyn {interface}>::same_build(Artifact::build({name:?})?)\n\
             {form} {load} Ok(()) }})\n{same}\n.run()?;\nprintln!(\"{{report}}\");\nOk(())\n}}\n"
        );
        let uses = self.uses(&body, Some(interface));
        format!(
            "//! Tests that this plugin can be reloaded while it is called: up, down and up again, with a fault at each \
                 step of a reload.\n\n\
             use {crate_name}::{uses};\nuse reslot_testkit::{{Artifact, UpDownUp}};\n\n{body}"
        )
    }

    fn implementation(&self, interface: &str, ty: &str, counts: bool) -> String {
        let methods = self.interfaces.methods(interface).into_iter().map(|method| {
            let unused: Vec<_> = method.arguments.iter().map(|(name, _)| name.as_str()).collect();
            let unused = match unused.as_slice() {
                [] => String::new(),
                [one] => format!("let _ = {one};"),
                several => format!("let _ = ({});", several.join(", ")),
            };
            let count = if counts && method.takes_self_mutably {
                "self.calls += 1;"
            } else {
                ""
            };
            let answer = match &method.output {
                ReturnType::Default => String::new(),
                ReturnType::Type(_, ty) => self
                    .interfaces
                    .simplest(ty)
                    .unwrap_or_else(|| format!("todo!(\"answer a {}\")", ty.to_token_stream())),
            };
            format!("{} {{ {unused} {count} {answer} }}\n", method.signature)
        });
        format!("impl {interface} for {ty} {{\n{}}}\n", methods.collect::<Vec<_>>().join("\n"))
    }

    fn call(&self, method: &Method) -> Option<String> {
        let arguments = method.arguments.iter().map(|(_, ty)| self.interfaces.simplest(ty));
        let owned = if matches!(&method.output, ReturnType::Type(_, ty) if matches!(&**ty, Type::Reference(_))) {
            "?.to_owned()"
        } else {
            ""
        };
        // In this case the caller's `?` follows an expression that cannot fail.
        if !owned.is_empty() {
            return None;
        }
        Some(format!(
            "{}({})",
            method.name,
            arguments.collect::<Option<Vec<_>>>()?.join(", ")
        ))
    }

    /// Whether its result can be compared.
    fn is_readable(&self, method: &Method) -> bool {
        matches!(&method.output, ReturnType::Type(_, ty) if self.interfaces.is_comparable(ty))
    }

    /// The list after `use crate::`.
    fn uses(&self, body: &str, also: Option<&str>) -> String {
        let mut names: BTreeSet<_> = self.interfaces.named_in(body).into_iter().collect();
        names.extend(also.map(str::to_owned));
        let names: Vec<_> = names.into_iter().collect();
        match names.as_slice() {
            [one] => one.clone(),
            several => format!("{{{}}}", several.join(", ")),
        }
    }
}

/// The interfaces that a method borrows as arguments.
fn lent(method: &Method) -> Vec<String> {
    let lent = method.arguments.iter().filter_map(|(_, ty)| match ty {
        Type::Reference(reference) => dyn_name(&reference.elem),
        _ => None,
    });
    lent.collect()
}

/// `mean-reversion` becomes `MeanReversion`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    let capital = words.map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    capital.collect()
}
