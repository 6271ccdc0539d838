//! An interface with every shape that may cross, a plugin for it, and the objects that a caller lends to it.

use crate::served::{Served, Through, connect};
use reslot_plugin_api::{Crossing, interface};
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
};

#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(C)]
pub(crate) struct Level {
    pub(crate) price: f64,
    pub(crate) quantity: u32,
}

#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(C)]
pub(crate) struct Book {
    pub(crate) symbol: [u8; 4],
    pub(crate) best: Level,
    pub(crate) levels: [Level; 3],
    pub(crate) side: Side,
    pub(crate) open: bool,
    pub(crate) currency: char,
}

#[derive(Crossing, Debug, Clone, Copy, PartialEq, Default)]
#[repr(i16)]
pub(crate) enum Side {
    #[default]
    Buy = -3,
    Sell = 300,
}

/// Not `Clone` on purpose: a value that crosses is moved.
#[derive(Crossing, Debug, PartialEq)]
#[repr(transparent)]
pub(crate) struct Ticket(pub(crate) u64);

#[interface]
pub(crate) trait Sink {
    fn send(&mut self, price: f64) -> u64;
    fn sent(&self) -> u64;
    fn last_name(&self) -> &str;
    fn relay(&mut self, other: &mut dyn Observer) -> u64;
}

#[interface]
pub(crate) trait Observer {
    fn observe(&mut self, value: u64) -> u64;
}

#[interface]
pub(crate) trait Shapes {
    // Values.
    fn byte(&self, value: u8) -> u8;
    fn small(&self, value: i16) -> i16;
    fn wide(&self, value: u64, negative: i64) -> i64;
    fn size(&self, value: usize, offset: isize) -> isize;
    fn floats(&self, half: f32, full: f64) -> f64;
    fn flag(&self, value: bool) -> bool;
    fn letter(&self, value: char) -> char;
    fn nothing(&self, value: ());
    fn side(&self, value: Side) -> Side;
    fn array(&self, value: [u16; 3]) -> [u16; 3];
    fn book(&self, value: Book) -> Book;
    fn ticket(&self, value: Ticket) -> Ticket;
    #[allow(clippy::too_many_arguments)] // More than there are registers.
    fn many(&self, a: u8, b: u64, c: bool, d: Book, e: f64, f: [u8; 3], g: Side, h: &str, i: &[u8], j: u8) -> u64;
    // Borrows.
    fn read(&self, book: &Book) -> f64;
    fn change(&mut self, book: &mut Book);
    fn sum(&self, prices: &[f64]) -> f64;
    fn double(&mut self, prices: &mut [f64]);
    fn length(&self, text: &str) -> usize;
    // Interfaces.
    fn count(&self, sink: &dyn Sink) -> u64;
    fn feed(&mut self, sink: &mut dyn Sink, times: u32) -> u64;
    fn name_of(&self, sink: &dyn Sink) -> String;
    fn nest(&mut self, sink: &mut dyn Sink) -> u64;
    fn two(&mut self, first: &mut dyn Sink, second: &mut dyn Sink) -> u64;
    // Results that are copied out.
    fn text(&self, kind: u32) -> String;
    fn list(&self, length: usize) -> Vec<Book>;
    fn texts(&self) -> Vec<String>;
    fn lists(&self) -> Vec<Vec<u32>>;
    fn maybe(&self, some: bool) -> Option<Vec<String>>;
    fn outcome(&self, fine: bool) -> Result<Option<Book>, String>;
    fn deep(&self) -> Vec<Result<Option<String>, Vec<Side>>>;
    fn unit_result(&self, fine: bool) -> Result<(), Side>;
    // Results that are borrowed.
    fn name(&self) -> &str;
    fn prices(&self) -> &[f64];
    fn best(&self) -> &Book;
    fn renamed(&mut self, name: &str) -> &str;
    // Panics.
    fn fail(&mut self, message: &str);
    fn fail_with_bomb(&mut self);
    fn swallow(&mut self, sink: &mut dyn Sink) -> u64;
}

/// What stands in for the plugin.
#[derive(Default)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) prices: Vec<f64>,
    pub(crate) book: Book,
    pub(crate) calls: u64,
}

