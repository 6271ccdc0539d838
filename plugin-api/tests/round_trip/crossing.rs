//! Values, borrows, interfaces and results, each there and back.

use crate::{
    served::Outcome,
    shapes::{Book, Orders, Side, Ticket, book, shapes},
};
use std::cell::Cell;

#[test]
fn values_cross_both_ways() -> Outcome {
    let shapes = shapes();
    for byte in [0, 1, 127, 128, 255] {
        assert_eq!(shapes.byte(byte)?, !byte);
    }
    assert_eq!(shapes.small(-32_767)?, 32_767);
    assert_eq!(shapes.wide(5, i64::MIN)?, i64::MIN + 5);
    assert_eq!(shapes.size(7, -8)?, -1);
    assert_eq!(shapes.floats(0.5, 1e300)?, 1e300);
    assert!(shapes.floats(f32::NAN, 0.0)?.is_nan());
    assert!(!shapes.flag(true)?);
    assert!(shapes.flag(false)?);
    assert_eq!(shapes.letter('ß')?, 'S');
    assert_eq!(shapes.letter('\u{10FFFF}')?, '\u{10FFFF}');
    shapes.nothing(())?;
    assert_eq!(shapes.side(Side::Buy)?, Side::Sell);
    assert_eq!(shapes.side(Side::Sell)?, Side::Buy);
    assert_eq!(shapes.array([1, 2, 65_535])?, [65_535, 2, 1]);
    let back = shapes.book(book())?;
    assert_eq!(back.levels[0], book().levels[2]);
    assert_eq!(
        (back.symbol, back.best, back.open, back.currency),
        (*b"EURS", book().best, false, '€')
    );
    assert_eq!(shapes.ticket(Ticket(41))?, Ticket(42));
    assert_eq!(
        shapes.many(1, 2, true, book(), 4.0, [1, 1, 1], Side::Sell, "héé", &[5, 5], 6)?,
        1 + 2 + 1 + 9 + 4 + 3 + 300 + 5 + 10 + 6
    );
    Ok(())
}

#[test]
fn borrows_cross_for_the_call() -> Outcome {
    let mut shapes = shapes();
    assert_eq!(shapes.read(&book())?, 9.25);
    let mut mine = book();
    shapes.change(&mut mine)?;
    assert_eq!(mine, Book::default(), "the plugin swapped its own value in");
    assert_eq!(shapes.best()?.side, Side::Sell, "and kept mine, as it changed it");
    assert_eq!(shapes.sum(&[])?, 0.0);
    assert_eq!(shapes.sum(&[1.0, 2.0, 3.5])?, 6.5);
    let mut prices = vec![1.0, 2.0];
    shapes.double(&mut prices)?;
    shapes.double(&mut prices[1..])?;
    shapes.double(&mut [])?;
    assert_eq!(prices, [2.0, 8.0]);
    assert_eq!(shapes.length("")?, 0);
    assert_eq!(shapes.length("naïve ☂")?, 7);
    Ok(())
}

#[test]
fn interfaces_are_lent_for_the_call() -> Outcome {
    let mut shapes = shapes();
    let (sent, other) = (Cell::new(0), Cell::new(50));
    let name = String::from("short-lived");
    let mut orders = Orders::new(&sent);
    orders.name = &name;
    assert_eq!(shapes.feed(&mut orders, 3)?, 1 + 2 + 3);
    assert_eq!(shapes.count(&orders)?, 6);
    assert_eq!(shapes.name_of(&orders)?, "short-lived+short-lived");
    assert_eq!(shapes.two(&mut orders, &mut Orders::new(&other))?, 451);
    assert_eq!(orders.prices, [0.0, 1.0, 2.0, 1.0]);
    Ok(())
}

#[test]
fn a_callback_calls_back_into_the_plugin() -> Outcome {
    let mut shapes = shapes();
    let sent = Cell::new(0);
    assert_eq!(shapes.nest(&mut Orders::new(&sent))?, 12);
    assert_eq!(sent.get(), 2);
    Ok(())
}

#[test]
fn results_are_copied_out() -> Outcome {
    let shapes = shapes();
    assert_eq!(shapes.text(0)?, "");
    assert_eq!(shapes.text(1)?, "naïve ☂");
    assert_eq!(shapes.text(100_000)?.len(), 100_000);
    assert_eq!(shapes.list(0)?, []);
    let list = shapes.list(1000)?;
    assert_eq!((list.len(), list[999].best.price), (1000, 999.0));
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
fn results_borrow_from_the_instance() -> Outcome {
    let mut shapes = shapes();
    let (name, prices, best) = (shapes.name()?, shapes.prices()?, shapes.best()?);
    assert_eq!((name, prices, *best), ("momentum", &[1.5, 2.5][..], Book::default()));
    let name = {
        let argument = "reversion".to_owned();
        shapes.renamed(&argument)?
    };
    assert_eq!(name, "reversion");
    assert_eq!(shapes.name()?, "reversion");
    Ok(())
}
