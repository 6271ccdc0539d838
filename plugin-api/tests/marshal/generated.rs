//! Random values, which cross unchanged, and random changes of messages, which never do more than fail.

use crate::{
    interfaces::{Book, Kind, Level, Orders, Plugin, Refused, Shapes, Side, Sink, Ticket},
    loopback::{Message, Served, connect},
    shapes::shapes,
};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn level() -> impl Strategy<Value = Level> {
    (-1e9..1e9, any::<u32>()).prop_map(|(price, quantity)| Level { price, quantity })
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Buy), Just(Side::Sell)]
}

fn book() -> impl Strategy<Value = Book> {
    let parts = (
        any::<[u8; 5]>(),
        level(),
        [level(), level()],
        side(),
        any::<bool>(),
        any::<char>(),
        any::<[bool; 3]>(),
    );
    parts.prop_map(|(symbol, best, levels, side, open, currency, flags)| Book {
        symbol,
        best,
        levels,
        side,
        open,
        currency,
        flags,
    })
}

/// A change that a hostile side makes to one message.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Cut(usize),
    Extend(Vec<u8>),
    Replace(Vec<u8>),
    Code(u32),
    Method(u32),
    Target(u64),
    Nearby(i8),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        any::<usize>().prop_map(Change::Cut),
        bytes().prop_map(Change::Extend),
        bytes().prop_map(Change::Replace),
        (0..7_u32).prop_map(Change::Code),
        (0..40_u32).prop_map(Change::Method),
        any::<u64>().prop_map(Change::Target),
        any::<i8>().prop_map(Change::Nearby),
    ]
}

fn apply(change: &Change, message: &mut Message) {
    let len = message.bytes.len();
    match change {
        Change::Set(at, byte) if len > 0 => message.bytes[at % len] = *byte,
        Change::Set(..) => {}
        Change::Cut(at) => message.bytes.truncate(at % (len + 1)),
        Change::Extend(bytes) => message.bytes.extend(bytes),
        Change::Replace(bytes) => message.bytes.clone_from(bytes),
        Change::Code(code) => message.code = message.code.map(|_| *code),
        Change::Method(method) => message.method = *method,
        Change::Target(target) => message.target = *target,
        Change::Nearby(by) => message.target = message.target.wrapping_add_signed((*by).into()),
    }
}

/// One call of each kind. Which of them fail does not matter.
fn call_all(shapes: &mut Served<dyn Shapes>, a_book: Book) {
    let mut orders = Orders::default();
    let (mut changed, mut flags, mut levels) = (a_book, [true, false], [a_book.best; 2]);
    let _ = shapes.book(a_book);
    let _ = shapes.books(&[a_book; 2]);
    let _ = shapes.ticket(Ticket(1, Kind::Market));
    let _ = shapes.change(&mut changed);
    let _ = shapes.flip(&mut flags, &mut levels, &mut 1);
    let _ = shapes.length("naïve");
    let _ = shapes.deep();
    let _ = shapes.outcome(true);
    let _ = shapes.nest(&mut orders);
    let _ = shapes.nest_shared(&orders);
    let _ = shapes.two(&mut orders, &mut Orders::default());
    let _ = shapes.fill(&mut orders);
    let _ = orders.sent();
}

proptest! {
    #[test]
    fn values_cross_unchanged(
        one in book(), all in prop::collection::vec(book(), 0..6), letter in any::<char>(), text in ".{0,40}",
        prices in prop::collection::vec(any::<u32>().prop_map(f64::from), 0..50), a in any::<u8>(), number in any::<u64>(),
    ) {
        let mut shapes = shapes();
        let mut expected = one;
        expected.levels.reverse();
        prop_assert_eq!(shapes.book(one).expect("a reply"), expected);
        let mut swapped = one;
        shapes.change(&mut swapped).expect("a reply");
        prop_assert_eq!(swapped, Book::default());
        prop_assert_eq!(shapes.outcome(true).expect("a reply"), Ok(Some(one)));
        let reversed: Vec<Book> = all.iter().rev().copied().collect();
        prop_assert_eq!(shapes.books(&all).expect("a reply"), reversed);
        prop_assert_eq!(shapes.letter(letter).expect("a reply"), letter);
        prop_assert_eq!(shapes.length(&text).expect("a reply"), text.chars().count() as u64);
        prop_assert_eq!(shapes.sum(a, &prices).expect("a reply"), prices.iter().sum::<f64>() + f64::from(a));
        prop_assert_eq!(shapes.ticket(Ticket(number, Kind::Market)).expect("a reply").0, number.wrapping_add(1));
    }

    #[test]
    fn changed_messages_do_no_harm(
        one in book(), changes in prop::collection::vec((0..30_usize, change()), 1..6),
    ) {
        let mut shapes: Served<dyn Shapes> = connect(Plugin::default());
        let mut at = 0;
        shapes.tamper(move |message| {
            // The host does not lie to the plugin about the objects that it has.
            let before = message.target;
            for (_, change) in changes.iter().filter(|(when, _)| *when == at % 30) {
                apply(change, message);
            }
            if message.to_plugin {
                message.target = before;
            }
            at += 1;
        });
        // A hostile plugin may claim that a lent object has panicked, which unwinds nobody. It may also call the object with a price that the
        // object refuses by a panic of its own, which goes on as that.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| call_all(&mut shapes, one))) {
            prop_assert!(payload.is::<Refused>());
        }
        shapes.tamper(|_| {});
        prop_assert!(!shapes.flag(true).expect("the next call is served"));
    }
}
