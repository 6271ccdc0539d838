//! Calls as bytes: requests that no host sends, replies that no plugin sends, and calls of a plugin that are no answer to
//! anything, all of them in any order and nested.

use reslot_plugin_api::{
    __private::{
        Callee, Connection, Status,
        marshal::{Call, LentObjects, Marshalling, RemoteInstance, Transport, TransportError, dispatch_instance},
    },
    Backtrace, CallError, Crossing, Fault, Implements, Interface, interface,
};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(C)]
struct Mixed {
    flag: bool,
    letter: char,
    kind: Kind,
    numbers: [u16; 2],
    wide: f64,
    flags: [bool; 3],
}

#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(i8)]
enum Kind {
    #[default]
    One = -1,
    Two = 5,
}

#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(C)]
struct Nothing;

#[interface]
trait Lent {
    fn change(&mut self, value: &mut Mixed, all: &mut [Mixed]) -> bool;
    fn read(&self, text: &str, all: &[Mixed]) -> Vec<Option<String>>;
    fn back(&mut self, other: &mut dyn Back) -> u64;
    fn back_shared(&self, other: &dyn Back) -> u64;
    fn borrow(&self) -> &str;
    #[since("1.1")]
    fn newer(&self, value: Kind) -> Kind {
        value
    }
}

#[interface]
trait Back {
    fn add(&mut self, value: u64) -> u64;
    fn texts(&self, nothing: &[Nothing]) -> Result<Vec<String>, Kind>;
    fn lend(&self, leaf: &dyn Leaf) -> u64;
}

#[interface]
trait Leaf {
    fn leaf(&self, kind: Kind) -> Kind;
}

#[interface]
trait Every {
    fn mixed(&self, value: Mixed, letter: char, flag: bool) -> Mixed;
    fn texts(&self, text: &str, wide: &[f64]) -> Vec<String>;
    fn nested(&self, kind: Kind) -> Vec<Result<Option<Mixed>, Vec<Kind>>>;
    fn nothing(&self, all: &[Nothing]) -> Vec<Nothing>;
    fn change(
        &mut self,
        value: &mut Mixed,
        flags: &mut [bool],
        all: &mut [Mixed],
        nothing: &mut [Nothing],
    ) -> Option<String>;
    fn lend(&mut self, first: &mut dyn Lent, second: &dyn Lent, text: &str) -> u64;
    fn lend_read(&self, first: &dyn Lent, text: &str) -> Result<String, ()>;
    fn borrow(&self) -> &str;
}

/// The objects of both sides. Each value that they get is looked at, as real code would.
#[derive(Default)]
struct Here {
    value: Mixed,
    seen: u64,
}

fn look(value: impl std::fmt::Debug) -> u64 {
    format!("{value:?}").len() as u64
}

impl Lent for Here {
    fn change(&mut self, value: &mut Mixed, all: &mut [Mixed]) -> bool {
        self.seen = self.seen.wrapping_add(look(&all)).wrapping_add(look(&value));
        std::mem::swap(value, &mut self.value);
        all.reverse();
        value.flag
    }
    fn read(&self, text: &str, all: &[Mixed]) -> Vec<Option<String>> {
        text.chars()
            .take(3)
            .map(|letter| (look(all) > 9).then(|| letter.into()))
            .collect()
    }
    fn back(&mut self, other: &mut dyn Back) -> u64 {
        self.seen = other.add(1).wrapping_add(other.lend(self));
        look(other.texts(&[Nothing; 2]))
    }
    fn back_shared(&self, other: &dyn Back) -> u64 {
        other.lend(self).wrapping_add(look(other.texts(&[])))
    }
    fn borrow(&self) -> &str {
        "borrowed"
    }
    fn newer(&self, value: Kind) -> Kind {
        value
    }
}

impl Leaf for Here {
    fn leaf(&self, kind: Kind) -> Kind {
        kind
    }
}

impl Every for Here {
    fn mixed(&self, value: Mixed, letter: char, flag: bool) -> Mixed {
        look((value, letter, flag));
        Mixed { letter, flag, ..value }
    }
    fn texts(&self, text: &str, wide: &[f64]) -> Vec<String> {
        vec![text.to_owned(); wide.len().min(3)]
    }
    fn nested(&self, kind: Kind) -> Vec<Result<Option<Mixed>, Vec<Kind>>> {
        vec![Ok(None), Ok(Some(self.value)), Err(vec![kind; 2])]
    }
    fn nothing(&self, all: &[Nothing]) -> Vec<Nothing> {
        all.to_vec()
    }
    fn change(&mut self, value: &mut Mixed, flags: &mut [bool], all: &mut [Mixed], _: &mut [Nothing]) -> Option<String> {
        look((&value, &flags, &all));
        flags.iter_mut().for_each(|flag| *flag = !*flag);
        Lent::change(self, value, all).then(String::new)
    }
    fn lend(&mut self, first: &mut dyn Lent, second: &dyn Lent, text: &str) -> u64 {
        let mut all = [Mixed::default(); 2];
        first.change(&mut self.value, &mut all);
        look((second.read(text, &all), first.newer(Kind::Two)))
    }
    fn lend_read(&self, first: &dyn Lent, text: &str) -> Result<String, ()> {
        Ok(format!("{:?}", first.read(text, &[])))
    }
    fn borrow(&self) -> &str {
        "borrowed"
    }
}

