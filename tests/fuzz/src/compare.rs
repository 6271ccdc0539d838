//! Two interfaces, and the verdict of `compare` about them. The oracle does not compare descriptions: it writes down what a
//! call through each position of the function table passes, byte by byte, and a call works if both sides have the same.
//!
//! The rules are those of `docs/interfaces.md`: a method that was added at the end with `#[since]` may be missing on either
//! side; every other difference would make some call wrong.

use arbitrary::{Arbitrary, Unstructured};
use reslot::artifact::{
    Argument, Difference, Field, Interface, Kind, Method, Receiver, Shape, Type, Variant, compare as verdict_of,
};

const NAMES: [&str; 6] = ["a", "b", "c", "price", "Tick", "Side"];

/// What `compare` says.
pub fn verdict(host: &Interface, plugin: &Interface) -> Result<(), Vec<Difference>> {
    verdict_of(host, plugin)
}

/// Two interfaces from the input: the verdict is the oracle's, in both directions, and every difference has words.
pub fn compare(bytes: &[u8]) {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(bytes)) {
        case.check();
    }
}

/// A host's interface, and a plugin's that was made from it by edits.
#[derive(Debug, Clone)]
pub struct Case {
    /// The host's.
    pub host: Interface,
    /// The plugin's.
    pub plugin: Interface,
    /// What was changed.
    pub edits: Vec<Edit>,
}

/// A change of an interface, as an author could make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Edit {
    AddWithSince,
    AddWithoutSince,
    RemoveMethod,
    SwapMethods,
    RenameMethod,
    RenameInterface,
    Major,
    Minor,
    Receiver,
    Since,
    RenameArgument,
    AddArgument,
    RemoveArgument,
    OtherShape,
    Inside,
}

impl<'a> Arbitrary<'a> for Edit {
    fn arbitrary(from: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        from.choose(&[
            Self::AddWithSince,
            Self::AddWithoutSince,
            Self::RemoveMethod,
            Self::SwapMethods,
            Self::RenameMethod,
            Self::RenameInterface,
            Self::Major,
            Self::Minor,
            Self::Receiver,
            Self::Since,
            Self::RenameArgument,
            Self::AddArgument,
            Self::RemoveArgument,
            Self::OtherShape,
            Self::Inside,
        ])
        .copied()
    }
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(from: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let host = interface(from, 2)?;
        let (mut plugin, mut edits) = (host.clone(), Vec::new());
        for _ in 0..from.int_in_range(0..=3)? {
            let edit: Edit = from.arbitrary()?;
            edit.apply(&mut plugin, from)?;
            edits.push(edit);
        }
        Ok(Self { host, plugin, edits })
    }
}

impl Case {
    /// Panics if the verdict is not the oracle's.
    pub fn check(&self) {
        for (host, plugin) in [(&self.host, &self.plugin), (&self.plugin, &self.host)] {
            let verdict = verdict(host, plugin);
            assert_eq!(
                verdict.is_ok(),
                fits(host, plugin),
                "{:?}: {verdict:?}\nthe host has {host}\nthe plugin has {plugin}\n{host:?}\n{plugin:?}",
                self.edits
            );
            for difference in verdict.err().into_iter().flatten() {
                assert!(!difference.to_string().is_empty());
            }
        }
    }
}

/// What crosses at one place of a call.
#[derive(PartialEq)]
enum Word<'a> {
    /// What the bytes are.
    Bytes(String),
    /// A table of functions.
    Table(&'a Interface),
}

/// Whether every call that either side can make does what its caller means.
pub fn fits(host: &Interface, plugin: &Interface) -> bool {
    if (&host.name, host.major) != (&plugin.name, plugin.major) {
        return false;
    }
    // A method without `since` behind one with it would stand at another position in an older build.
    let in_order = |of: &Interface| of.methods.is_sorted_by_key(|method| method.since.is_some());
    if !in_order(host) || !in_order(plugin) {
        return false;
    }
    // Threads share the plugin if every method of the host takes `&self`; then the plugin's must, too.
    let shared = |of: &Interface| of.methods.iter().all(|method| method.receiver == Receiver::Ref);
    if shared(host) && !shared(plugin) {
        return false;
    }
    let first = |of: &Interface| of.methods.iter().filter(|method| method.since.is_none()).count();
    if first(host) != first(plugin) {
        return false;
    }
    // Both tables have these positions. Behind the end of the shorter one nobody calls.
    host.methods
        .iter()
        .zip(&plugin.methods)
        .all(|(host, plugin)| same_call(host, plugin))
}

