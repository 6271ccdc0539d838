//! Compares a plugin's interface with the host's, and reports every difference with a message for a person. The two
//! descriptions come from other code, which also decides what a difference leads to.

mod difference;

pub use self::difference::{Difference, Place, Side, Step};
use super::manifest::{Field, Interface, Kind, Method, Receiver, Shape, Type, Variant};

/// Compares the interface that the host was compiled with to the one that the plugin was compiled with. The result has every
/// difference, in the order of the host's methods.
///
/// Either side may have more methods with `since`: an old plugin fits a new host, and a new plugin fits an old host.
pub fn compare(host: &Interface, plugin: &Interface) -> Result<(), Vec<Difference>> {
    let mut comparison = Comparison::default();
    comparison.interfaces(host, plugin);
    if comparison.found.is_empty() {
        Ok(())
    } else {
        Err(comparison.found)
    }
}

/// The state of the comparison. The parser limits the nesting of a manifest, so the recursion ends.
#[derive(Default)]
struct Comparison {
    at: Place,
    found: Vec<Difference>,
}

impl Comparison {
    fn at(&self) -> Place {
        self.at.clone()
    }

    fn within(&mut self, step: Step, look: impl FnOnce(&mut Self)) {
        self.at.0.push(step);
        look(self);
        self.at.0.pop();
    }

    fn interfaces(&mut self, host: &Interface, plugin: &Interface) {
        let at = self.at();
        if host.name != plugin.name {
            // Further differences would be meaningless.
            let (host, plugin) = (host.name.clone(), plugin.name.clone());
            return self.found.push(Difference::Name { at, host, plugin });
        }
        if host.major != plugin.major {
            let name = host.name.clone();
            let (host, plugin) = ((host.major, host.minor), (plugin.major, plugin.minor));
            // Another major version is another contract, so the differences of its methods are not listed.
            return self.found.push(Difference::Major { at, name, host, plugin });
        }
        if host.methods.iter().all(|method| method.receiver == Receiver::Ref) {
            let added = plugin.methods.iter().filter(|method| method.since.is_some());
            for method in added.filter(|method| method.receiver == Receiver::RefMut) {
                self.found.push(Difference::NotShared {
                    at: self.at(),
                    method: method.name.clone(),
                });
            }
        }
        self.not_at_end(&host.methods, Side::Host);
        self.not_at_end(&plugin.methods, Side::Plugin);

        let (host_first, host_added) = by_age(&host.methods);
        let (plugin_first, plugin_added) = by_age(&plugin.methods);
        let age = |method: &Method, other: &[&Method]| {
            let other = other.iter().find(|other| other.name == method.name)?;
            Some((method.name.clone(), method.since, other.since))
        };
        let (pairs, reordered) = pair(&host_first, &plugin_first, |method| &method.name);
        for pair in pairs {
            let at = self.at();
            match pair {
                Pair::Both(host, plugin) => self.methods(host, plugin),
                Pair::Host(host) => self.found.push(match age(host, &plugin_added) {
                    Some((method, host, plugin)) => Difference::Since {
                        at,
                        method,
                        host,
                        plugin,
                    },
                    None => Difference::MethodMissing {
                        at,
                        method: host.name.clone(),
                        host: host.to_string(),
                    },
                }),
                Pair::Plugin(plugin) => self.found.push(match age(plugin, &host_added) {
                    Some((method, plugin, host)) => Difference::Since {
                        at,
                        method,
                        host,
                        plugin,
                    },
                    None => Difference::MethodExtra {
                        at,
                        method: plugin.name.clone(),
                        plugin: plugin.to_string(),
                    },
                }),
            }
        }
        if reordered {
            let names = |methods: &[&Method]| methods.iter().map(|method| method.name.clone()).collect();
            let (host, plugin) = (names(&host_first), names(&plugin_first));
            self.found.push(Difference::MethodOrder {
                at: self.at(),
                host,
                plugin,
            });
        }

        // Methods that only one side has added are compatible. Methods that both have added must be equal.
        for (i, (host, plugin)) in host_added.iter().zip(&plugin_added).enumerate() {
            if host.name != plugin.name {
                let (host, plugin) = (host.to_string(), plugin.to_string());
                self.found.push(Difference::AddedMethod {
                    at: self.at(),
                    position: i + 1,
                    host,
                    plugin,
                });
                continue;
            }
            if host.since != plugin.since {
                let (method, host, plugin) = (host.name.clone(), host.since, plugin.since);
                self.found.push(Difference::Since {
                    at: self.at(),
                    method,
                    host,
                    plugin,
                });
            }
            self.methods(host, plugin);
        }
    }

