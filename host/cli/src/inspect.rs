//! `reslot inspect FILE…`: the manifests of built plugins, and whether a host of this build would load them. No code of the
//! files runs.

use crate::{
    exit::{Exit, Failure},
    output::{bad, dim, good, heading, json, line},
};
use reslot::artifact::{Inspection, Interface, Kind, Manifest, Shape, StateSchema, Type, inspect};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Inspect {
    /// Built plugins, such as target/reslot/plugins/libgreeter.so
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print JSON, one document per file
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Ends with 0 if a host would load each file, 1 if it would refuse one, 2 if a file cannot be read.
    pub fn run(self) -> Result<Exit, Failure> {
        let mut worst = Exit::Done;
        for file in &self.files {
            let bytes = std::fs::read(file).map_err(|error| {
                let words = format!("cannot read {}: {error}; name the library that cargo built", file.display());
                Failure::Other(Exit::Usage, words)
            })?;
            let inspection = inspect(&bytes);
            match self.json {
                true => print_json(file, bytes.len(), &inspection)?,
                false => print(file, bytes.len(), &inspection)?,
            }
            if !inspection.findings.is_empty() {
                worst = Exit::Refused;
            }
        }
        Ok(worst)
    }
}

fn print(file: &Path, size: usize, inspection: &Inspection) -> Result<(), Failure> {
    line(format!("{} ({} KiB)", heading(file.display()), size.div_ceil(1024)))?;
    if let Some(manifest) = &inspection.manifest {
        print_manifest(manifest)?;
    }
    for warning in &inspection.warnings {
        line(format!("\nnote: {warning}"))?;
    }
    if inspection.nodelete {
        line("\nnote: it is marked as never to be unloaded (NODELETE); the host clears that in its private copy")?;
    }
    if inspection.findings.is_empty() {
        line(format!("\n{}: a host of this build loads it", good("accepted")))?;
        return Ok(());
    }
    line(format!("\n{}: a host of this build refuses it, because", bad("refused")))?;
    // Findings with the same remedy are grouped, so that the remedy is printed once.
    for alike in inspection.findings.chunk_by(|one, next| one.remedy() == next.remedy()) {
        for finding in alike {
            line(format!("- {finding}"))?;
        }
        line(format!("  {} {}", dim("what to do:"), alike[0].remedy()))?;
    }
    Ok(())
}

fn print_manifest(manifest: &Manifest) -> Result<(), Failure> {
    let state = match manifest.state {
        Some(StateSchema { schema, oldest }) if oldest < schema => {
            format!("handed over to the next build, schema {schema}, migrates from schema {oldest} on")
        }
        Some(StateSchema { schema, .. }) => format!("handed over to the next build, schema {schema}"),
        None => "none to hand over".to_owned(),
    };
    let exclusive = match manifest.exclusive {
        true => "yes: the host stops its predecessor before it starts it",
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
        line(format!("{what:<11} {value}"))?;
    }
    let mut met = Met::default();
    met.interface(&manifest.interface);
    for (interface, role) in met.interfaces.iter().zip(
        [dim("implements")]
            .into_iter()
            .chain(std::iter::repeat_with(|| dim("is lent"))),
    ) {
        line(format!("\n{role}\n{interface}"))?;
    }
    if !met.types.is_empty() {
        line(format!("\n{}", dim("types that cross, in bytes")))?;
    }
    for layout in met.types {
        line(layout)?;
    }
    Ok(())
}

/// The interfaces and types that an interface uses, each once.
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

fn print_json(file: &Path, size: usize, inspection: &Inspection) -> Result<(), Failure> {
    let findings: Vec<_> = inspection
        .findings
        .iter()
        .map(|finding| serde_json::json!({ "what": finding.to_string(), "remedy": finding.remedy() }))
        .collect();
    let document = serde_json::json!({
        "file": file.display().to_string(),
        "size": size,
        "accepted": inspection.findings.is_empty(),
        "findings": findings,
        "warnings": inspection.warnings,
        "nodelete": inspection.nodelete,
        "imports": inspection.imports,
        "manifest": inspection.manifest,
    });
    json(&document)
}