fn same_call(host: &Method, plugin: &Method) -> bool {
    let words = |method: &'_ Method| -> Vec<String> {
        vec![
            method.name.clone(),
            format!("{:?} {:?} {}", method.receiver, method.since, method.arguments.len()),
        ]
    };
    if words(host) != words(plugin) {
        return false;
    }
    let (mut host_words, mut plugin_words) = (Vec::new(), Vec::new());
    for (method, into) in [(host, &mut host_words), (plugin, &mut plugin_words)] {
        for argument in &method.arguments {
            passed(&argument.passed, into);
        }
        passed(&method.returns, into);
    }
    host_words.len() == plugin_words.len()
        && host_words.iter().zip(&plugin_words).all(|pair| match pair {
            (Word::Bytes(host), Word::Bytes(plugin)) => host == plugin,
            (Word::Table(host), Word::Table(plugin)) => fits(host, plugin),
            _ => false,
        })
}

fn passed<'a>(shape: &'a Shape, into: &mut Vec<Word<'a>>) {
    let say = |into: &mut Vec<Word<'a>>, word: &str| into.push(Word::Bytes(word.to_owned()));
    match shape {
        Shape::Unit => say(into, "nothing"),
        Shape::Str => say(into, "text of the caller's"),
        Shape::String => say(into, "a copy of a text"),
        Shape::Value(of) => placed("a value", of, into),
        Shape::Number(of) => placed("a register", of, into),
        Shape::Ref(of) => placed("an address to read", of, into),
        Shape::RefMut(of) => placed("an address to write", of, into),
        Shape::Slice(of) => placed("a range to read", of, into),
        Shape::SliceMut(of) => placed("a range to write", of, into),
        Shape::Interface(of) => {
            say(into, "a shared object");
            into.push(Word::Table(of));
        }
        Shape::InterfaceMut(of) => {
            say(into, "an object");
            into.push(Word::Table(of));
        }
        Shape::Vec(of) => {
            say(into, "a copied list of");
            passed(of, into);
        }
        Shape::Option(of) => {
            say(into, "perhaps");
            passed(of, into);
        }
        Shape::Result(of, error) => {
            say(into, "either");
            passed(of, into);
            say(into, "or");
            passed(error, into);
        }
    }
}

/// The bytes of a type, from its start: what lies at which offset, by names.
fn placed(how: &str, of: &Type, into: &mut Vec<Word<'_>>) {
    fn bytes(of: &Type, at: u64, text: &mut String) {
        *text += &format!("{at}+{}/{} {:?}(", of.size, of.align, of.name);
        match &of.kind {
            Kind::Scalar => text.push_str("scalar"),
            Kind::Struct(fields) => fields.iter().for_each(|field| {
                *text += &format!("{:?}: ", field.name);
                bytes(&field.of, at.wrapping_add(field.offset), text);
                // An offset beyond the end of all numbers must not look like a small one.
                *text += &format!("[{}], ", field.offset);
            }),
            Kind::Enum(variants) => variants
                .iter()
                .for_each(|variant| *text += &format!("{:?} is {}, ", variant.name, variant.value)),
            Kind::Array(of, count) => {
                *text += &format!("{count} of ");
                bytes(of, at, text);
            }
        }
        text.push(')');
    }
    let mut text = format!("{how}: ");
    bytes(of, 0, &mut text);
    into.push(Word::Bytes(text));
}

fn name(from: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    from.choose(&NAMES).map(|name| (*name).to_owned())
}

fn interface(from: &mut Unstructured<'_>, depth: u8) -> arbitrary::Result<Interface> {
    let mut methods: Vec<Method> = Vec::new();
    let shared = from.ratio(2, 3)?;
    let (first, added) = (from.int_in_range(0..=3)?, from.int_in_range(0..=2)?);
    for at in 0..first + added {
        let since = (at >= first).then_some((1, at));
        methods.push(method(from, depth, shared, since)?);
    }
    // Names are different, as the compiler sees to, but for one case in sixteen: a manifest can be written by hand.
    if !from.ratio(1, 16)? {
        for (at, method) in methods.iter_mut().enumerate() {
            method.name = format!("{}{at}", method.name);
        }
    }
    Ok(Interface {
        name: if from.ratio(7, 8)? {
            "Strategy".to_owned()
        } else {
            name(from)?
        },
        major: 1,
        minor: added,
        methods,
    })
}

