//! Values, borrows and results, each there and back.

use crate::{
    interfaces::{Book, Kind, Level, Nothing, Plugin, Shapes, Side, Ticket, Wide, book, level},
    loopback::{Outcome, Served, connect, connect_older, words},
};
use reslot_plugin_api::Crossing;

pub(crate) fn shapes() -> Served<dyn Shapes> {
    connect(Plugin::default())
}

#[test]
fn values_cross_both_ways() -> Outcome {
    let shapes = shapes();
    assert_eq!(shapes.unsigned(1, 2, 4, u64::MAX)?, u64::MAX ^ 7);
    assert_eq!(
        shapes.signed(-1, i16::MIN, i32::MAX, 5)?,
        -1 ^ i64::from(i16::MIN) ^ i64::from(i32::MAX) ^ 5
    );
    assert_eq!(shapes.sizes(7, -8)?, -1);
    assert_eq!(shapes.floats(0.5, 1e300)?, 1e300);
    assert!(shapes.floats(f32::NAN, 0.0)?.is_nan());
    assert!(!shapes.flag(true)?);
    assert!(shapes.flag(false)?);
    for letter in ['\0', 'ß', '\u{D7FF}', '\u{E000}', '\u{10FFFF}'] {
        assert_eq!(shapes.letter(letter)?, letter);
    }
    shapes.nothing(())?;
    assert_eq!(shapes.side(Side::Buy)?, Side::Sell);
    assert_eq!(shapes.side(Side::Sell)?, Side::Buy);
    assert_eq!(shapes.array([1, 2, 65_535])?, [65_535, 2, 1]);
    let mut mirrored = book();
    mirrored.levels.reverse();
    assert_eq!(shapes.book(book())?, mirrored);
    assert_eq!(shapes.ticket(Ticket(41, Kind::Market))?, Ticket(42, Kind::Limit));
    assert_eq!(shapes.wide(1, Wide(2), &[Wide(3), Wide(4)])?, Wide(10));
    assert_eq!(shapes.empty(Nothing, &[Nothing; 3])?, [Nothing; 3]);
    Ok(())
}

#[test]
fn borrows_cross_for_the_call() -> Outcome {
    let mut shapes = shapes();
    assert_eq!(shapes.read(&book())?, 9.25);
    let mut mine = book();
    assert!(!shapes.change(&mut mine)?);
    assert_eq!(mine, Book::default(), "the plugin swapped its own value in");
    assert!(shapes.change(&mut mine)?);
    assert_eq!(mine, book(), "and has kept mine");
    assert_eq!(shapes.sum(1, &[])?, 1.0);
    assert_eq!(shapes.sum(1, &[1.0, 2.0, 3.5])?, 7.5);
    let (mut flags, mut levels, mut last) = ([true, false, false], [level(1), level(2)], u16::MAX);
    shapes.flip(&mut flags, &mut levels, &mut last)?;
    assert_eq!((flags, levels, last), ([false, true, true], [level(2), level(1)], 0));
    shapes.flip(&mut [], &mut levels[1..], &mut last)?;
    assert_eq!(shapes.books(&[book(), Book::default()])?, [Book::default(), book()]);
    assert_eq!(shapes.length("")?, 0);
    assert_eq!(shapes.length("naïve ☂")?, 7);
    Ok(())
}

#[test]
fn results_are_copied_out() -> Outcome {
    let shapes = shapes();
    assert_eq!(shapes.text(0)?, "");
    assert_eq!(shapes.text(50_000)?.len(), 100_000);
    assert_eq!(shapes.texts()?, ["", "a", "bc"]);
    assert_eq!(shapes.lists()?, [vec![], vec![1], vec![2, 3]]);
    assert_eq!(shapes.maybe(false)?, None);
    assert_eq!(shapes.maybe(true)?.map(|texts| texts.concat()).as_deref(), Some("abc"));
    assert_eq!(shapes.outcome(true)?, Ok(Some(Book::default())));
    assert_eq!(shapes.outcome(false)?, Err("closed".to_owned()));
    assert_eq!(
        shapes.deep()?,
        [Ok(None), Ok(Some("yes".to_owned())), Err(vec![Side::Sell, Side::Buy])]
    );
    assert_eq!(shapes.unit_result(true)?, Ok(()));
    assert_eq!(shapes.unit_result(false)?, Err(Side::Sell));
    Ok(())
}

#[test]
fn borrowed_result_is_refused_and_nothing_is_sent() -> Outcome {
    let mut shapes = shapes();
    let messages = shapes.messages(|shapes| assert_eq!(words(shapes.name()), "Borrowed"));
    assert_eq!(messages, []);
    Ok(())
}

