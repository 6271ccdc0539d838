//! States as data: the snapshot of a swap, and the saved state of an unloaded plugin.

use reslot_artifact::ContentHash;
use reslot_report::SavedStateError;
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// The state that was handed over at a swap.
pub(crate) struct Snapshot {
    pub(crate) schema: u32,
    pub(crate) bytes: Vec<u8>,
    /// The hash of the bytes, once they are kept for later. A state that is handed over at once has none: callers may wait for it.
    seal: OnceLock<ContentHash>,
}

impl Snapshot {
    pub(crate) fn new(schema: u32, bytes: Vec<u8>) -> Self {
        Self {
            schema,
            bytes,
            seal: OnceLock::new(),
        }
    }

    /// Notes the hash of the bytes, because they are kept for later.
    pub(crate) fn seal(&self) {
        self.seal.get_or_init(|| ContentHash::of(&self.bytes));
    }

    /// The bytes, as they were sealed.
    ///
    /// # Errors
    /// If they are others now: something has written there, or a bit has flipped.
    pub(crate) fn intact(&self) -> Result<&[u8], SavedStateError> {
        match self.seal.get() {
            Some(sealed) if ContentHash::of(&self.bytes) != *sealed => {
                Err(SavedStateError::Damaged { bytes: self.bytes.len() })
            }
            _ => Ok(&self.bytes),
        }
    }
}

/// The state of an unloaded plugin, encoded as a successor would have got it: MessagePack, with the names of the fields.
///
/// ```
/// use reslot::{Host, UnloadOutcome};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let UnloadOutcome::Unloaded(unloaded) = host.unload("momentum")? else {
///     panic!("nobody owns it");
/// };
/// let state = unloaded.state.expect("it has a state");
/// assert_eq!((state.plugin(), state.schema()), ("momentum", 1));
/// // Later, in this process: it goes on from there.
/// host.load_from("momentum", plugins.join("libmomentum.so"), state)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SavedState {
    pub(crate) plugin: Arc<str>,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl SavedState {
    /// The name of the plugin that the state belongs to.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// The number of its schema.
    pub fn schema(&self) -> u32 {
        self.snapshot.schema
    }

    /// The encoded state.
    pub fn bytes(&self) -> &[u8] {
        &self.snapshot.bytes
    }
}

impl fmt::Debug for SavedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the bytes, which may be many.
        f.debug_struct("SavedState")
            .field("plugin", &self.plugin)
            .field("schema", &self.schema())
            .field("bytes", &self.bytes().len())
            .finish()
    }
}