impl Shapes for Plugin {
    fn byte(&self, value: u8) -> u8 {
        !value
    }
    fn small(&self, value: i16) -> i16 {
        value.wrapping_neg()
    }
    fn wide(&self, value: u64, negative: i64) -> i64 {
        negative.wrapping_add_unsigned(value)
    }
    fn size(&self, value: usize, offset: isize) -> isize {
        offset.wrapping_add_unsigned(value)
    }
    fn floats(&self, half: f32, full: f64) -> f64 {
        f64::from(half) + full
    }
    fn flag(&self, value: bool) -> bool {
        !value
    }
    fn letter(&self, value: char) -> char {
        value.to_uppercase().next().unwrap_or(value)
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
        value.open = !value.open;
        value
    }
    fn ticket(&self, value: Ticket) -> Ticket {
        Ticket(value.0 + 1)
    }
    fn many(&self, a: u8, b: u64, c: bool, d: Book, e: f64, f: [u8; 3], g: Side, h: &str, i: &[u8], j: u8) -> u64 {
        let bytes: u64 = f.iter().chain(i).map(|byte| u64::from(*byte)).sum();
        u64::from(a)
            + b
            + u64::from(c)
            + u64::from(d.best.quantity)
            + e as u64
            + bytes
            + g as u64
            + h.len() as u64
            + u64::from(j)
    }
    fn read(&self, book: &Book) -> f64 {
        book.best.price
    }
    fn change(&mut self, book: &mut Book) {
        book.side = Side::Sell;
        std::mem::swap(book, &mut self.book);
    }
    fn sum(&self, prices: &[f64]) -> f64 {
        prices.iter().sum()
    }
    fn double(&mut self, prices: &mut [f64]) {
        prices.iter_mut().for_each(|price| *price *= 2.0);
    }
    fn length(&self, text: &str) -> usize {
        text.chars().count()
    }
    fn count(&self, sink: &dyn Sink) -> u64 {
        sink.sent() + sink.sent()
    }
    fn feed(&mut self, sink: &mut dyn Sink, times: u32) -> u64 {
        (0..times).map(|price| sink.send(f64::from(price))).sum()
    }
    fn name_of(&self, sink: &dyn Sink) -> String {
        format!("{}+{}", sink.last_name(), sink.last_name())
    }
    fn nest(&mut self, sink: &mut dyn Sink) -> u64 {
        sink.send(1.0);
        let answer = sink.relay(self);
        answer + sink.sent()
    }
    fn two(&mut self, first: &mut dyn Sink, second: &mut dyn Sink) -> u64 {
        first.send(1.0) * 100 + second.send(2.0)
    }
    fn text(&self, kind: u32) -> String {
        match kind {
            0 => String::new(),
            1 => "naïve ☂".to_owned(),
            length => "x".repeat(length as usize),
        }
    }
    fn list(&self, length: usize) -> Vec<Book> {
        (0..length)
            .map(|n| Book {
                best: Level {
                    price: n as f64,
                    quantity: 1,
                },
                ..Book::default()
            })
            .collect()
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
        &self.name
    }
    fn prices(&self) -> &[f64] {
        &self.prices
    }
    fn best(&self) -> &Book {
        &self.book
    }
    fn renamed(&mut self, name: &str) -> &str {
        self.name = name.to_owned();
        &self.name
    }
    fn fail(&mut self, message: &str) {
        self.calls += 1;
        panic!("{message}");
    }
    fn fail_with_bomb(&mut self) {
        panic_any(Bomb);
    }
    fn swallow(&mut self, sink: &mut dyn Sink) -> u64 {
        let first = catch_unwind(AssertUnwindSafe(|| sink.send(-1.0)));
        let second = catch_unwind(AssertUnwindSafe(|| sink.send(-1.0)));
        u64::from(first.is_err()) + u64::from(second.is_err())
    }
}

impl Observer for Plugin {
    fn observe(&mut self, value: u64) -> u64 {
        self.calls += 1;
        value * 10
    }
}

/// A panic's payload whose own destruction panics.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("and again");
    }
}

/// The caller's object: it borrows, as an embedder's does.
pub(crate) struct Orders<'a> {
    pub(crate) name: &'a str,
    pub(crate) sent: &'a Cell<u64>,
    pub(crate) prices: Vec<f64>,
}

impl<'a> Orders<'a> {
    pub(crate) fn new(sent: &'a Cell<u64>) -> Self {
        Self {
            name: "orders",
            sent,
            prices: Vec::new(),
        }
    }
}

impl Sink for Orders<'_> {
    fn send(&mut self, price: f64) -> u64 {
        if price < 0.0 {
            panic_any(Refused(price));
        }
        self.prices.push(price);
        self.sent.set(self.sent.get() + 1);
        self.sent.get()
    }
    fn sent(&self) -> u64 {
        self.sent.get()
    }
    fn last_name(&self) -> &str {
        self.name
    }
    fn relay(&mut self, other: &mut dyn Observer) -> u64 {
        let answer = other.observe(self.sent.get());
        self.sent.set(self.sent.get() + 1);
        answer
    }
}

/// The caller's own panic.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused(pub(crate) f64);

pub(crate) fn shapes() -> Served<dyn Shapes> {
    let plugin = Plugin {
        name: "momentum".to_owned(),
        prices: vec![1.5, 2.5],
        ..Plugin::default()
    };
    connect(plugin, Through::Claim)
}

pub(crate) fn book() -> Book {
    let level = |n: u32| Level {
        price: f64::from(n) + 0.25,
        quantity: n,
    };
    Book {
        symbol: *b"EURS",
        best: level(9),
        levels: [level(1), level(2), level(3)],
        side: Side::Buy,
        open: true,
        currency: '€',
    }
}
