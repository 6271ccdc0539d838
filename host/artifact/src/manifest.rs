//! The manifest of an artifact: the parsed form of the JSON in its section `.reslot.manifest`, and its text for a person.
//! `lint` finds the section in the file, and `compat` compares two interfaces.

mod described;

use crate::ContentHash;
use reslot_plugin_api::__private::cut_words;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize, de};

/// The name of the ELF section that carries the manifest.
pub const SECTION: &str = ".reslot.manifest";

/// The manifest format that this host reads.
pub const FORMAT: u32 = 3;

/// The longest text in a manifest: enough for any type name, and short enough for any message.
const LONGEST_TEXT: usize = 1024;

/// The manifest of an artifact.
///
/// ```
/// use reslot_artifact::manifest::{Manifest, ManifestError};
///
/// // From a file: `reslot::artifact::inspect(&bytes).manifest`.
/// let error = Manifest::parse(b"{}").unwrap_err();
/// assert!(matches!(error, ManifestError::WrongForm { .. }), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The number of the manifest format: always 3.
    pub reslot: u32,
    /// The plugin's name: 1 to 64 letters, digits, `_` or `-`.
    pub name: String,
    /// The plugin's own version.
    #[serde(deserialize_with = "text")]
    pub version: String,
    /// The version of `reslot-plugin-api` that it was built with.
    #[serde(deserialize_with = "text")]
    pub api: String,
    /// The compiler that built it, as `rustc --version` says it.
    #[serde(deserialize_with = "text")]
    pub toolchain: String,
    /// The target triple that it was built for.
    #[serde(deserialize_with = "text")]
    pub target: String,
    /// The cargo profile that it was built in.
    #[serde(deserialize_with = "text")]
    pub profile: String,
    /// The schema of its state; `None` if it has no state to hand over.
    pub state: Option<StateSchema>,
    /// Whether it is exclusive, so that its predecessor must be stopped before it is started.
    pub exclusive: bool,
    /// The slots whose plugins it calls through the host.
    pub uses: Vec<String>,
    /// The resource files that it gets, below the host's folder of resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The interface that it implements.
    pub interface: Interface,
}

/// The schemas of a plugin's state that it can migrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSchema {
    /// The schema of its own type, from 1.
    pub schema: u32,
    /// The oldest schema from which, and down to which, its `Plugin::migrate` can migrate; not above `schema`.
    pub oldest: u32,
}

/// An interface, as it was when one side was compiled.
///
/// ```
/// use reslot_artifact::manifest::Interface;
///
/// let json = br#"{"name": "Greeter", "major": 1, "minor": 0, "methods": []}"#;
/// let interface = Interface::parse(json)?;
/// assert_eq!((&*interface.name, interface.major), ("Greeter", 1));
/// # Ok::<(), reslot_artifact::manifest::ManifestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The trait's name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Grows when a method is removed or changed.
    pub major: u16,
    /// Grows when a method is added at the end.
    pub minor: u16,
    /// The methods, in the order of the function table.
    pub methods: Vec<Method>,
}

/// One method of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// The method's name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Whether it takes `&self` or `&mut self`.
    pub receiver: Receiver,
    /// Its arguments, without the receiver.
    pub arguments: Vec<Argument>,
    /// Its result.
    pub returns: Shape,
    /// The interface version that added it; `None` when it was there from the start.
    pub since: Option<(u16, u16)>,
}

/// The receiver of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receiver {
    /// `&self`
    Ref,
    /// `&mut self`
    RefMut,
}

/// One argument of a method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// The argument's name, for people only.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// The shape of the argument.
    pub passed: Shape,
}

/// The ways in which a value crosses between host and plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// `()`
    Unit,
    /// `&str`
    Str,
    /// `String`, copied by the side that receives it
    String,
    /// `T`
    Value(Type),
    /// A number or a `bool` as a result, written by its own name; it is returned in registers
    Number(Type),
    /// `&T`
    Ref(Type),
    /// `&mut T`
    RefMut(Type),
    /// `&[T]`
    Slice(Type),
    /// `&mut [T]`
    SliceMut(Type),
    /// `&dyn Interface`
    Interface(Interface),
    /// `&mut dyn Interface`
    InterfaceMut(Interface),
    /// `Vec<S>`
    Vec(Box<Shape>),
    /// `Option<S>`
    Option(Box<Shape>),
    /// `Result<S, S>`
    Result(Box<Shape>, Box<Shape>),
}

/// The memory layout of a plain type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Type {
    /// The type's name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its alignment in bytes.
    pub align: u64,
    /// Its structure.
    pub kind: Kind,
}

/// The structure of a plain type.
///
/// ```
/// use reslot_artifact::manifest::Kind;
///
/// assert_eq!(Kind::Scalar.word(), "scalar");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A number, `bool` or `char`.
    Scalar,
    /// Fields at their offsets.
    Struct(Vec<Field>),
    /// Variants without fields.
    Enum(Vec<Variant>),
    /// A number of elements of one type.
    Array(Box<Type>, u64),
}