/// What the other side does next, from the input.
struct Hostile {
    input: Mutex<Vec<u8>>,
}

impl Hostile {
    fn take(&self, len: usize) -> Vec<u8> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let at = input.len().saturating_sub(len);
        input.split_off(at)
    }

    fn byte(&self) -> Option<u8> {
        self.take(1).pop()
    }

    /// A message: its length, then its bytes.
    fn message(&self) -> Vec<u8> {
        let len = self.byte().unwrap_or(0);
        self.take(len.into())
    }

    /// A call of an object that may be lent: in the request that was sent its handle may stand anywhere.
    fn call_back(&self, lends: LentObjects<'_>, sent: &[u8], what: u8) {
        let (words, _) = sent.as_chunks::<8>();
        let handle = match words.get(usize::from(what >> 4)) {
            Some(word) => u64::from_ne_bytes(*word).wrapping_add(u64::from(what & 1)),
            None => u64::from(what),
        };
        let method = u32::from(self.byte().unwrap_or(0) % 7);
        let request = self.message();
        lends.serve(handle, method, &request, &mut Vec::new(), self);
    }
}

impl Transport for Hostile {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        let mut sent = vec![0; call.request_len()?];
        call.encode(&mut sent)?;
        loop {
            match self.byte() {
                None => return Err(TransportError::Engine("the other side has ended".into())),
                Some(what) if what & 2 == 0 => self.call_back(call.lends(), &sent, what),
                Some(what) => return call.complete(u32::from(what >> 2) % 6, &self.message()),
            }
        }
    }

    fn failed(&self, _: u32, error: TransportError) {
        assert!(
            !matches!(error, TransportError::Panicked),
            "a transport of this test has panicked"
        );
        assert!(!error.to_string().is_empty());
    }
}

struct Told;

impl Callee for Told {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        let fault = Fault::Panicked {
            message: format!("{status:?}").into(),
            location: None,
            backtrace: Backtrace::default(),
        };
        CallError::new("fuzz", 1, method, fault)
    }

    fn through_gate(
        &self,
        method: &'static str,
        _: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        Err(self.fault(method, Status::FAILED))
    }
}

/// The input is read from its end. Each round has one byte that says what is done: a request to a plugin, or a call of a host
/// that a hostile plugin serves.
pub fn marshal(bytes: &[u8]) {
    let hostile = Arc::new(Hostile {
        input: Mutex::new(bytes.to_vec()),
    });
    let marshalling = Marshalling::of::<dyn Every>();
    let functions = marshalling.description().methods.len();
    let instance = RemoteInstance::new(functions, hostile.clone());
    instance.bind(&marshalling);
    let told: &'static dyn Callee = &Told;
    // SAFETY: data and table are those of the remote instance, which outlives the connection, and the callee is static.
    let mut connection = unsafe { Connection::new(instance.data(), instance.table(), told, false) };
    let mut here = Here::default();
    while let Some(what) = hostile.byte() {
        match what & 1 {
            0 => request(&marshalling, &mut here, &hostile, what >> 1),
            _ => calls(<dyn Every>::client_mut(&mut connection), &mut here, what >> 1),
        }
    }
}

/// A request to a plugin. What it calls back is answered by the input, too.
fn request(marshalling: &Marshalling, here: &mut Here, hostile: &Hostile, what: u8) {
    let data = (&raw mut *here).cast::<()>();
    let table = <dyn Every as Implements<Here>>::TABLE;
    let mut reply = Vec::new();
    let method = u32::from(what % 10);
    let request = hostile.message();
    // SAFETY: the object and its table for this interface; `here` is borrowed mutably, so nothing else uses it.
    let (code, error) = unsafe { dispatch_instance(marshalling, (data, table), method, &request, &mut reply, hostile) };
    assert!(code <= 4);
    assert_eq!(error.is_some(), code == 4, "{error:?}");
}

/// A call of a host. The results are looked at; nothing of a reply that was refused has been written.
fn calls(client: &mut EveryClient, here: &mut Here, what: u8) {
    let mut other = Here::default();
    match what % 8 {
        0 => drop(client.mixed(here.value, 'ß', true).map(look)),
        1 => drop(client.texts("naïve", &[1.0, 2.0]).map(look)),
        2 => drop(client.nested(Kind::Two).map(look)),
        3 => drop(client.nothing(&[Nothing; 3]).map(look)),
        4 => {
            let (mut value, mut flags, mut all) = (here.value, [true; 3], [here.value; 2]);
            let before = (value, flags, look(all));
            match client.change(&mut value, &mut flags, &mut all, &mut [Nothing; 2]) {
                Ok(text) => drop(look((value, flags, all, text))),
                // A float that is not a number is not equal to itself.
                Err(_) => assert_eq!(look((value, flags, look(all))), look(before)),
            }
        }
        5 => drop(client.lend(here, &other, "text").map(look)),
        6 => drop(client.lend_read(&other, "text").map(look)),
        _ => {
            drop(client.lend(&mut other, here, "").map(look));
            assert!(client.borrow().is_err());
        }
    }
}
