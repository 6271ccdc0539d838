//! The manifest of randomly generated types, against what the compiler lays out. `build.rs` makes them up; a failure prints the
//! seed, and `RESLOT_LAYOUT_SEED=N cargo test -p reslot-fuzz layouts` repeats it, or tries others.

use reslot::artifact::{Interface, Kind, Manifest, Shape, Type, compare};
use reslot_plugin_api::__private::Manifest as Written;
use std::collections::BTreeMap;

/// A type's name, its size and alignment, and the offsets of its fields or the numbers of its variants.
type Layout = (&'static str, usize, usize, Vec<(&'static str, i64)>);

#[allow(dead_code, missing_docs, reason = "nobody calls or reads what is generated")]
mod generated {
    use reslot_plugin_api::{Crossing, interface};

    include!(concat!(env!("OUT_DIR"), "/layouts.rs"));
}

const WRITTEN: Written = Written {
    name: "generated",
    version: "0.1.0",
    state: None,
    exclusive: false,
    uses: &[],
    resources: &[],
    interface: <dyn generated::Generated as reslot_plugin_api::Interface>::DESCRIPTION,
};
static BYTES: [u8; WRITTEN.encoded_len()] = WRITTEN.encode();

#[test]
fn manifest_says_what_the_compiler_lays_out() {
    let seed = generated::SEED;
    let manifest = Manifest::parse(&BYTES).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let mut found = BTreeMap::new();
    for method in &manifest.interface.methods {
        let passed = method.arguments.iter().map(|argument| &argument.passed);
        passed.chain([&method.returns]).for_each(|shape| collect(shape, &mut found));
    }
    let expected = generated::expected();
    for (name, size, align, parts) in &expected {
        let of = found
            .get(*name)
            .unwrap_or_else(|| panic!("seed {seed}: the manifest has no {name}"));
        assert_eq!((of.size, of.align), (*size as u64, *align as u64), "seed {seed}: {of}");
        let listed: Vec<(&str, i64)> = match &of.kind {
            Kind::Struct(fields) => fields.iter().map(|field| (&*field.name, field.offset as i64)).collect(),
            Kind::Enum(variants) => variants.iter().map(|variant| (&*variant.name, variant.value)).collect(),
            other => panic!("seed {seed}: {name} is {other:?}"),
        };
        assert_eq!(&listed, parts, "seed {seed}: {of}");
        if let Kind::Struct(fields) = &of.kind {
            for (field, next) in fields
                .iter()
                .zip(parts.iter().skip(1).map(|(_, offset)| *offset as u64).chain([of.size]))
            {
                assert!(
                    field.offset + field.of.size <= next,
                    "seed {seed}: `{}` overlaps what follows in {of}",
                    field.name
                );
                assert_eq!(field.offset % field.of.align, 0, "seed {seed}: `{}` in {of}", field.name);
            }
        }
    }
    let host = Interface::from(<dyn generated::Generated as reslot_plugin_api::Interface>::DESCRIPTION);
    assert_eq!(compare(&host, &manifest.interface), Ok(()), "seed {seed}");
    assert_eq!(host, manifest.interface, "seed {seed}");
}

fn collect<'a>(shape: &'a Shape, found: &mut BTreeMap<&'a str, &'a Type>) {
    match shape {
        Shape::Value(of)
        | Shape::Number(of)
        | Shape::Ref(of)
        | Shape::RefMut(of)
        | Shape::Slice(of)
        | Shape::SliceMut(of) => collect_type(of, found),
        Shape::Vec(of) | Shape::Option(of) => collect(of, found),
        Shape::Result(of, error) => {
            collect(of, found);
            collect(error, found);
        }
        _ => {}
    }
}

/// A type is described the same wherever it occurs.
fn collect_type<'a>(of: &'a Type, found: &mut BTreeMap<&'a str, &'a Type>) {
    match &of.kind {
        Kind::Scalar => return,
        Kind::Array(element, count) => {
            assert_eq!(of.size, element.size * count, "{of}");
            return collect_type(element, found);
        }
        Kind::Struct(fields) => fields.iter().for_each(|field| collect_type(&field.of, found)),
        Kind::Enum(_) => {}
    }
    if let Some(before) = found.insert(&of.name, of) {
        assert_eq!(before, of);
    }
}
