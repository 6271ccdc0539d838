//! An interface with every shape that can cross as bytes, a plugin for it, and the objects that a caller lends to it.

use reslot_plugin_api::{Crossing, interface};
use std::panic::panic_any;

#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(C)]
pub(crate) struct Level {
    pub(crate) price: f64,
    pub(crate) quantity: u32,
}

/// Padding between fields and at the end, and every kind of type that has invalid bytes.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(C)]
pub(crate) struct Book {
    pub(crate) symbol: [u8; 5],
    pub(crate) best: Level,
    pub(crate) levels: [Level; 2],
    pub(crate) side: Side,
    pub(crate) open: bool,
    pub(crate) currency: char,
    pub(crate) flags: [bool; 3],
}

#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(i16)]
pub(crate) enum Side {
    #[default]
    Buy = -3,
    Sell = 300,
}

/// Not `Clone`, and neither is its enum.
#[derive(Crossing, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct Ticket(pub(crate) u64, pub(crate) Kind);

#[derive(Crossing, Debug, PartialEq)]
#[repr(u8)]
pub(crate) enum Kind {
    Market,
    Limit = 7,
}

/// Aligned more than a message is.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Wide(pub(crate) u8);

/// Without bytes.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub(crate) struct Nothing;

#[interface]
pub(crate) trait Sink {
    fn send(&mut self, level: &Level, note: &str) -> u64;
    fn sent(&self) -> u64;
    fn relay(&mut self, other: &mut dyn Observer, value: u64) -> u64;
    fn relay_shared(&self, other: &dyn Observed) -> u64;
    fn fill(&mut self, levels: &mut [Level]) -> Result<(), String>;
    #[since("1.1")]
    fn sent_twice(&self) -> u64 {
        self.sent() * 2
    }
}

#[interface]
pub(crate) trait Observer {
    fn observe(&mut self, value: u64) -> u64;
}

#[interface]
pub(crate) trait Observed {
    fn seen(&self) -> u64;
}

#[interface]
pub(crate) trait Shapes {
    // Values.
    fn unsigned(&self, a: u8, b: u16, c: u32, d: u64) -> u64;
    fn signed(&self, a: i8, b: i16, c: i32, d: i64) -> i64;
    fn sizes(&self, a: usize, b: isize) -> isize;
    fn floats(&self, half: f32, full: f64) -> f64;
    fn flag(&self, value: bool) -> bool;
    fn letter(&self, value: char) -> char;
    fn nothing(&self, value: ());
    fn side(&self, value: Side) -> Side;
    fn array(&self, value: [u16; 3]) -> [u16; 3];
    fn book(&self, value: Book) -> Book;
    fn ticket(&self, value: Ticket) -> Ticket;
    fn wide(&self, a: u8, value: Wide, all: &[Wide]) -> Wide;
    fn empty(&self, value: Nothing, all: &[Nothing]) -> Vec<Nothing>;
    // Borrows.
    fn read(&self, book: &Book) -> f64;
    fn change(&mut self, book: &mut Book) -> bool;
    fn sum(&self, a: u8, prices: &[f64]) -> f64;
    fn flip(&mut self, flags: &mut [bool], levels: &mut [Level], last: &mut u16);
    fn books(&self, books: &[Book]) -> Vec<Book>;
    fn length(&self, text: &str) -> u64;
    // Interfaces.
    fn count(&self, sink: &dyn Sink) -> u64;
    fn feed(&mut self, sink: &mut dyn Sink, times: u32) -> u64;
    fn nest(&mut self, sink: &mut dyn Sink) -> u64;
    fn nest_shared(&mut self, sink: &dyn Sink) -> u64;
    fn two(&mut self, first: &mut dyn Sink, second: &mut dyn Sink) -> u64;
    fn fill(&mut self, sink: &mut dyn Sink) -> Result<Vec<Level>, String>;
    // Results that are copied out.
    fn text(&self, length: u32) -> String;
    fn texts(&self) -> Vec<String>;
    fn lists(&self) -> Vec<Vec<u32>>;
    fn maybe(&self, some: bool) -> Option<Vec<String>>;
    fn outcome(&self, fine: bool) -> Result<Option<Book>, String>;
    fn deep(&self) -> Vec<Result<Option<String>, Vec<Side>>>;
    fn unit_result(&self, fine: bool) -> Result<(), Side>;
    // Borrowed, which cannot cross.
    fn name(&self) -> &str;
    // Panics.
    fn fail(&mut self, message: &str, changed: &mut u32);
    fn swallow(&mut self, sink: &mut dyn Sink) -> u64;
    #[since("1.1")]
    fn doubled(&self, value: u64) -> u64 {
        self.unsigned(0, 0, 0, value) * 2
    }
    #[since("1.1")]
    fn fed_twice(&mut self, sink: &mut dyn Sink) -> u64 {
        self.feed(sink, 1) + self.feed(sink, 1)
    }
}