fn method(from: &mut Unstructured<'_>, depth: u8, shared: bool, since: Option<(u16, u16)>) -> arbitrary::Result<Method> {
    let arguments = from.int_in_range(0..=2)?;
    Ok(Method {
        name: name(from)?,
        receiver: if shared || from.arbitrary()? {
            Receiver::Ref
        } else {
            Receiver::RefMut
        },
        arguments: (0..arguments).map(|_| argument(from, depth)).collect::<Result<_, _>>()?,
        returns: shape(from, depth)?,
        since,
    })
}

fn argument(from: &mut Unstructured<'_>, depth: u8) -> arbitrary::Result<Argument> {
    Ok(Argument {
        name: name(from)?,
        passed: shape(from, depth)?,
    })
}

fn shape(from: &mut Unstructured<'_>, depth: u8) -> arbitrary::Result<Shape> {
    let deeper = depth.saturating_sub(1);
    Ok(match from.int_in_range(0..=if depth == 0 { 8 } else { 13 })? {
        0 => Shape::Unit,
        1 => Shape::Str,
        2 => Shape::String,
        3 => Shape::Value(plain(from, depth)?),
        4 => Shape::Number(scalar(from)?),
        5 => Shape::Ref(plain(from, depth)?),
        6 => Shape::RefMut(plain(from, depth)?),
        7 => Shape::Slice(plain(from, depth)?),
        8 => Shape::SliceMut(plain(from, depth)?),
        9 => Shape::Interface(interface(from, deeper)?),
        10 => Shape::InterfaceMut(interface(from, deeper)?),
        11 => Shape::Vec(Box::new(shape(from, deeper)?)),
        12 => Shape::Option(Box::new(shape(from, deeper)?)),
        _ => Shape::Result(Box::new(shape(from, deeper)?), Box::new(shape(from, deeper)?)),
    })
}

fn scalar(from: &mut Unstructured<'_>) -> arbitrary::Result<Type> {
    let (name, size) = *from.choose(&[("u8", 1), ("u32", 4), ("i32", 4), ("u64", 8), ("f64", 8), ("bool", 1)])?;
    Ok(Type {
        name: name.to_owned(),
        size,
        align: size,
        kind: Kind::Scalar,
    })
}

fn plain(from: &mut Unstructured<'_>, depth: u8) -> arbitrary::Result<Type> {
    let deeper = depth.saturating_sub(1);
    match from.int_in_range(0..=if depth == 0 { 1 } else { 3 })? {
        0 => scalar(from),
        1 => {
            let count = from.int_in_range(1..=3)?;
            let variants = (0..count).map(|at| {
                Ok(Variant {
                    name: format!("{}{at}", name(from)?),
                    value: at,
                })
            });
            let kind = Kind::Enum(variants.collect::<arbitrary::Result<_>>()?);
            Ok(Type {
                name: name(from)?,
                size: 1,
                align: 1,
                kind,
            })
        }
        2 => {
            let (of, count) = (plain(from, deeper)?, from.int_in_range(0..=3)?);
            Ok(Type {
                name: format!("[{}; {count}]", of.name),
                size: of.size * count,
                align: of.align,
                kind: Kind::Array(Box::new(of), count),
            })
        }
        _ => {
            let (mut fields, mut size, mut align) = (Vec::new(), 0u64, 1);
            for at in 0..from.int_in_range(0..=3)? {
                let of = plain(from, deeper)?;
                size = size.next_multiple_of(of.align);
                align = of.align.max(align);
                fields.push(Field {
                    name: format!("{}{at}", name(from)?),
                    offset: size,
                    of,
                });
                size += fields[fields.len() - 1].of.size;
            }
            Ok(Type {
                name: name(from)?,
                size: size.next_multiple_of(align),
                align,
                kind: Kind::Struct(fields),
            })
        }
    }
}

impl Edit {
    /// Changes an interface.
    ///
    /// # Errors
    /// If the input has ended.
    pub fn apply(self, of: &mut Interface, from: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let methods = &mut of.methods;
        let at = from.choose_index(methods.len().max(1))?;
        let since = (1, methods.len() as u16 + 1);
        match self {
            Self::AddWithSince => {
                let shared = from.ratio(3, 4)?;
                let mut added = method(from, 1, shared, Some(since))?;
                added.name += "new";
                methods.push(added);
            }
            Self::AddWithoutSince => {
                let mut added = method(from, 1, true, None)?;
                added.name += "new";
                methods.insert(at, added);
            }
            Self::RemoveMethod if !methods.is_empty() => drop(methods.remove(at)),
            Self::SwapMethods if methods.len() > 1 => {
                let other = (at + 1) % methods.len();
                methods.swap(at, other);
            }
            Self::RemoveMethod | Self::SwapMethods => {}
            Self::RenameInterface => of.name = name(from)?,
            Self::Major => of.major = from.int_in_range(0..=3)?,
            Self::Minor => of.minor = from.arbitrary()?,
            _ => {
                if let Some(method) = methods.get_mut(at) {
                    self.apply_to(method, from)?;
                }
            }
        }
        Ok(())
    }

