//! The slots into which an artifact is loaded. By default this is one: the slot with the plugin's name. An embedder, or the
//! settings, may name several slots for a plugin, or other slots for a file. This module holds only the data; `reload` does
//! the loading.

use crate::watch::is_artifact;
use reslot_artifact::manifest::is_name;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why a list of instances is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstancesError {
    /// A slot's name has characters that are not allowed, or is too long.
    #[error(
        "instances of {of:?}: {slot:?} is not a valid name of a slot\n  what to do: use 1 to 64 of the characters A-Z a-z 0-9 _ -"
    )]
    Name {
        /// The plugin, or the file, whose instances are listed.
        of: String,
        /// The name.
        slot: String,
    },
    /// Instances are listed for something that is neither a plugin's name nor a file's name.
    #[error(
        "instances of {of:?}: that is neither a plugin's name nor the name of a file\n  what to do: name the plugin, such as \
         \"momentum\", or a file without its folder, such as \"libmomentum.so\""
    )]
    Of {
        /// The invalid name.
        of: String,
    },
    /// The list of slots is empty.
    #[error("instances of {of:?}: no slot is named, so it would never be loaded\n  what to do: name at least one slot")]
    None {
        /// The plugin, or the file.
        of: String,
    },
    /// Two lists name the same slot, so two artifacts would be loaded into it.
    #[error(
        "the slot {slot:?} is named for {first:?} and for {second:?}, and a slot has one plugin\n  what to do: give each of them slots \
         of its own"
    )]
    Twice {
        /// The slot.
        slot: String,
        /// The first of the two plugins or files.
        first: String,
        /// The second one; it equals the first if one list names the slot twice.
        second: String,
    },
}

/// The slots of the plugins and files for which instances are listed.
#[derive(Debug, Default)]
pub(crate) struct Instances(BTreeMap<String, Vec<Arc<str>>>);

/// The lists as an embedder writes them: the slots by plugin or file.
pub(crate) type Said = BTreeMap<String, Vec<String>>;

impl Instances {
    /// # Errors
    /// If a name is invalid, or a slot would have two artifacts.
    pub(crate) fn checked(said: &Said) -> Result<Self, InstancesError> {
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        for (of, slots) in said {
            let is_file = is_artifact(Path::new(of)) && !of.contains('/');
            if !is_name(of) && !is_file {
                return Err(InstancesError::Of { of: of.clone() });
            }
            if slots.is_empty() {
                return Err(InstancesError::None { of: of.clone() });
            }
            for slot in slots {
                if !is_name(slot) {
                    let (of, slot) = (of.clone(), slot.clone());
                    return Err(InstancesError::Name { of, slot });
                }
                if let Some(first) = taken.insert(slot, of) {
                    return Err(InstancesError::Twice {
                        slot: slot.clone(),
                        first: first.to_owned(),
                        second: of.clone(),
                    });
                }
            }
        }
        let named = |(of, slots): (&String, &Vec<String>)| {
            let slots = slots.iter().map(|slot| slot.as_str().into());
            (of.clone(), slots.collect())
        };
        Ok(Self(said.iter().map(named).collect()))
    }

    /// The slots that are listed for an artifact; the list for its file takes precedence over the list for its plugin.
    pub(crate) fn of(&self, plugin: &str, path: &Path) -> Vec<Arc<str>> {
        let file = path.file_name().and_then(|name| self.0.get(name.to_str()?));
        let named = file.or_else(|| self.0.get(plugin));
        named.cloned().unwrap_or_else(|| vec![plugin.into()])
    }

    /// Whether the slot with a plugin's name gets no artifact by default, because other slots are listed for that plugin.
    pub(crate) fn leaves_out(&self, slot: &str) -> bool {
        let named = self.0.values().flatten().any(|named| **named == *slot);
        !named && self.0.contains_key(slot)
    }
}

/// A request to load a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LoadRequest {
    pub(crate) path: PathBuf,
    /// The slot to load it into; none: all slots of its plugin or file.
    pub(crate) slot: Option<Arc<str>>,
}

impl LoadRequest {
    /// A request for all slots of the file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            slot: None,
        }
    }

    /// A request for this slot.
    pub(crate) fn of_slot(path: impl Into<PathBuf>, slot: &Arc<str>) -> Self {
        Self {
            path: path.into(),
            slot: Some(slot.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Instances, InstancesError, Said};
    use std::path::Path;

    fn said(all: &[(&str, &[&str])]) -> Said {
        let named = |slots: &[&str]| slots.iter().map(|slot| (*slot).to_owned()).collect();
        all.iter().map(|(of, slots)| ((*of).to_owned(), named(slots))).collect()
    }

    #[test]
    fn instances_by_file_come_before_those_by_plugin_and_others_have_their_own_slot() {
        let instances = Instances::checked(&said(&[("momentum", &["eur", "gbp"]), ("canary.so", &["canary"])])).unwrap();
        let of = |plugin, path: &str| -> Vec<String> {
            let slots = instances.of(plugin, Path::new(path));
            slots.iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("momentum", "/plugins/libmomentum.so"), ["eur", "gbp"]);
        assert_eq!(of("momentum", "/plugins/canary.so"), ["canary"]);
        assert_eq!(of("pricer", "/plugins/libpricer.so"), ["pricer"]);
        assert!(instances.leaves_out("momentum") && !instances.leaves_out("eur") && !instances.leaves_out("pricer"));
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let refused = |all: &[(&str, &[&str])]| Instances::checked(&said(all)).unwrap_err();
        let of = || "momentum".to_owned();
        assert_eq!(refused(&[("momentum", &[])]), InstancesError::None { of: of() });
        let slot = "eur usd".to_owned();
        assert_eq!(
            refused(&[("momentum", &["eur usd"])]),
            InstancesError::Name { of: of(), slot }
        );
        for of in ["a/b.so", ".hidden.so", "a b", ""] {
            assert_eq!(refused(&[(of, &["eur"])]), InstancesError::Of { of: of.to_owned() });
        }
        let twice = refused(&[("momentum", &["eur"]), ("pricer", &["eur"])]);
        assert!(
            matches!(&twice, InstancesError::Twice { slot, .. } if slot == "eur"),
            "{twice}"
        );
        assert!(matches!(
            refused(&[("momentum", &["eur", "eur"])]),
            InstancesError::Twice { .. }
        ));
    }
}
