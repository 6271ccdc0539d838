//! The manifest of an artifact, made at compile time: a JSON text in its own section, which can be read without running code
//! of the plugin. The host reads it.

use crate::description::{Interface, Kind, Method, Receiver, Shape, Type};

/// The ELF section that carries the manifest.
pub const MANIFEST_SECTION: &str = ".reslot.manifest";
/// The number of the manifest's format.
pub const MANIFEST_FORMAT: u32 = 3;
/// The version of this crate; host and plugin must agree on its major (before 1.0: minor) number.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The compiler that built this copy of the crate, as `rustc --version` prints it.
pub const TOOLCHAIN: &str = env!("RESLOT_TOOLCHAIN");
/// The target triple this copy of the crate was built for.
pub const TARGET: &str = env!("RESLOT_TARGET");
/// A number for the sources of this copy of the crate. Two copies with the same one, built by the same compiler for the same target,
/// have the same layouts.
pub const SOURCES: u64 = match u64::from_str_radix(env!("RESLOT_SOURCES"), 10) {
    Ok(number) => number,
    Err(_) => panic!("the build script writes a number"),
};
const PROFILE: &str = env!("RESLOT_PROFILE");

/// The values that [`export_plugin!`](crate::export_plugin) collects in the plugin's crate.
#[doc(hidden)]
pub struct Manifest {
    pub name: &'static str,
    pub version: &'static str,
    /// The schema of its state, and the oldest schema that `migrate` knows.
    pub state: Option<(u32, u32)>,
    pub exclusive: bool,
    pub uses: &'static [&'static str],
    pub resources: &'static [&'static str],
    pub interface: &'static Interface,
}

/// Whether callers on several threads may hold borrows that a method of this interface returned. Then it is unknown when an
/// instance can be stopped.
#[doc(hidden)]
pub const fn lends_while_shared(interface: &Interface) -> bool {
    let (mut shared, mut lends, mut i) = (true, false, 0);
    while i < interface.methods.len() {
        let method = &interface.methods[i];
        shared &= matches!(method.receiver, Receiver::Ref);
        lends |= matches!(method.returns, Shape::Str | Shape::Ref(_) | Shape::Slice(_));
        i += 1;
    }
    shared && lends
}

/// Whether each of these could be a slot's name: 1 to 64 letters, digits, `_` or `-`.
#[doc(hidden)]
pub const fn names_slots(names: &[&str]) -> bool {
    let mut n = 0;
    while n < names.len() {
        let name = names[n].as_bytes();
        if name.is_empty() || name.len() > 64 {
            return false;
        }
        let mut i = 0;
        while i < name.len() {
            if !name[i].is_ascii_alphanumeric() && name[i] != b'_' && name[i] != b'-' {
                return false;
            }
            i += 1;
        }
        n += 1;
    }
    true
}

impl Manifest {
    /// Bytes that [`encode`](Self::encode) needs.
    pub const fn encoded_len(&self) -> usize {
        let mut json = Json { bytes: &mut [], at: 0 };
        json.manifest(self);
        json.at
    }

    /// The manifest as JSON. `N` must be [`encoded_len`](Self::encoded_len).
    pub const fn encode<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let mut json = Json {
            bytes: &mut bytes,
            at: 0,
        };
        json.manifest(self);
        assert!(json.at == N);
        bytes
    }
}

/// A single interface in the form of the manifest. It is made when a plugin requests another one by it.
pub(crate) fn interface_as_json(interface: &Interface) -> Vec<u8> {
    let mut json = Json { bytes: &mut [], at: 0 };
    json.interface(interface);
    let mut bytes = vec![0; json.at];
    let mut json = Json {
        bytes: &mut bytes,
        at: 0,
    };
    json.interface(interface);
    bytes
}