    fn apply_to(self, method: &mut Method, from: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let arguments = &mut method.arguments;
        let at = from.choose_index(arguments.len() + 1)?;
        match self {
            Self::RenameMethod => method.name = name(from)?,
            Self::Receiver => {
                method.receiver = match method.receiver {
                    Receiver::Ref => Receiver::RefMut,
                    Receiver::RefMut => Receiver::Ref,
                }
            }
            Self::Since => method.since = from.arbitrary()?,
            Self::RenameArgument => {
                if let Some(argument) = arguments.get_mut(at) {
                    argument.name = name(from)?;
                }
            }
            Self::AddArgument => arguments.insert(at, argument(from, 1)?),
            Self::RemoveArgument if at < arguments.len() => drop(arguments.remove(at)),
            Self::RemoveArgument => {}
            _ => {
                let shape = match arguments.get_mut(at) {
                    Some(argument) => &mut argument.passed,
                    None => &mut method.returns,
                };
                if self == Self::OtherShape {
                    *shape = crate::compare::shape(from, 1)?;
                } else {
                    inside(shape, from)?;
                }
            }
        }
        Ok(())
    }
}

/// Changes something inside of what is passed.
fn inside(shape: &mut Shape, from: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    match shape {
        Shape::Unit | Shape::Str | Shape::String => Ok(()),
        Shape::Value(of)
        | Shape::Number(of)
        | Shape::Ref(of)
        | Shape::RefMut(of)
        | Shape::Slice(of)
        | Shape::SliceMut(of) => inside_type(of, from),
        Shape::Interface(of) | Shape::InterfaceMut(of) => {
            let edit: Edit = from.arbitrary()?;
            edit.apply(of, from)
        }
        Shape::Vec(of) | Shape::Option(of) => inside(of, from),
        Shape::Result(of, error) => match from.arbitrary()? {
            true => inside(of, from),
            false => inside(error, from),
        },
    }
}

fn inside_type(of: &mut Type, from: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    match (from.int_in_range(0..=7)?, &mut of.kind) {
        (0, _) => of.size = from.int_in_range(0..=16)?,
        (1, _) => of.align = 1 << from.int_in_range(0..=4)?,
        (2, _) => of.name = name(from)?,
        (3, kind) => *kind = plain(from, 1)?.kind,
        (_, Kind::Scalar) => *of = scalar(from)?,
        (4, Kind::Struct(fields)) if fields.len() > 1 => {
            let at = from.choose_index(fields.len() - 1)?;
            fields.swap(at, at + 1);
        }
        (5, Kind::Struct(fields)) => fields.push(Field {
            name: name(from)?,
            offset: from.arbitrary()?,
            of: scalar(from)?,
        }),
        (_, Kind::Struct(fields)) => {
            let at = from.choose_index(fields.len().max(1))?;
            if let Some(field) = fields.get_mut(at) {
                match from.int_in_range(0..=2)? {
                    0 => field.name = name(from)?,
                    1 => field.offset = from.arbitrary()?,
                    _ => inside_type(&mut field.of, from)?,
                }
            }
        }
        (4, Kind::Enum(variants)) if variants.len() > 1 => {
            let at = from.choose_index(variants.len() - 1)?;
            variants.swap(at, at + 1);
        }
        (5, Kind::Enum(variants)) => variants.push(Variant {
            name: name(from)?,
            value: from.arbitrary()?,
        }),
        (_, Kind::Enum(variants)) => {
            let at = from.choose_index(variants.len().max(1))?;
            if let Some(variant) = variants.get_mut(at) {
                match from.arbitrary()? {
                    true => variant.name = name(from)?,
                    false => variant.value = from.arbitrary()?,
                }
            }
        }
        (4, Kind::Array(_, count)) => *count = from.arbitrary()?,
        (_, Kind::Array(of, _)) => inside_type(of, from)?,
    }
    Ok(())
}
