//! Why another plugin cannot be had, as it crosses from the host.

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
    /// On the host's side.
    pub fn new(kind: PeerErrorKind, words: &str) -> Self {
        let number = KINDS.iter().position(|known| *known == kind);
        Self {
            kind: number.unwrap_or(KINDS.len()) as u32,
            words: words.into(),
        }
    }

    /// On the caller's side: what happened, and the words in its own memory.
    pub(super) fn copy_out(&self) -> (PeerErrorKind, String) {
        let kind = KINDS.get(self.kind as usize).copied();
        (kind.unwrap_or(PeerErrorKind::NoHost), self.words.to_string())
    }
}
