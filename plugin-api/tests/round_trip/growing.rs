//! An interface that has grown, in front of plugins that were built before.

use crate::{
    served::{Outcome, Served, Through, connect, words},
    shapes::{Level, Observer, Orders, Refused, Sink},
};
use reslot_plugin_api::interface;
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
};

#[interface]
pub(crate) trait Growing {
    fn base(&self) -> u64;
    fn add(&mut self, more: u64);
    fn label(&self) -> &str;
    fn fail(&self) -> u64;
    #[since("1.1")]
    fn doubled(&self) -> u64 {
        self.base() * 2
    }
    #[since("1.1")]
    fn add_all(&mut self, amounts: &[u64], log: &mut dyn Observer, tick: &mut Level) -> Result<u64, String> {
        for amount in amounts {
            self.add(log.observe(*amount));
            tick.quantity += 1;
        }
        match self.base() {
            0 => Err("nothing".to_owned()),
            base => Ok(base),
        }
    }
    #[since("1.2")]
    fn title(&self) -> &str {
        self.label()
    }
    #[since("1.2")]
    fn constant(&self) -> &str {
        "constant"
    }
    #[since("1.3")]
    fn failing(&self) -> u64 {
        self.fail() + 1
    }
    #[since("1.3")]
    fn quadrupled(&self) -> u64 {
        self.doubled() * 2
    }
    #[since("1.3")]
    fn panicking(&mut self, #[allow(unused)] log: &mut dyn Observer) -> u64 {
        panic!("the default body's own")
    }
}

#[derive(Default)]
struct Grown {
    base: u64,
}

impl Growing for Grown {
    fn base(&self) -> u64 {
        self.base
    }
    fn add(&mut self, more: u64) {
        self.base += more;
    }
    fn label(&self) -> &str {
        "grown"
    }
    fn fail(&self) -> u64 {
        panic!("required")
    }
    fn doubled(&self) -> u64 {
        1000
    }
    fn add_all(&mut self, _: &[u64], _: &mut dyn Observer, _: &mut Level) -> Result<u64, String> {
        Ok(2000)
    }
    fn title(&self) -> &str {
        "own title"
    }
    fn constant(&self) -> &str {
        "own constant"
    }
    fn failing(&self) -> u64 {
        3000
    }
    fn quadrupled(&self) -> u64 {
        4000
    }
    fn panicking(&mut self, _: &mut dyn Observer) -> u64 {
        5000
    }
}

struct Tenfold<'a>(&'a Cell<u64>);

impl Observer for Tenfold<'_> {
    fn observe(&mut self, value: u64) -> u64 {
        if value == 13 {
            panic_any(Refused(13.0));
        }
        self.0.set(self.0.get() + 1);
        value * 10
    }
}

fn grown(functions: usize) -> Served<dyn Growing> {
    connect(Grown { base: 1 }, Through::OlderTable(functions))
}

#[test]
fn a_full_table_is_used_to_its_end() -> Outcome {
    let calls = Cell::new(0);
    let mut full = grown(11);
    assert_eq!(full.doubled()?, 1000);
    assert_eq!(full.add_all(&[1], &mut Tenfold(&calls), &mut Level::default())?, Ok(2000));
    assert_eq!((full.title()?, full.constant()?), ("own title", "own constant"));
    assert_eq!((full.failing()?, full.quadrupled()?), (3000, 4000));
    assert_eq!(full.panicking(&mut Tenfold(&calls))?, 5000);
    Ok(())
}

#[test]
fn a_method_that_the_plugin_lacks_runs_its_default_body() -> Outcome {
    let calls = Cell::new(0);
    let mut old = grown(4);
    let mut level = Level::default();
    assert_eq!(old.doubled()?, 2);
    assert_eq!(old.add_all(&[2, 3], &mut Tenfold(&calls), &mut level)?, Ok(51));
    assert_eq!(
        (calls.get(), level.quantity),
        (2, 2),
        "the caller's own object and value were used"
    );
    assert_eq!(old.base()?, 51, "the default body's calls reached the plugin");
    assert_eq!(
        old.title()?,
        "grown",
        "a borrow from the plugin goes through the default body"
    );
    assert_eq!(old.constant()?, "constant");
    assert_eq!(old.quadrupled()?, 204, "a default body may call another one");
    Ok(())
}

#[test]
fn plugin_between_two_versions_answers_with_the_methods_that_it_has() -> Outcome {
    let between = grown(5);
    assert_eq!(between.doubled()?, 1000, "the plugin's own");
    assert_eq!(between.quadrupled()?, 2000, "the default body, over the plugin's own");
    assert_eq!(between.title()?, "grown");
    Ok(())
}

#[test]
fn panics_around_a_default_body_are_distinguished() -> Outcome {
    let calls = Cell::new(0);
    let mut old = grown(4);
    assert_eq!(words(old.failing()), "Status(1)", "the plugin's required method panicked");
    assert_eq!(
        words(old.panicking(&mut Tenfold(&calls))),
        "Status(1)",
        "the default body itself panicked"
    );
    let payload = catch_unwind(AssertUnwindSafe(|| {
        old.add_all(&[1, 13], &mut Tenfold(&calls), &mut Level::default())
    }));
    let payload = payload.expect_err("the caller's own panic goes on in the caller");
    assert_eq!(payload.downcast_ref::<Refused>(), Some(&Refused(13.0)));
    assert_eq!(old.base()?, 11, "what was done before the panic stays");
    Ok(())
}

#[test]
fn default_body_that_lends_the_plugin_reports_its_panic() -> Outcome {
    /// A default body's own object, which calls the plugin.
    struct Forward<'a, P: ?Sized>(&'a P);
    impl<P: Forwarding + ?Sized> Observer for Forward<'_, P> {
        fn observe(&mut self, value: u64) -> u64 {
            self.0.answer(value)
        }
    }
    #[interface]
    trait Forwarding {
        fn answer(&self, value: u64) -> u64;
        #[since("1.1")]
        fn relayed(&self, sink: &mut dyn Sink) -> u64 {
            sink.relay(&mut Forward(self))
        }
    }
    struct Touchy;
    impl Forwarding for Touchy {
        fn answer(&self, value: u64) -> u64 {
            assert_ne!(value, 13, "the plugin's own panic");
            value + 1
        }
    }
    let old: Served<dyn Forwarding> = connect(Touchy, Through::OlderTable(1));
    let sent = Cell::new(5);
    assert_eq!(old.relayed(&mut Orders::new(&sent))?, 6);
    sent.set(13);
    assert_eq!(words(old.relayed(&mut Orders::new(&sent))), "Status(1)");
    assert_eq!(sent.get(), 13, "the caller's object was unwound");
    Ok(())
}
