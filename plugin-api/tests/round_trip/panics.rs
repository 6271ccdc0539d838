//! Whose panic it is: the plugin's is an error of the call, the caller's own goes on in the caller.

use crate::{
    served::{Outcome, Served, Through, connect, words},
    shapes::{Bomb, Observer, Orders, Refused, Sink, shapes},
};
use reslot_plugin_api::{CallError, interface};
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
};

#[test]
fn a_panic_is_an_error_and_the_instance_lives() -> Outcome {
    let mut shapes = shapes();
    let error = shapes.fail("out of range").err();
    assert_eq!(error.as_ref().map(CallError::method), Some("fail"));
    assert_eq!(words(shapes.fail("again")), "Status(1)");
    assert_eq!(words(shapes.fail_with_bomb()), "Status(1)");
    assert_eq!(shapes.name()?, "momentum");
    Ok(())
}

#[test]
fn a_panic_of_a_lent_object_is_its_callers() -> Outcome {
    #[interface]
    trait Careless {
        fn feed(&mut self, sink: &mut dyn Sink);
        fn fed(&self) -> u64;
    }
    struct Counting(u64);
    impl Careless for Counting {
        fn feed(&mut self, sink: &mut dyn Sink) {
            self.0 += 1;
            sink.send(-1.0);
            self.0 += 100;
        }
        fn fed(&self) -> u64 {
            self.0
        }
    }
    let sent = Cell::new(0);
    let mut careless: Served<dyn Careless> = connect(Counting(0), Through::Claim);
    let mut orders = Orders::new(&sent);
    let payload = catch_unwind(AssertUnwindSafe(|| careless.feed(&mut orders)));
    let payload = payload.expect_err("the caller's own panic goes on in the caller");
    assert_eq!(payload.downcast_ref::<Refused>(), Some(&Refused(-1.0)));
    assert_eq!(careless.fed()?, 1, "the plugin was unwound, and lives");
    assert_eq!(orders.sent(), 0);
    Ok(())
}

#[test]
fn a_panic_passes_under_every_side_that_it_crosses() -> Outcome {
    /// Calls another plugin and lends it what it was lent itself.
    #[interface]
    trait Middle {
        fn pass_on(&mut self, sink: &mut dyn Sink) -> u64;
    }
    #[interface]
    trait Inner {
        fn last(&mut self, sink: &mut dyn Sink) -> u64;
    }
    struct Last;
    impl Inner for Last {
        fn last(&mut self, sink: &mut dyn Sink) -> u64 {
            sink.send(-7.0)
        }
    }
    impl Middle for Relay {
        fn pass_on(&mut self, sink: &mut dyn Sink) -> u64 {
            let mut inner: Served<dyn Inner> = connect(Last, Through::Claim);
            inner.last(sink).unwrap_or(0)
        }
    }
    struct Relay;
    let sent = Cell::new(0);
    let mut middle: Served<dyn Middle> = connect(Relay, Through::Claim);
    let payload = catch_unwind(AssertUnwindSafe(|| middle.pass_on(&mut Orders::new(&sent))));
    let payload = payload.expect_err("the panic comes out where the object came in");
    assert_eq!(payload.downcast_ref::<Refused>(), Some(&Refused(-7.0)));
    Ok(())
}

#[test]
fn a_panic_that_the_plugin_has_caught_stays_caught() -> Outcome {
    struct Bombs;
    impl Sink for Bombs {
        fn send(&mut self, _: f64) -> u64 {
            panic_any(Bomb)
        }
        fn sent(&self) -> u64 {
            0
        }
        fn last_name(&self) -> &str {
            ""
        }
        fn relay(&mut self, _: &mut dyn Observer) -> u64 {
            0
        }
    }
    let mut shapes = shapes();
    let sent = Cell::new(0);
    assert_eq!(shapes.swallow(&mut Orders::new(&sent))?, 2);
    assert_eq!(
        shapes.swallow(&mut Bombs)?,
        2,
        "payloads that panic when dropped do not get out"
    );
    Ok(())
}

#[test]
fn a_lent_plugin_object_that_panics_is_the_plugins_fault() {
    struct Touchy;
    impl Observer for Touchy {
        fn observe(&mut self, _: u64) -> u64 {
            panic!("the plugin's own object");
        }
    }
    #[interface]
    trait Lends {
        fn lend(&mut self, sink: &mut dyn Sink) -> u64;
    }
    struct Lender;
    impl Lends for Lender {
        fn lend(&mut self, sink: &mut dyn Sink) -> u64 {
            sink.relay(&mut Touchy)
        }
    }
    let sent = Cell::new(0);
    let mut lends: Served<dyn Lends> = connect(Lender, Through::Claim);
    assert_eq!(words(lends.lend(&mut Orders::new(&sent))), "Status(1)");
    assert_eq!(sent.get(), 0, "the caller's object was unwound too");
}