/// Writes as much as fits into `bytes` and counts everything, so that the same code measures and writes.
struct Json<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Json<'_> {
    const fn put(&mut self, text: &str) {
        let text = text.as_bytes();
        let mut i = 0;
        while i < text.len() {
            if self.at < self.bytes.len() {
                self.bytes[self.at] = text[i];
            }
            self.at += 1;
            i += 1;
        }
    }

    /// Names of Rust items and versions contain no quotes, backslashes or control characters. Another text is refused here
    /// at compile time, so that no invalid JSON is written.
    const fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            assert!(
                bytes[i] != b'"' && bytes[i] != b'\\' && bytes[i] >= b' ',
                "a name in the manifest holds a quote, a backslash or a control character"
            );
            i += 1;
        }
        self.put("\"");
        self.put(text);
        self.put("\"");
    }

    const fn field(&mut self, name: &str) {
        self.text(name);
        self.put(":");
    }

    const fn number(&mut self, value: i64) {
        if value < 0 {
            self.put("-");
        }
        let mut rest = value.unsigned_abs();
        let mut digits = [0u8; 20];
        let mut n = 0;
        loop {
            digits[n] = b'0' + (rest % 10) as u8;
            n += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        while n > 0 {
            n -= 1;
            if self.at < self.bytes.len() {
                self.bytes[self.at] = digits[n];
            }
            self.at += 1;
        }
    }

    const fn manifest(&mut self, manifest: &Manifest) {
        self.put("{\"reslot\":");
        self.number(MANIFEST_FORMAT as i64);
        self.put(",\"name\":");
        self.text(manifest.name);
        self.put(",\"version\":");
        self.text(manifest.version);
        self.put(",\"api\":");
        self.text(API_VERSION);
        self.put(",\"toolchain\":");
        self.text(TOOLCHAIN);
        self.put(",\"target\":");
        self.text(TARGET);
        self.put(",\"profile\":");
        self.text(PROFILE);
        self.put(",\"state\":");
        match manifest.state {
            Some((schema, oldest)) => {
                self.put("{\"schema\":");
                self.number(schema as i64);
                self.put(",\"oldest\":");
                self.number(oldest as i64);
                self.put("}");
            }
            None => self.put("null"),
        }
        self.put(",\"exclusive\":");
        self.put(if manifest.exclusive { "true" } else { "false" });
        self.put(",\"uses\":[");
        let mut i = 0;
        while i < manifest.uses.len() {
            if i > 0 {
                self.put(",");
            }
            self.text(manifest.uses[i]);
            i += 1;
        }
        self.put("]");
        // This field is written only if there are resources, so that older hosts can read other manifests.
        if !manifest.resources.is_empty() {
            self.put(",\"resources\":[");
            let mut i = 0;
            while i < manifest.resources.len() {
                if i > 0 {
                    self.put(",");
                }
                self.text(manifest.resources[i]);
                i += 1;
            }
            self.put("]");
        }
        self.put(",\"interface\":");
        self.interface(manifest.interface);
        self.put("}");
    }

    const fn interface(&mut self, interface: &Interface) {
        self.put("{\"name\":");
        self.text(interface.name);
        self.put(",\"major\":");
        self.number(interface.major as i64);
        self.put(",\"minor\":");
        self.number(interface.minor as i64);
        self.put(",\"methods\":[");
        let mut i = 0;
        while i < interface.methods.len() {
            if i > 0 {
                self.put(",");
            }
            self.method(&interface.methods[i]);
            i += 1;
        }
        self.put("]}");
    }

    const fn method(&mut self, method: &Method) {
        self.put("{\"name\":");
        self.text(method.name);
        self.put(",\"receiver\":");
        match method.receiver {
            Receiver::Ref => self.text("Ref"),
            Receiver::RefMut => self.text("RefMut"),
        }
        self.put(",\"arguments\":[");
        let mut i = 0;
        while i < method.arguments.len() {
            if i > 0 {
                self.put(",");
            }
            self.put("{\"name\":");
            self.text(method.arguments[i].name);
            self.put(",\"passed\":");
            self.shape(&method.arguments[i].passed);
            self.put("}");
            i += 1;
        }
        self.put("],\"returns\":");
        self.shape(&method.returns);
        self.put(",\"since\":");
        match method.since {
            Some((major, minor)) => {
                self.put("[");
                self.number(major as i64);
                self.put(",");
                self.number(minor as i64);
                self.put("]");
            }
            None => self.put("null"),
        }
        self.put("}");
    }

    const fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Str => self.text("Str"),
            Shape::String => self.text("String"),
            // A result of type `()` means no result.
            Shape::Value(of) if matches!(of.name.as_bytes(), b"()") => self.text("Unit"),
            Shape::Value(of) => self.tagged_type("Value", of),
            Shape::Number(of) => self.tagged_type("Number", of),
            Shape::Ref(of) => self.tagged_type("Ref", of),
            Shape::RefMut(of) => self.tagged_type("RefMut", of),
            Shape::Slice(of) => self.tagged_type("Slice", of),
            Shape::SliceMut(of) => self.tagged_type("SliceMut", of),
            Shape::Interface(of) => self.tagged_interface("Interface", of),
            Shape::InterfaceMut(of) => self.tagged_interface("InterfaceMut", of),
            Shape::Vec(of) => self.tagged_shape("Vec", of),
            Shape::Option(of) => self.tagged_shape("Option", of),
            Shape::Result(value, error) => {
                self.put("{\"Result\":[");
                self.shape(value);
                self.put(",");
                self.shape(error);
                self.put("]}");
            }
        }
    }

    const fn tagged_type(&mut self, tag: &str, of: &Type) {
        self.put("{");
        self.field(tag);
        self.type_(of);
        self.put("}");
    }

    const fn tagged_interface(&mut self, tag: &str, of: &Interface) {
        self.put("{");
        self.field(tag);
        self.interface(of);
        self.put("}");
    }

    const fn tagged_shape(&mut self, tag: &str, of: &Shape) {
        self.put("{");
        self.field(tag);
        self.shape(of);
        self.put("}");
    }

    const fn type_(&mut self, of: &Type) {
        self.put("{\"name\":");
        self.text(of.name);
        self.put(",\"size\":");
        self.number(of.size as i64);
        self.put(",\"align\":");
        self.number(of.align as i64);
        self.put(",\"kind\":");
        match of.kind {
            Kind::Scalar => self.text("Scalar"),
            Kind::Struct(fields) => {
                self.put("{\"Struct\":[");
                let mut i = 0;
                while i < fields.len() {
                    if i > 0 {
                        self.put(",");
                    }
                    self.put("{\"name\":");
                    self.text(fields[i].name);
                    self.put(",\"offset\":");
                    self.number(fields[i].offset as i64);
                    self.put(",\"of\":");
                    self.type_(fields[i].of);
                    self.put("}");
                    i += 1;
                }
                self.put("]}");
            }
            Kind::Enum(variants) => {
                self.put("{\"Enum\":[");
                let mut i = 0;
                while i < variants.len() {
                    if i > 0 {
                        self.put(",");
                    }
                    self.put("{\"name\":");
                    self.text(variants[i].name);
                    self.put(",\"value\":");
                    self.number(variants[i].value);
                    self.put("}");
                    i += 1;
                }
                self.put("]}");
            }
            Kind::Array(element, len) => {
                self.put("{\"Array\":[");
                self.type_(element);
                self.put(",");
                self.number(len as i64);
                self.put("]}");
            }
        }
        self.put("}");
    }
}
