//! Decides from the bytes alone whether a module may be run: it is a plain module for wasm32, imports nothing but the host's functions, has a manifest,
//! and an interface whose calls can be carried. None of it runs.

use crate::{code::Runtime, imports};
use reslot_artifact::{
    boundary::unsupported,
    lint::{LintError, Linted, same_api},
    manifest::{Manifest, SECTION},
};
use reslot_plugin_api::{API_VERSION, guest};
use wasmparser::{Encoding, ExternalKind, Parser, Payload, TypeRef};
use wasmtime::Module;

/// How a module begins.
pub(crate) const MAGIC: &[u8] = b"\0asm";

/// The target of modules.
const TARGET: &str = "wasm32-unknown-unknown";

/// The size of a pointer in a module.
const POINTER: usize = 4;

/// What a module must export, beside its memory.
const EXPORTS: [&str; 5] = ["reslot_abi", "reslot_call", "reslot_hook", "reslot_log_level", "reslot_room"];

const REBUILD: &str = "build the plugin with `build-plugin --wasm`, and with the host's version of reslot-plugin-api";
const CHANGE_INTERFACE: &str = "change the named method, or run the plugin with the native engine";

pub(crate) fn refused(what: String) -> LintError {
    LintError::Module { what, remedy: REBUILD }
}

/// Lints a module.
pub(crate) fn lint(bytes: &[u8], runtime: &Runtime) -> Result<Linted, LintError> {
    if bytes.is_empty() {
        return Err(LintError::Empty);
    }
    let section = structure(bytes)?;
    // The compiler would find out as well, but in another step.
    Module::validate(&runtime.engine, bytes).map_err(|error| refused(format!("it is not valid: {error:#}")))?;
    let manifest = Manifest::parse(section).map_err(LintError::Manifest)?;
    check(&manifest)?;
    Ok(Linted {
        manifest,
        manifest_text: Manifest::text_hash(section),
        cleared_nodelete: false,
        own_symbols_first: false,
        warnings: Vec::new(),
    })
}

/// The bytes of the manifest, from a module that is built like one of ours.
pub(crate) fn structure(bytes: &[u8]) -> Result<&[u8], LintError> {
    if !bytes.starts_with(MAGIC) {
        return Err(refused(
            "it does not begin like one; a compiled module (.cwasm) is never loaded".to_owned(),
        ));
    }
    let (mut sections, mut exports) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(damaged)?;
        match payload {
            Payload::Version {
                encoding: Encoding::Component,
                ..
            } => return Err(refused("it is a component, and only plain modules are run".to_owned())),
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(damaged)?;
                    let is_ours = import.module == guest::IMPORTS && imports::NAMES.contains(&import.name);
                    if !is_ours || !matches!(import.ty, TypeRef::Func(_)) {
                        return Err(LintError::Module {
                            what: format!(
                                "it imports `{}.{}`, which is none of the host's functions",
                                shown(import.module),
                                shown(import.name)
                            ),
                            remedy: "leave out the crate that needs it (files, sockets, threads, JavaScript or WASI); a plugin in WebAssembly has \
                                     only the host's functions",
                        });
                    }
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory.map_err(damaged)?;
                    if memory.memory64 || memory.shared {
                        return Err(refused("it has a shared memory, or one of 64 bits".to_owned()));
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(damaged)?;
                    if matches!(export.kind, ExternalKind::Func) {
                        exports.push(export.name);
                    }
                }
            }
            Payload::CustomSection(custom) if custom.name() == SECTION => sections.push(custom.data()),
            _ => {}
        }
    }
    if let Some(missing) = EXPORTS.iter().find(|name| !exports.contains(*name)) {
        return Err(refused(format!("it does not export `{missing}`")));
    }
    match sections[..] {
        [] => Err(LintError::NoManifest),
        [section] => Ok(section),
        _ => Err(refused(format!("it has more than one section `{SECTION}`"))),
    }
}

fn damaged(error: wasmparser::BinaryReaderError) -> LintError {
    refused(format!("it is damaged or incomplete: {error}"))
}

/// A name from the module, which must not control a terminal.
fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_default).collect()
}

fn check(manifest: &Manifest) -> Result<(), LintError> {
    if manifest.target != TARGET {
        return Err(LintError::WrongTarget {
            found: manifest.target.clone(),
            expected: TARGET.to_owned(),
        });
    }
    if !same_api(&manifest.api, API_VERSION) {
        return Err(LintError::WrongApi {
            found: manifest.api.clone(),
            expected: API_VERSION.to_owned(),
        });
    }
    if let Some(peer) = manifest.uses.first() {
        return Err(LintError::Module {
            what: format!("it calls another plugin ({peer:?}, in `uses`), which this engine does not carry"),
            remedy: "run the plugin with the native engine",
        });
    }
    match unsupported(&manifest.interface, POINTER).first() {
        Some(method) => Err(LintError::Module {
            what: format!("{method}"),
            remedy: CHANGE_INTERFACE,
        }),
        None => Ok(()),
    }
}
