//! `inspect FILE… [--json]`: what built plugins say of themselves, and whether a host would take them. Nothing in them is executed.
//! Ends with 0 if a host of this build would take each file, 1 if it would refuse one, 2 if one cannot be read.

#![forbid(unsafe_code)]

use reslot::artifact::{Inspection, Interface, Kind, Manifest, Shape, StateSchema, Type, inspect};
use reslot_demo::words::{bad, dim, good, heading};
use serde_json::json;
use std::{ffi::OsStr, path::Path, process::ExitCode};

const USAGE: &str = "usage: inspect FILE… [--json]    FILE is a built plugin, such as target/reslot/plugins/libgreeter.so";

fn main() -> ExitCode {
    let (flags, files): (Vec<_>, Vec<_>) = std::env::args_os().skip(1).partition(|argument| argument == "--json");
    if files.is_empty() {
        anstream::eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let worst = files.iter().map(|file| look_at(file, !flags.is_empty())).max();
    ExitCode::from(worst.unwrap_or_default())
}

fn look_at(file: &OsStr, json: bool) -> u8 {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            let remedy = "`cargo xtask build-plugin` prints where it publishes plugins";
            anstream::eprintln!("{} cannot read {}: {error}; {remedy}", bad("error:"), file.display());
            return 2;
        }
    };
    let inspection = inspect(&bytes);
    if json {
        print_json(Path::new(file), bytes.len(), &inspection);
    } else {
        print(Path::new(file), bytes.len(), &inspection);
    }
    u8::from(!inspection.findings.is_empty())
}

fn print(file: &Path, size: usize, inspection: &Inspection) {
    anstream::println!("{} ({} KiB)", heading(file.display()), size.div_ceil(1024));
    if let Some(manifest) = &inspection.manifest {
        print_manifest(manifest);
    }
    for warning in &inspection.warnings {
        anstream::println!("\nnote: {warning}");
    }
    if inspection.nodelete {
        anstream::println!(
            "\nnote: it is marked as never to be unloaded (NODELETE); the host clears that in its private copy"
        );
    }
    if inspection.findings.is_empty() {
        anstream::println!("\n{}: a host of this build takes it", good("accepted"));
        return;
    }
    anstream::println!("\n{}: a host of this build refuses it, because", bad("refused"));
    // What follows from one cause has one remedy, and it is said once.
    for alike in inspection.findings.chunk_by(|one, next| one.remedy() == next.remedy()) {
        for finding in alike {
            anstream::println!("- {finding}");
        }
        anstream::println!("  {} {}", dim("what to do:"), alike[0].remedy());
    }
}

fn print_manifest(manifest: &Manifest) {
    let state = match manifest.state {
        Some(StateSchema { schema, oldest }) if oldest < schema => {
            format!("handed over to the next build, schema {schema}, migrates from schema {oldest} on")
        }
        Some(StateSchema { schema, .. }) => format!("handed over to the next build, schema {schema}"),
        None => "none to hand over".to_owned(),
    };
    let exclusive = match manifest.exclusive {
        true => "yes: its predecessor is stopped before it is started",
        false => "no",
    };
    let uses = match &manifest.uses[..] {
        [] => "no other slot".to_owned(),
        slots => slots.join(", "),
    };
    for (what, value) in [
        ("plugin", format!("{} {}", manifest.name, manifest.version)),
        ("state", state),
        ("exclusive", exclusive.to_owned()),
        ("uses", uses),
        ("profile", manifest.profile.clone()),
        ("toolchain", manifest.toolchain.clone()),
        ("target", manifest.target.clone()),
        ("plugin api", format!("reslot-plugin-api {}", manifest.api)),
    ] {
        anstream::println!("{what:<11} {value}");
    }
    let mut met = Met::default();
    met.interface(&manifest.interface);
    for (interface, role) in met.interfaces.iter().zip(
        [dim("implements")]
            .into_iter()
            .chain(std::iter::repeat_with(|| dim("is lent"))),
    ) {
        anstream::println!("\n{role}\n{interface}");
    }
    if !met.types.is_empty() {
        anstream::println!("\n{}", dim("types that cross, in bytes"));
    }
    for layout in met.types {
        anstream::println!("{layout}");
    }
}

/// What is met on the way through an interface, each once: the interfaces, and the types whose layout is worth a look.
#[derive(Default)]
struct Met<'a> {
    interfaces: Vec<&'a Interface>,
    types: Vec<&'a Type>,
}

impl<'a> Met<'a> {
    fn interface(&mut self, interface: &'a Interface) {
        if self.interfaces.iter().any(|known| known.name == interface.name) {
            return;
        }
        self.interfaces.push(interface);
        for method in &interface.methods {
            method.arguments.iter().for_each(|argument| self.shape(&argument.passed));
            self.shape(&method.returns);
        }
    }

    fn shape(&mut self, shape: &'a Shape) {
        match shape {
            Shape::Unit | Shape::Str | Shape::String => {}
            Shape::Value(of)
            | Shape::Number(of)
            | Shape::Ref(of)
            | Shape::RefMut(of)
            | Shape::Slice(of)
            | Shape::SliceMut(of) => self.layout(of),
            Shape::Interface(interface) | Shape::InterfaceMut(interface) => self.interface(interface),
            Shape::Vec(of) | Shape::Option(of) => self.shape(of),
            Shape::Result(value, error) => {
                self.shape(value);
                self.shape(error);
            }
        }
    }

    fn layout(&mut self, of: &'a Type) {
        if !matches!(of.kind, Kind::Scalar) && self.types.iter().all(|known| known.name != of.name) {
            self.types.push(of);
        }
    }
}

fn print_json(file: &Path, size: usize, inspection: &Inspection) {
    let findings: Vec<_> = inspection
        .findings
        .iter()
        .map(|finding| json!({ "what": finding.to_string(), "remedy": finding.remedy() }))
        .collect();
    let document = json!({
        "file": file.display().to_string(),
        "size": size,
        "accepted": inspection.findings.is_empty(),
        "findings": findings,
        "warnings": inspection.warnings,
        "nodelete": inspection.nodelete,
        "imports": inspection.imports,
        "manifest": inspection.manifest,
    });
    anstream::println!("{document:#}");
}
