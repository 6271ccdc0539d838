//! The ABI of a plugin that runs in WebAssembly: what the module exports, and what it imports. `Hook`, `HookOutcome` and the packing of results are
//! used by both sides; the rest is compiled only into the module.
//!
//! | export | does |
//! |---|---|
//! | `reslot_abi() -> u32` | the version of this ABI, [`ABI`] |
//! | `reslot_room(depth, len) -> address` | room for a request of so many bytes; 0 if there is no memory for it. It is valid until more is asked for at that depth |
//! | `reslot_call(target, method, address, len) -> result` | one call, see [`marshal`](crate::marshal) |
//! | `reslot_hook(hook, first, second, address, len) -> result` | a [`Hook`] |
//! | `reslot_log_level(level)` | records up to this level are sent to the host: 0 none, 1 errors, 5 all |
//!
//! | import from `reslot` | does |
//! |---|---|
//! | `call(handle, method, address, len, reply, capacity) -> result` | a call of an object that the host has lent; a reply that fits is written to `reply` |
//! | `take_reply(address)` | writes a reply that did not fit |
//! | `failed(method, address, len)` | the reason of a call that failed |
//! | `panicked(message, len, location, len)` | the panic hook ran |
//! | `contained(message, len)` | a panic was caught at the boundary |
//! | `log(level, target, len, message, len)` | a record |
//! | `time() -> u64` | nanoseconds since 1970 |
//!
//! A result is a word: see [`pack`]. Calls nest; `depth` counts them.

/// The version of this ABI. A host refuses a module with another one.
pub const ABI: u32 = 1;

/// The module of the imports.
pub const IMPORTS: &str = "reslot";

/// A hook of a plugin. Arguments that are no numbers are in a message, see [`Arguments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// Makes the instance. It is the first call.
    Create,
    /// `Plugin::init`
    Init,
    /// `Plugin::start`
    Start,
    /// `Plugin::stop`
    Stop,
    /// `Plugin::health`. The reply is the number of the answer and its text.
    Health,
    /// Encodes the state.
    Snapshot,
    /// Decodes a state.
    Restore,
    /// Migrates a state from the schema `first` to the schema `second`.
    Migrate,
    /// Decodes a state into a temporary value.
    CannotRead,
    /// `Plugin::on_config`
    Configure,
    /// `Plugin::check_config`
    CheckConfig,
    /// `Plugin::on_resource`
    Resource,
    /// Drops the instance. It is the last call.
    Destroy,
}

impl Hook {
    /// The hook with this number.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        const ALL: [Hook; 13] = [
            Hook::Create,
            Hook::Init,
            Hook::Start,
            Hook::Stop,
            Hook::Health,
            Hook::Snapshot,
            Hook::Restore,
            Hook::Migrate,
            Hook::CannotRead,
            Hook::Configure,
            Hook::CheckConfig,
            Hook::Resource,
            Hook::Destroy,
        ];
        ALL.into_iter().find(|hook| *hook as u32 == number)
    }
}

/// How a hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum HookOutcome {
    /// It is done. The reply has what was asked for.
    Done,
    /// There is no state.
    NoState,
    /// The plugin returned an error, which is the reply.
    Refused,
    /// serde cannot carry a value. The reply says which.
    NotCarried,
    /// The state is nested too deep.
    TooDeep,
    /// The state needs more stack than there is.
    StackUsed,
    /// The plugin panicked. The panic was reported.
    Panicked,
    /// The request is invalid.
    Invalid,
}

impl HookOutcome {
    /// The outcome with this number. An unknown one counts as invalid.
    #[must_use]
    pub fn of(number: u32) -> Self {
        const ALL: [HookOutcome; 7] = [
            HookOutcome::Done,
            HookOutcome::NoState,
            HookOutcome::Refused,
            HookOutcome::NotCarried,
            HookOutcome::TooDeep,
            HookOutcome::StackUsed,
            HookOutcome::Panicked,
        ];
        ALL.into_iter()
            .find(|outcome| *outcome as u32 == number)
            .unwrap_or(Self::Invalid)
    }
}

/// Messages begin at a multiple of this, so the lowest bits of their addresses are free for a code.
const FREE_BITS: u32 = 0xF;

/// A result: the message's address with the code in its lowest bits, and the message's length.
#[must_use]
pub fn pack(code: u32, address: u32, len: u32) -> u64 {
    debug_assert!(code <= FREE_BITS && address & FREE_BITS == 0, "a message is aligned");
    u64::from(address | code) << 32 | u64::from(len)
}

/// Code, address and length of a result.
#[must_use]
pub fn unpack(result: u64) -> (u32, u32, u32) {
    let high = (result >> 32) as u32;
    (high & FREE_BITS, high & !FREE_BITS, result as u32)
}

/// The message of a hook: slot, generation, the name of a resource, and the bytes of a state, of a configuration or of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arguments<'a> {
    /// The slot's name.
    pub slot: &'a str,
    /// The generation's number.
    pub generation: u64,
    /// The resource's name.
    pub name: &'a str,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Arguments<'a> {
    const HEAD: usize = 16;

    /// The length of the message.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        Self::HEAD + self.slot.len() + self.name.len() + self.bytes.len()
    }

    /// Appends the message. Names are shorter than 4 GiB.
    pub fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.generation.to_le_bytes());
        into.extend_from_slice(&(self.slot.len() as u32).to_le_bytes());
        into.extend_from_slice(&(self.name.len() as u32).to_le_bytes());
        into.extend_from_slice(self.slot.as_bytes());
        into.extend_from_slice(self.name.as_bytes());
        into.extend_from_slice(self.bytes);
    }

    /// Reads a message; none if it is invalid.
    #[must_use]
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        let (generation, rest) = message.split_first_chunk()?;
        let (slot, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let (slot, rest) = rest.split_at_checked(u32::from_le_bytes(*slot) as usize)?;
        let (name, bytes) = rest.split_at_checked(u32::from_le_bytes(*name) as usize)?;
        Some(Self {
            slot: std::str::from_utf8(slot).ok()?,
            generation: u64::from_le_bytes(*generation),
            name: std::str::from_utf8(name).ok()?,
            bytes,
        })
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) mod host;
#[cfg(target_arch = "wasm32")]
mod logs;
#[cfg(target_arch = "wasm32")]
mod message;
#[cfg(target_arch = "wasm32")]
mod module;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_arguments_cross_and_come_back() {
        for (code, address, len) in [(0, 0, 0), (7, 16, u32::MAX), (15, 0xFFFF_FFF0, 1)] {
            assert_eq!(unpack(pack(code, address, len)), (code, address, len));
        }
        let arguments = Arguments {
            slot: "risk",
            generation: 7,
            name: "levels/one.txt",
            bytes: &[1, 2, 3],
        };
        let mut message = Vec::new();
        arguments.encode(&mut message);
        assert_eq!(message.len(), arguments.encoded_len());
        assert_eq!(Arguments::decode(&message), Some(arguments));
        for len in 0..message.len() - 3 {
            assert_eq!(Arguments::decode(&message[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn hooks_and_outcomes_have_numbers() {
        for number in 0..13 {
            assert_eq!(Hook::of(number).map(|hook| hook as u32), Some(number));
        }
        assert_eq!(Hook::of(13), None);
        assert_eq!(
            (HookOutcome::of(6), HookOutcome::of(7), HookOutcome::of(8)),
            (HookOutcome::Panicked, HookOutcome::Invalid, HookOutcome::Invalid)
        );
    }
}
