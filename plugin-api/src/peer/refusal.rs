//! Why another plugin is not available, in the form that crosses from the host.

use super::PeerErrorKind;
use crate::root::PeerRefusalAbi;

/// In the order of their numbers.
const KINDS: [PeerErrorKind; 7] = [
    PeerErrorKind::Undeclared,
    PeerErrorKind::Unknown,
    PeerErrorKind::Claimed,
    PeerErrorKind::Interface,
    PeerErrorKind::Busy,
    PeerErrorKind::NoHost,
    PeerErrorKind::Itself,
];

impl PeerRefusalAbi {
    /// Makes it on the host's side.
    pub fn new(kind: PeerErrorKind, words: &str) -> Self {
        let number = KINDS.iter().position(|known| *known == kind);
        Self {
            kind: number.unwrap_or(KINDS.len()) as u32,
            words: words.into(),
        }
    }

    /// Copies the kind and the text into the caller's memory.
    pub(super) fn copy_out(&self) -> (PeerErrorKind, String) {
        let kind = KINDS.get(self.kind as usize).copied();
        (kind.unwrap_or(PeerErrorKind::NoHost), self.words.to_string())
    }
}