/// One field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The field's name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Its offset in bytes from the start of the struct.
    pub offset: u64,
    /// Its type.
    pub of: Type,
}

/// One variant of an enum without fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The variant's name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Its discriminant.
    pub value: i64,
}

/// Why the bytes of a manifest section are not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Only NUL bytes.
    #[error("it is empty")]
    Empty,
    /// Not JSON, or nested deeper than any real interface.
    #[error("it is not readable JSON: {reason}")]
    NotJson {
        /// What the JSON reader says, with line and column.
        reason: String,
    },
    /// JSON, but a field is missing or has another type.
    #[error("it does not have the form of a manifest: {reason}")]
    WrongForm {
        /// What the JSON reader says, with line and column.
        reason: String,
    },
    /// The manifest has another format.
    #[error("it is in manifest format {found}, this host reads format {expected}")]
    WrongFormat {
        /// The format number in the manifest.
        found: u64,
        /// The format number that this host reads.
        expected: u32,
    },
    /// A name that is not valid as a file name, a metric label and a command line argument.
    #[error("the plugin's name is {name:?}, a name is 1 to 64 of the characters A-Z a-z 0-9 _ -")]
    BadName {
        /// The name, cut after 80 characters.
        name: String,
    },
    /// The name of a used slot that is not a valid slot name.
    #[error("it uses a slot named {name:?}, a name is 1 to 64 of the characters A-Z a-z 0-9 _ -")]
    BadUse {
        /// The name, cut after 80 characters.
        name: String,
    },
    /// The name of a resource that could lead out of the host's folder.
    #[error("it names a resource {name:?}, a resource is a relative path without `.` and `..`, of at most 255 bytes")]
    BadResource {
        /// The name, cut after 80 characters.
        name: String,
    },
    /// Invalid schemas of the state: they count from 1, and the oldest one must not be above the state's own.
    #[error(
        "its state is of schema {schema}, and it says that it migrates from schema {oldest}: schemas are counted from 1 up to its own"
    )]
    BadSchema {
        /// The schema of its own state.
        schema: u32,
        /// The oldest schema that it migrates.
        oldest: u32,
    },
}

/// The JSON in a manifest section. NUL bytes at the end are padding.
fn json_of(section: &[u8]) -> &[u8] {
    let end = section.iter().rposition(|byte| *byte != 0);
    end.map_or(&[], |end| &section[..=end])
}

/// Whether a plugin or a slot may have this name.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

impl Manifest {
    /// The hash of the text in a manifest section.
    pub fn text_hash(section: &[u8]) -> ContentHash {
        ContentHash::of(json_of(section))
    }

    /// Reads the contents of a manifest section. NUL bytes at the end are padding.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let json = json_of(bytes);
        if json.is_empty() {
            return Err(ManifestError::Empty);
        }
        // serde_json refuses more than 127 levels, so no manifest can exhaust the stack, neither here nor in code that walks
        // the result.
        let parsed: Result<Manifest, _> = serde_json::from_slice(json);
        // A manifest of another format may have any form, and the person needs to know its number.
        #[derive(Deserialize)]
        struct Header {
            reslot: u64,
        }
        let found = match &parsed {
            Ok(manifest) => u64::from(manifest.reslot),
            Err(_) => serde_json::from_slice::<Header>(json)?.reslot,
        };
        if found != u64::from(FORMAT) {
            let expected = FORMAT;
            return Err(ManifestError::WrongFormat { found, expected });
        }
        let manifest = parsed?;
        let shortened = |name: &str| name.chars().take(80).collect();
        if !is_name(&manifest.name) {
            return Err(ManifestError::BadName {
                name: shortened(&manifest.name),
            });
        }
        if let Some(name) = manifest.uses.iter().find(|name| !is_name(name)) {
            return Err(ManifestError::BadUse { name: shortened(name) });
        }
        let mut resources = manifest.resources.iter();
        if let Some(name) = resources.find(|name| !reslot_plugin_api::__private::names_resources(&[name])) {
            return Err(ManifestError::BadResource { name: shortened(name) });
        }
        match manifest.state {
            Some(StateSchema { schema, oldest }) if !(1..=schema).contains(&oldest) => {
                Err(ManifestError::BadSchema { schema, oldest })
            }
            _ => Ok(manifest),
        }
    }
}

impl Interface {
    /// Reads a single interface: the one by which a plugin calls another plugin. The bytes are in the plugin's memory;
    /// nothing of them is kept.
    pub fn parse(json: &[u8]) -> Result<Interface, ManifestError> {
        Ok(serde_json::from_slice(json)?)
    }
}