/// What stands in for the plugin.
#[derive(Default)]
pub(crate) struct Plugin {
    pub(crate) book: Book,
    pub(crate) observed: u64,
}

impl Shapes for Plugin {
    fn unsigned(&self, a: u8, b: u16, c: u32, d: u64) -> u64 {
        u64::from(a) ^ u64::from(b) ^ u64::from(c) ^ d
    }
    fn signed(&self, a: i8, b: i16, c: i32, d: i64) -> i64 {
        i64::from(a) ^ i64::from(b) ^ i64::from(c) ^ d
    }
    fn sizes(&self, a: usize, b: isize) -> isize {
        b.wrapping_add_unsigned(a)
    }
    fn floats(&self, half: f32, full: f64) -> f64 {
        f64::from(half) + full
    }
    fn flag(&self, value: bool) -> bool {
        !value
    }
    fn letter(&self, value: char) -> char {
        value
    }
    fn nothing(&self, value: ()) {
        value
    }
    fn side(&self, value: Side) -> Side {
        match value {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }
    fn array(&self, [a, b, c]: [u16; 3]) -> [u16; 3] {
        [c, b, a]
    }
    fn book(&self, mut value: Book) -> Book {
        value.levels.reverse();
        value
    }
    fn ticket(&self, value: Ticket) -> Ticket {
        Ticket(value.0.wrapping_add(1), Kind::Limit)
    }
    fn wide(&self, a: u8, value: Wide, all: &[Wide]) -> Wide {
        assert!(all.as_ptr().is_aligned());
        Wide(all.iter().fold(a.wrapping_add(value.0), |sum, one| sum.wrapping_add(one.0)))
    }
    fn empty(&self, _: Nothing, all: &[Nothing]) -> Vec<Nothing> {
        all.to_vec()
    }
    fn read(&self, book: &Book) -> f64 {
        book.best.price
    }
    fn change(&mut self, book: &mut Book) -> bool {
        std::mem::swap(book, &mut self.book);
        book.open
    }
    fn sum(&self, a: u8, prices: &[f64]) -> f64 {
        prices.iter().sum::<f64>() + f64::from(a)
    }
    fn flip(&mut self, flags: &mut [bool], levels: &mut [Level], last: &mut u16) {
        flags.iter_mut().for_each(|flag| *flag = !*flag);
        levels.reverse();
        *last = last.wrapping_add(1);
    }
    fn books(&self, books: &[Book]) -> Vec<Book> {
        books.iter().rev().copied().collect()
    }
    fn length(&self, text: &str) -> u64 {
        text.chars().count() as u64
    }
    fn count(&self, sink: &dyn Sink) -> u64 {
        sink.sent() + sink.sent_twice()
    }
    fn feed(&mut self, sink: &mut dyn Sink, times: u32) -> u64 {
        let level = |n: u32| Level {
            price: f64::from(n),
            quantity: n,
        };
        (0..times).map(|n| sink.send(&level(n), "fed")).sum()
    }
    fn nest(&mut self, sink: &mut dyn Sink) -> u64 {
        sink.send(&Level::default(), "before");
        let answer = sink.relay(self, 21);
        answer + sink.sent()
    }
    fn nest_shared(&mut self, sink: &dyn Sink) -> u64 {
        /// Calls the sink while the sink calls it.
        struct Inner<'a>(&'a dyn Sink);
        impl Observed for Inner<'_> {
            fn seen(&self) -> u64 {
                self.0.sent() + 1000
            }
        }
        sink.relay_shared(&Inner(sink))
    }
    fn two(&mut self, first: &mut dyn Sink, second: &mut dyn Sink) -> u64 {
        first.send(&Level::default(), "1") * 100 + second.send(&Level::default(), "2")
    }
    fn fill(&mut self, sink: &mut dyn Sink) -> Result<Vec<Level>, String> {
        let mut levels = vec![Level::default(); 3];
        sink.fill(&mut levels)?;
        Ok(levels)
    }
    fn text(&self, length: u32) -> String {
        "é".repeat(length as usize)
    }
    fn texts(&self) -> Vec<String> {
        vec![String::new(), "a".to_owned(), "bc".to_owned()]
    }
    fn lists(&self) -> Vec<Vec<u32>> {
        vec![vec![], vec![1], vec![2, 3]]
    }
    fn maybe(&self, some: bool) -> Option<Vec<String>> {
        some.then(|| self.texts())
    }
    fn outcome(&self, fine: bool) -> Result<Option<Book>, String> {
        if fine { Ok(Some(self.book)) } else { Err("closed".to_owned()) }
    }
    fn deep(&self) -> Vec<Result<Option<String>, Vec<Side>>> {
        vec![Ok(None), Ok(Some("yes".to_owned())), Err(vec![Side::Sell, Side::Buy])]
    }
    fn unit_result(&self, fine: bool) -> Result<(), Side> {
        if fine { Ok(()) } else { Err(Side::Sell) }
    }
    fn name(&self) -> &str {
        "borrowed"
    }
    fn fail(&mut self, message: &str, changed: &mut u32) {
        *changed += 1;
        panic!("{message}");
    }
    fn swallow(&mut self, sink: &mut dyn Sink) -> u64 {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sink.send(&Level::default(), "refuse")));
        u64::from(caught.is_err())
    }
    fn doubled(&self, value: u64) -> u64 {
        value * 2000
    }
    fn fed_twice(&mut self, _: &mut dyn Sink) -> u64 {
        77
    }
}

