//! The differences between two interfaces, and their messages. `compat` finds them.

use std::fmt;

/// A version as major and minor number.
pub type Version = (u16, u16);

/// Where in an interface a difference lies, from the outside in. Empty for the interface itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(pub Vec<Step>);

/// One step on the way into an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Into a method of this name.
    Method(String),
    /// Into the method's argument of this name (the host's name for it).
    Argument(String),
    /// Into what the method returns.
    Returns,
    /// Into an interface that crosses as `&dyn` or `&mut dyn`.
    Interface(String),
    /// Into a type of this name.
    Type(String),
    /// Into the type's field of this name.
    Field(String),
    /// Into the elements of an array.
    Element,
}

impl fmt::Display for Place {
    /// Ends with `": "` unless it is empty, so that a message can follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Method(name) => write!(f, "method `{name}`")?,
                Step::Argument(name) => write!(f, "argument `{name}`")?,
                Step::Returns => f.write_str("return value")?,
                Step::Interface(name) => write!(f, "interface `{name}`")?,
                Step::Type(name) => write!(f, "type `{name}`")?,
                Step::Field(name) => write!(f, "field `{name}`")?,
                Step::Element => f.write_str("elements")?,
            }
            let inside_method = matches!(self.0.get(i + 1), Some(Step::Argument(_) | Step::Returns));
            f.write_str(if inside_method { ", " } else { ": " })?;
        }
        Ok(())
    }
}

/// One side of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The interface that the host was compiled with.
    Host,
    /// The interface that the plugin was compiled with.
    Plugin,
}

/// One way in which a plugin's interface does not fit the host's. Every variant holds both sides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "`at`, `host` and `plugin` mean the same in each variant")]
pub enum Difference {
    /// Another interface altogether.
    #[error("{at}the plugin implements interface `{plugin}`, this host expects `{host}`")]
    Name { at: Place, host: String, plugin: String },
    /// Incompatible versions of one interface.
    #[error("{at}plugin was built for {name} {}.{}, this host has {}.{}: rebuild the plugin against the host's interface crate{}",
        plugin.0, plugin.1, host.0, host.1, if plugin.0 > host.0 { ", or upgrade the host" } else { "" })]
    Major {
        at: Place,
        name: String,
        host: Version,
        plugin: Version,
    },
    /// The host has an original method that the plugin does not have.
    #[error("{at}method `{method}` is missing in the plugin, the host has `{host}`")]
    MethodMissing { at: Place, method: String, host: String },
    /// The plugin has an original method that the host does not have.
    #[error(
        "{at}method `{method}` is not in the host, the plugin has `{plugin}`: a method added later stands at the end, with \
         #[since]"
    )]
    MethodExtra { at: Place, method: String, plugin: String },
    /// The methods are in another order, so their positions in the function table differ.
    #[error(
        "{at}the methods stand in the order {} in the plugin, {} in the host",
        list(plugin),
        list(host)
    )]
    MethodOrder {
        at: Place,
        host: Vec<String>,
        plugin: Vec<String>,
    },
    /// An added method takes `&mut self`, but the host shares the interface between threads.
    #[error(
        "{at}method `{method}` takes `&mut self` in the plugin, while every method of the host takes `&self`: such a plugin need not \
         be safe to share between threads, so that is a new major version"
    )]
    NotShared { at: Place, method: String },
    /// An original method comes after an added one.
    #[error("{at}method `{method}` stands after a method with #[since] but has none itself, in the {side}: give it one")]
    NotAtEnd { at: Place, method: String, side: Side },
    /// The added methods at one position differ.
    #[error(
        "{at}added method number {position} is `{plugin}` in the plugin, `{host}` in the host: methods are added at the end only"
    )]
    AddedMethod {
        at: Place,
        position: usize,
        host: String,
        plugin: String,
    },
    /// The two sides give different versions for an added method.
    #[error(
        "{at}method `{method}` is there {} in the plugin, {} in the host",
        since(plugin),
        since(host)
    )]
    Since {
        at: Place,
        method: String,
        host: Option<Version>,
        plugin: Option<Version>,
    },
    /// The signature of a method differs.
    #[error("{at}method `{method}` is `{plugin}` in the plugin, `{host}` in the host")]
    Signature {
        at: Place,
        method: String,
        host: String,
        plugin: String,
    },
    /// The type differs.
    #[error("{at}is `{plugin}` in the plugin, `{host}` in the host")]
    TypeName { at: Place, host: String, plugin: String },
    /// One name is, for example, a struct on one side and an enum on the other.
    #[error("{at}is {} {plugin} in the plugin, {} {host} in the host", article(plugin), article(host))]
    TypeKind {
        at: Place,
        host: &'static str,
        plugin: &'static str,
    },
    /// Size and alignment.
    #[error("{at}has {} bytes aligned to {} in the plugin, {} bytes aligned to {} in the host", plugin.0, plugin.1, host.0, host.1)]
    TypeLayout {
        at: Place,
        host: (u64, u64),
        plugin: (u64, u64),
    },
    /// The type or the offset of a field differs. Each side is given as type and offset.
    #[error("{at}field `{field}` is {} at offset {} in the plugin, {} at offset {} in the host", plugin.0, plugin.1, host.0, host.1)]
    Field {
        at: Place,
        field: String,
        host: (String, u64),
        plugin: (String, u64),
    },
    /// The host has a field (given as type and offset) that the plugin does not have.
    #[error("{at}field `{field}` is missing in the plugin, the host has {} at offset {}", host.0, host.1)]
    FieldMissing { at: Place, field: String, host: (String, u64) },
    /// The plugin has a field (given as type and offset) that the host does not have.
    #[error("{at}field `{field}` is not in the host, the plugin has {} at offset {}", plugin.0, plugin.1)]
    FieldExtra {
        at: Place,
        field: String,
        plugin: (String, u64),
    },
    /// The same fields in another order.
    #[error(
        "{at}the fields stand in the order {} in the plugin, {} in the host",
        list(plugin),
        list(host)
    )]
    FieldOrder {
        at: Place,
        host: Vec<String>,
        plugin: Vec<String>,
    },
    /// A variant has another number.
    #[error("{at}variant `{variant}` is {plugin} in the plugin, {host} in the host")]
    Variant {
        at: Place,
        variant: String,
        host: i64,
        plugin: i64,
    },
    /// The host has a variant that the plugin does not have.
    #[error("{at}variant `{variant}` = {host} is missing in the plugin")]
    VariantMissing { at: Place, variant: String, host: i64 },
    /// The plugin has a variant that the host does not have.
    #[error("{at}variant `{variant}` = {plugin} is not in the host")]
    VariantExtra { at: Place, variant: String, plugin: i64 },
    /// The same variants in another order.
    #[error(
        "{at}the variants stand in the order {} in the plugin, {} in the host",
        list(plugin),
        list(host)
    )]
    VariantOrder {
        at: Place,
        host: Vec<String>,
        plugin: Vec<String>,
    },
    /// Another number of elements.
    #[error("{at}has {plugin} elements in the plugin, {host} in the host")]
    ArrayLength { at: Place, host: u64, plugin: u64 },
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Host => "host",
            Side::Plugin => "plugin",
        })
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn since(version: &Option<Version>) -> String {
    version.map_or("from the start".into(), |(major, minor)| format!("since {major}.{minor}"))
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['a', 'e']) { "an" } else { "a" }
}