#[test]
fn padding_goes_out_as_zeros() {
    let mut shapes = shapes();
    let messages = shapes.messages(|shapes| {
        // The padding of these values is what was in memory before.
        let mut dirty = [0xFF_u8; size_of::<Book>()];
        std::hint::black_box(&mut dirty);
        shapes.read(&book()).expect("a reply");
        shapes.books(&[book()]).expect("a reply");
    });
    // What follows from the layout of `Book`: after the symbol, after each quantity, after `open`, and at the end.
    let padding: Vec<usize> = [5..8, 20..24, 36..40, 52..56, 59..60, 67..72].into_iter().flatten().collect();
    assert_eq!(size_of::<Book>(), 72);
    for (message, begins) in [(&messages[0], 0), (&messages[2], 8), (&messages[3], 8)] {
        let bytes = &message.bytes[begins..];
        assert_eq!(bytes.len(), 72, "{message:?}");
        assert!(padding.iter().all(|at| bytes[*at] == 0), "{message:?}");
        assert_eq!(bytes[..5], *b"EURSD");
    }
}

#[test]
fn messages_are_laid_out_as_documented() {
    let mut shapes = shapes();
    let messages = shapes.messages(|shapes| {
        shapes.sum(7, &[1.5]).expect("a reply");
        shapes.texts().expect("a reply");
        shapes.outcome(false).expect("a reply").expect_err("closed");
    });
    let bytes: Vec<&[u8]> = messages.iter().map(|message| &*message.bytes).collect();
    let (seven, price, sum) = (7_u32.to_ne_bytes(), 1.5_f64.to_ne_bytes(), 8.5_f64.to_ne_bytes());
    assert_eq!(bytes[0][..4], seven, "`u8`, and zeros up to the length");
    assert_eq!(bytes[0][4..8], 1_u32.to_ne_bytes());
    assert_eq!(bytes[0][8..], price);
    assert_eq!(bytes[1], sum);
    assert_eq!(bytes[2], []);
    let texts = [3_u32, 0, 1].map(u32::to_ne_bytes).concat();
    let texts = [&*texts, b"a\0\0\0", &2_u32.to_ne_bytes(), b"bc"].concat();
    assert_eq!(bytes[3], texts);
    assert_eq!(bytes[5], [b"\x01\0\0\0", &6_u32.to_ne_bytes()[..], b"closed"].concat());
}

#[test]
fn older_plugin_gets_no_calls_of_methods_that_it_lacks() -> Outcome {
    let methods = Shapes_methods();
    let mut old: Served<dyn Shapes> = connect_older(Plugin::default(), methods - 2);
    assert_eq!(old.doubled(3)?, 6, "the default body, over the plugin's `unsigned`");
    let mut orders = crate::interfaces::Orders::default();
    assert_eq!(old.fed_twice(&mut orders)?, 3);
    assert_eq!(orders.notes, ["fed", "fed"]);
    let new = shapes();
    assert_eq!(new.doubled(3)?, 6000);
    // A plugin of a later version has more than this host knows.
    let newer: Served<dyn Shapes> = connect_older(Plugin::default(), methods + 5);
    assert_eq!(newer.doubled(3)?, 6000);
    Ok(())
}

#[allow(non_snake_case, reason = "the name of the interface")]
fn Shapes_methods() -> usize {
    <dyn Shapes as reslot_plugin_api::Interface>::DESCRIPTION.methods.len()
}

#[test]
fn large_slices_cross() -> Outcome {
    let mut shapes = shapes();
    let prices: Vec<f64> = (0..100_000).map(f64::from).collect();
    assert_eq!(shapes.sum(0, &prices)?, prices.iter().sum::<f64>());
    let mut levels: Vec<Level> = (0..10_000).map(level).collect();
    shapes.flip(&mut [], &mut levels, &mut 0)?;
    assert_eq!(levels[0], level(9_999));
    Ok(())
}

/// An enum that is larger than its tag.
#[derive(Debug, Clone, Copy, Crossing)]
#[repr(u8, align(4))]
enum Padded {
    First,
    Second,
}

#[test]
fn enum_with_padding_crosses_by_its_tag() {
    let mut bytes = [0; 4];
    Padded::Second.put_bytes(&mut bytes);
    assert_eq!(bytes, [1, 0, 0, 0]);
    assert!(Padded::valid_bytes(&[1, 9, 9, 9]).is_ok());
    assert!(Padded::valid_bytes(&[2, 0, 0, 0]).is_err());
    Padded::First.put_bytes(&mut bytes);
    assert_eq!(bytes, [0; 4]);
}