    fn not_at_end(&mut self, methods: &[Method], side: Side) {
        let added = methods.iter().skip_while(|method| method.since.is_none());
        for method in added.filter(|method| method.since.is_none()) {
            self.found.push(Difference::NotAtEnd {
                at: self.at(),
                method: method.name.clone(),
                side,
            });
        }
    }

    /// Compares two methods of one name: first the signature, and only if it agrees, the types and interfaces that it names.
    fn methods(&mut self, host: &Method, plugin: &Method) {
        let same = host.receiver == plugin.receiver
            && host.arguments.len() == plugin.arguments.len()
            && host
                .arguments
                .iter()
                .zip(&plugin.arguments)
                .all(|(host, plugin)| look_alike(&host.passed, &plugin.passed))
            && look_alike(&host.returns, &plugin.returns);
        if !same {
            let (method, host, plugin) = (host.name.clone(), host.to_string(), plugin.to_string());
            return self.found.push(Difference::Signature {
                at: self.at(),
                method,
                host,
                plugin,
            });
        }
        self.within(Step::Method(host.name.clone()), |this| {
            for (host, plugin) in host.arguments.iter().zip(&plugin.arguments) {
                this.within(Step::Argument(host.name.clone()), |this| {
                    this.shapes(&host.passed, &plugin.passed)
                });
            }
            this.within(Step::Returns, |this| this.shapes(&host.returns, &plugin.returns));
        });
    }

    /// Compares two shapes that look alike.
    fn shapes(&mut self, host: &Shape, plugin: &Shape) {
        use Shape::*;
        match (host, plugin) {
            (Value(host), Value(plugin))
            | (Number(host), Number(plugin))
            | (Ref(host), Ref(plugin))
            | (RefMut(host), RefMut(plugin))
            | (Slice(host), Slice(plugin))
            | (SliceMut(host), SliceMut(plugin)) => self.types(host, plugin),
            (Interface(host), Interface(plugin)) | (InterfaceMut(host), InterfaceMut(plugin)) => {
                self.within(Step::Interface(host.name.clone()), |this| this.interfaces(host, plugin));
            }
            (Vec(host), Vec(plugin)) | (Option(host), Option(plugin)) => self.shapes(host, plugin),
            (Result(host, host_error), Result(plugin, plugin_error)) => {
                self.shapes(host, plugin);
                self.shapes(host_error, plugin_error);
            }
            _ => {}
        }
    }

    fn types(&mut self, host: &Type, plugin: &Type) {
        if host.name != plugin.name {
            let (host, plugin) = (host.name.clone(), plugin.name.clone());
            return self.found.push(Difference::TypeName {
                at: self.at(),
                host,
                plugin,
            });
        }
        // The fields are compared first, because a difference in them causes the difference of the whole.
        self.within(Step::Type(host.name.clone()), |this| {
            match (&host.kind, &plugin.kind) {
                (Kind::Scalar, Kind::Scalar) => {}
                (Kind::Struct(host), Kind::Struct(plugin)) => this.fields(host, plugin),
                (Kind::Enum(host), Kind::Enum(plugin)) => this.variants(host, plugin),
                (Kind::Array(host, host_length), Kind::Array(plugin, plugin_length)) => {
                    if host_length != plugin_length {
                        let (host, plugin) = (*host_length, *plugin_length);
                        this.found.push(Difference::ArrayLength {
                            at: this.at(),
                            host,
                            plugin,
                        });
                    }
                    this.within(Step::Element, |this| this.types(host, plugin));
                }
                (host, plugin) => {
                    let (host, plugin) = (host.word(), plugin.word());
                    this.found.push(Difference::TypeKind {
                        at: this.at(),
                        host,
                        plugin,
                    });
                }
            }
            let (host, plugin) = ((host.size, host.align), (plugin.size, plugin.align));
            if host != plugin {
                this.found.push(Difference::TypeLayout {
                    at: this.at(),
                    host,
                    plugin,
                });
            }
        });
    }