impl From<serde_json::Error> for ManifestError {
    fn from(error: serde_json::Error) -> Self {
        // The error may contain text of the file, also text that would control a terminal.
        let reason = cut_words(Shown(&error));
        match error.classify() {
            serde_json::error::Category::Data => ManifestError::WrongForm { reason },
            _ => ManifestError::NotJson { reason },
        }
    }
}

/// A text in which control characters are escaped.
struct Shown<'a>(&'a serde_json::Error);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|letter| match letter.is_control() {
                    true => write!(self.0, "{}", letter.escape_default()),
                    false => self.0.write_char(letter),
                })
            }
        }
        write!(Escaping(f), "{}", self.0)
    }
}

/// Accepts a text only if it can be shown unchanged. These texts reach logs and terminals, and an artifact must not be able
/// to control a terminal.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() || text.len() > LONGEST_TEXT {
        return Err(de::Error::invalid_length(text.len(), &"a text of 1 to 1024 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(de::Error::custom("a text holds control characters"));
    }
    Ok(text)
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "trait {} {}.{} {{", self.name, self.major, self.minor)?;
        for method in &self.methods {
            if let Some((major, minor)) = method.since {
                writeln!(f, "    #[since(\"{major}.{minor}\")]")?;
            }
            writeln!(f, "    {method};")?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let receiver = match self.receiver {
            Receiver::Ref => "&self",
            Receiver::RefMut => "&mut self",
        };
        write!(f, "fn {}({receiver}", self.name)?;
        for argument in &self.arguments {
            write!(f, ", {}: {}", argument.name, argument.passed)?;
        }
        f.write_str(")")?;
        match &self.returns {
            Shape::Unit => Ok(()),
            // Without this remark it would look like a number that is returned in registers.
            Shape::Value(of) if comes_in_registers(&of.name) => write!(f, " -> {} /* by an alias */", of.name),
            returns => write!(f, " -> {returns}"),
        }
    }
}

/// Whether a number of this type is returned in registers, if the method's author wrote it by this name. It is used only for
/// messages; `SCALARS` in the SDK's macros decides, but nothing can be imported from a macro crate.
fn comes_in_registers(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "bool", "u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "f32", "f64",
    ];
    NAMES.contains(&name)
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Unit => f.write_str("()"),
            Shape::Str => f.write_str("&str"),
            Shape::String => f.write_str("String"),
            Shape::Value(of) | Shape::Number(of) => f.write_str(&of.name),
            Shape::Ref(of) => write!(f, "&{}", of.name),
            Shape::RefMut(of) => write!(f, "&mut {}", of.name),
            Shape::Slice(of) => write!(f, "&[{}]", of.name),
            Shape::SliceMut(of) => write!(f, "&mut [{}]", of.name),
            Shape::Interface(interface) => write!(f, "&dyn {}", interface.name),
            Shape::InterfaceMut(interface) => write!(f, "&mut dyn {}", interface.name),
            Shape::Vec(of) => write!(f, "Vec<{of}>"),
            Shape::Option(of) => write!(f, "Option<{of}>"),
            Shape::Result(good, bad) => write!(f, "Result<{good}, {bad}>"),
        }
    }
}

/// A layout listing: the type, and below it its contents with their offsets.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self.kind, Kind::Struct(_) | Kind::Enum(_)) {
            write!(f, "{} ", self.kind.word())?;
        }
        write!(f, "{}: size {}, align {}", self.name, self.size, self.align)?;
        self.list_contents(f, 1)
    }
}

impl Type {
    fn list_contents(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = depth * 4;
        match &self.kind {
            Kind::Scalar => Ok(()),
            Kind::Struct(fields) => fields.iter().try_for_each(|Field { name, offset, of }| {
                write!(f, "\n{:indent$}at {offset:>3}  {name}: {}", "", of.name)?;
                if !matches!(of.kind, Kind::Scalar) {
                    write!(f, " (size {}, align {})", of.size, of.align)?;
                }
                of.list_contents(f, depth + 1)
            }),
            Kind::Enum(variants) => variants
                .iter()
                .try_for_each(|variant| write!(f, "\n{:indent$}{} = {}", "", variant.name, variant.value)),
            // The array's name contains the type of its elements; only elements with contents are listed.
            Kind::Array(of, _) if matches!(of.kind, Kind::Scalar) => Ok(()),
            Kind::Array(of, length) => {
                write!(
                    f,
                    "\n{:indent$}{length} x {} (size {}, align {})",
                    "", of.name, of.size, of.align
                )?;
                of.list_contents(f, depth + 1)
            }
        }
    }
}

impl Kind {
    /// The word for this kind of type.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Scalar => "scalar",
            Kind::Struct(_) => "struct",
            Kind::Enum(_) => "enum",
            Kind::Array(..) => "array",
        }
    }
}

#[cfg(test)]
mod tests;
