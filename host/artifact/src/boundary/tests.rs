//! Interfaces with each reason.

use super::*;
use reslot_plugin_api::{Crossing, Interface as _, interface};

#[interface]
trait Sink {
    fn send(&mut self, text: &str) -> u64;
}

#[derive(Crossing)]
#[repr(C)]
struct Inside {
    counts: [[usize; 2]; 1],
}

#[interface]
trait Lent {
    fn inside(&self, value: &Inside);
}

#[interface]
trait Sized {
    fn fine(&self, a: u64, b: &[f64]) -> Vec<Option<u32>>;
    fn deep(&self) -> Vec<Result<u8, Option<isize>>>;
    fn lends(&self, lent: &dyn Lent, again: &dyn Lent);
    fn slice(&self) -> &[u8];
}

fn found(pointer_size: usize) -> Vec<(String, String, Reason)> {
    let interface = Interface::from(<dyn Sized>::DESCRIPTION);
    let found = unsupported(&interface, pointer_size).into_iter();
    found.map(|one| (one.interface, one.method, one.reason)).collect()
}

#[test]
fn methods_are_named_with_their_reasons() {
    let one = |interface: &str, method: &str, reason| (interface.to_owned(), method.to_owned(), reason);
    let sized = |of: &str| Reason::PointerSized { of: of.to_owned() };
    assert_eq!(
        found(4),
        [
            one("Sized", "deep", sized("isize")),
            one("Sized", "slice", Reason::BorrowedResult),
            one("Lent", "inside", sized("Inside")),
        ]
    );
    assert_eq!(found(8), [one("Sized", "slice", Reason::BorrowedResult)]);
    assert_eq!(unsupported(&Interface::from(<dyn Sink>::DESCRIPTION), 4), []);
}

#[test]
fn each_reason_says_what_to_write_instead() {
    let words: Vec<_> = unsupported(&Interface::from(<dyn Sized>::DESCRIPTION), 4)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        words[0].contains("`Sized::deep` passes `isize`") && words[0].contains("such as `u64`"),
        "{words:?}"
    );
    assert_eq!(
        words[1],
        "`Sized::slice` returns a borrow, and the object is not in the caller's memory: return a value, `String` or `Vec`"
    );
}