    fn fields(&mut self, host: &[Field], plugin: &[Field]) {
        let (host, plugin) = (refs(host), refs(plugin));
        let placed = |field: &Field| (field.of.name.clone(), field.offset);
        let (pairs, reordered) = pair(&host, &plugin, |field| &field.name);
        for pair in pairs {
            let at = self.at();
            match pair {
                Pair::Both(host, plugin) => {
                    let same_type = host.of.name == plugin.of.name;
                    if !same_type || host.offset != plugin.offset {
                        let (field, host, plugin) = (host.name.clone(), placed(host), placed(plugin));
                        self.found.push(Difference::Field { at, field, host, plugin });
                    }
                    if same_type {
                        self.within(Step::Field(host.name.clone()), |this| this.types(&host.of, &plugin.of));
                    }
                }
                Pair::Host(host) => {
                    self.found.push(Difference::FieldMissing {
                        at,
                        field: host.name.clone(),
                        host: placed(host),
                    });
                }
                Pair::Plugin(plugin) => {
                    let (field, plugin) = (plugin.name.clone(), placed(plugin));
                    self.found.push(Difference::FieldExtra { at, field, plugin });
                }
            }
        }
        if reordered {
            let names = |fields: &[&Field]| fields.iter().map(|field| field.name.clone()).collect();
            self.found.push(Difference::FieldOrder {
                at: self.at(),
                host: names(&host),
                plugin: names(&plugin),
            });
        }
    }

    fn variants(&mut self, host: &[Variant], plugin: &[Variant]) {
        let (host, plugin) = (refs(host), refs(plugin));
        let (pairs, reordered) = pair(&host, &plugin, |variant| &variant.name);
        for pair in pairs {
            let at = self.at();
            self.found.push(match pair {
                Pair::Both(host, plugin) if host.value == plugin.value => continue,
                Pair::Both(host, plugin) => Difference::Variant {
                    at,
                    variant: host.name.clone(),
                    host: host.value,
                    plugin: plugin.value,
                },
                Pair::Host(host) => Difference::VariantMissing {
                    at,
                    variant: host.name.clone(),
                    host: host.value,
                },
                Pair::Plugin(plugin) => Difference::VariantExtra {
                    at,
                    variant: plugin.name.clone(),
                    plugin: plugin.value,
                },
            });
        }
        if reordered {
            let names = |variants: &[&Variant]| variants.iter().map(|variant| variant.name.clone()).collect();
            self.found.push(Difference::VariantOrder {
                at: self.at(),
                host: names(&host),
                plugin: names(&plugin),
            });
        }
    }
}

/// Whether two shapes look the same in a signature. The structure is compared and not the text, because a type's name could
/// contain any text.
fn look_alike(host: &Shape, plugin: &Shape) -> bool {
    use Shape::*;
    match (host, plugin) {
        (Unit, Unit) | (Str, Str) | (String, String) => true,
        (Value(host), Value(plugin))
        | (Number(host), Number(plugin))
        | (Ref(host), Ref(plugin))
        | (RefMut(host), RefMut(plugin))
        | (Slice(host), Slice(plugin))
        | (SliceMut(host), SliceMut(plugin)) => host.name == plugin.name,
        (Interface(host), Interface(plugin)) | (InterfaceMut(host), InterfaceMut(plugin)) => host.name == plugin.name,
        (Vec(host), Vec(plugin)) | (Option(host), Option(plugin)) => look_alike(host, plugin),
        (Result(host, host_error), Result(plugin, plugin_error)) => {
            look_alike(host, plugin) && look_alike(host_error, plugin_error)
        }
        _ => false,
    }
}

/// Separates the original methods from those that were added later.
fn by_age(methods: &[Method]) -> (Vec<&Method>, Vec<&Method>) {
    methods.iter().partition(|method| method.since.is_none())
}

fn refs<T>(items: &[T]) -> Vec<&T> {
    items.iter().collect()
}

/// Items with the same name on both sides, or an item on one side only.
enum Pair<'a, T> {
    Both(&'a T, &'a T),
    Host(&'a T),
    Plugin(&'a T),
}

/// Pairs two lists by name: the host's items in order, then the items that only the plugin has. The flag says that only the
/// order differs. If the names differ in any way, the result has an item without a partner, or the flag is set.
fn pair<'a, T>(host: &[&'a T], plugin: &[&'a T], name: impl Fn(&T) -> &str) -> (Vec<Pair<'a, T>>, bool) {
    if host.iter().map(|item| name(item)).eq(plugin.iter().map(|item| name(item))) {
        let pairs = host.iter().zip(plugin).map(|(&host, &plugin)| Pair::Both(host, plugin));
        return (pairs.collect(), false);
    }
    let partner = |item: &T, others: &[&'a T]| others.iter().copied().find(|&other| name(other) == name(item));
    let mut pairs = Vec::new();
    for &item in host {
        pairs.push(partner(item, plugin).map_or(Pair::Host(item), |other| Pair::Both(item, other)));
    }
    for &item in plugin {
        if partner(item, host).is_none() {
            pairs.push(Pair::Plugin(item));
        }
    }
    let reordered = pairs.iter().all(|pair| matches!(pair, Pair::Both(..)));
    (pairs, reordered)
}

#[cfg(test)]
mod tests;