impl Observer for Plugin {
    fn observe(&mut self, value: u64) -> u64 {
        self.observed += 1;
        value * 10
    }
}

/// The caller's object: it borrows, as an embedder's does.
#[derive(Default)]
pub(crate) struct Orders<'a> {
    pub(crate) notes: Vec<String>,
    pub(crate) levels: Vec<Level>,
    pub(crate) filled: &'a [Level],
}

/// The caller's own panic.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused(pub(crate) f64);

impl Sink for Orders<'_> {
    fn send(&mut self, level: &Level, note: &str) -> u64 {
        if note == "refuse" || level.price < 0.0 {
            panic_any(Refused(level.price));
        }
        self.levels.push(*level);
        self.notes.push(note.to_owned());
        self.sent()
    }
    fn sent(&self) -> u64 {
        self.levels.len() as u64
    }
    fn relay(&mut self, other: &mut dyn Observer, value: u64) -> u64 {
        let answer = other.observe(value) + other.observe(value);
        self.levels.push(Level::default());
        answer
    }
    fn relay_shared(&self, other: &dyn Observed) -> u64 {
        other.seen()
    }
    fn fill(&mut self, levels: &mut [Level]) -> Result<(), String> {
        if levels.len() != self.filled.len() {
            return Err(format!("{} levels", self.filled.len()));
        }
        levels.copy_from_slice(self.filled);
        Ok(())
    }
    fn sent_twice(&self) -> u64 {
        self.sent() * 2
    }
}

pub(crate) fn level(n: u32) -> Level {
    Level {
        price: f64::from(n) + 0.25,
        quantity: n,
    }
}

pub(crate) fn book() -> Book {
    Book {
        symbol: *b"EURSD",
        best: level(9),
        levels: [level(1), level(2)],
        side: Side::Sell,
        open: true,
        currency: '€',
        flags: [true, false, true],
    }
}
