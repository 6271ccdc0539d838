//! Objects that are lent for a call, in both directions, and whose panic it is.

use crate::{
    interfaces::{Observed, Observer, Orders, Refused, Shapes, Sink, level},
    loopback::{Message, Outcome, Served, connect, words},
    shapes::shapes,
};
use reslot_plugin_api::{
    __private::marshal::{INSTANCE, MAX_NESTED_CALLS, MarshalError, code},
    interface,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn interfaces_are_lent_for_the_call() -> Outcome {
    let mut shapes = shapes();
    let mut orders = Orders::default();
    assert_eq!(shapes.feed(&mut orders, 3)?, 1 + 2 + 3);
    assert_eq!(orders.levels[2].quantity, 2);
    assert_eq!(orders.notes, ["fed"; 3]);
    assert_eq!(shapes.count(&orders)?, 9);
    assert_eq!(shapes.two(&mut orders, &mut Orders::default())?, 401);
    Ok(())
}

#[test]
fn a_callback_calls_back_into_the_plugin() -> Outcome {
    let mut shapes = shapes();
    let mut orders = Orders::default();
    assert_eq!(shapes.nest(&mut orders)?, 420 + 2);
    assert_eq!(
        shapes.nest_shared(&orders)?,
        1002,
        "an object of the outer call is reached from the inner one"
    );
    Ok(())
}

#[test]
fn slice_of_the_plugin_is_written_by_the_callers_object() -> Outcome {
    let mut shapes = shapes();
    let filled = [level(1), level(2), level(3)];
    let mut orders = Orders {
        filled: &filled,
        ..Orders::default()
    };
    assert_eq!(shapes.fill(&mut orders)?, Ok(filled.to_vec()));
    orders.filled = &filled[..1];
    assert_eq!(shapes.fill(&mut orders)?, Err("1 levels".to_owned()));
    Ok(())
}

#[test]
fn a_panic_is_an_error_and_the_instance_lives() -> Outcome {
    let mut shapes = shapes();
    let mut changed = 5;
    assert_eq!(words(shapes.fail("out of range", &mut changed)), "panicked");
    assert_eq!(changed, 5, "copied back only after success");
    assert!(!shapes.flag(true)?);
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
            sink.send(&level(1), "refuse");
            self.0 += 100;
        }
        fn fed(&self) -> u64 {
            self.0
        }
    }
    let mut careless: Served<dyn Careless> = connect(Counting(0));
    let mut orders = Orders::default();
    let payload = catch_unwind(AssertUnwindSafe(|| careless.feed(&mut orders)));
    let payload = payload.expect_err("the caller's own panic goes on in the caller");
    assert_eq!(payload.downcast_ref::<Refused>(), Some(&Refused(1.25)));
    assert_eq!(careless.fed()?, 1, "the plugin was unwound, and lives");
    assert_eq!(orders.sent(), 0);
    Ok(())
}

#[test]
fn a_panic_that_the_plugin_has_caught_stays_caught() -> Outcome {
    let mut shapes = shapes();
    assert_eq!(shapes.swallow(&mut Orders::default())?, 1);
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
    trait LentObjects {
        fn lend(&mut self, sink: &mut dyn Sink) -> u64;
    }
    struct Lender;
    impl LentObjects for Lender {
        fn lend(&mut self, sink: &mut dyn Sink) -> u64 {
            sink.relay(&mut Touchy, 1)
        }
    }
    let mut lends: Served<dyn LentObjects> = connect(Lender);
    let mut orders = Orders::default();
    assert_eq!(words(lends.lend(&mut orders)), "panicked");
    assert_eq!(orders.sent(), 0, "the caller's object was unwound too");
}

#[test]
fn borrow_that_an_object_of_the_plugin_cannot_answer_does_not_unwind_the_caller() {
    #[interface]
    trait Named {
        fn name(&self) -> &str;
    }
    #[interface]
    trait Asks {
        fn ask(&mut self, named: &dyn Named) -> u64;
    }
    #[interface]
    trait LendsName {
        fn lend(&mut self, asks: &mut dyn Asks) -> u64;
    }
    struct Object;
    impl Named for Object {
        fn name(&self) -> &str {
            "object"
        }
    }
    struct Asking;
    impl Asks for Asking {
        fn ask(&mut self, named: &dyn Named) -> u64 {
            named.name().len() as u64
        }
    }
    struct Lending;
    impl LendsName for Lending {
        fn lend(&mut self, asks: &mut dyn Asks) -> u64 {
            asks.ask(&Object)
        }
    }
    let mut lending: Served<dyn LendsName> = connect(Lending);
    let ended = catch_unwind(AssertUnwindSafe(|| words(lending.lend(&mut Asking))));
    let words = ended.expect("the caller's object did not panic by itself");
    assert!(words.contains("Borrowed"), "{words}");
}

/// A request from the plugin to a lent object. A hostile plugin could keep it, and send it again after the call.
fn request_of(shapes: &mut Served<dyn Shapes>) -> Message {
    let mut orders = Orders::default();
    let messages = shapes.messages(|shapes| assert_eq!(shapes.feed(&mut orders, 1).expect("a reply"), 1));
    let found = messages
        .into_iter()
        .find(|message| !message.to_plugin && message.code.is_none());
    found.expect("a call back")
}

#[test]
fn stale_handle_of_a_lent_object_is_refused_after_the_call() -> Outcome {
    let mut shapes = shapes();
    let stale = request_of(&mut shapes);
    let target = stale.target;
    shapes.tamper(move |message| {
        if !message.to_plugin && message.code.is_none() {
            message.target = target;
        }
    });
    let mut orders = Orders::default();
    let failed = words(shapes.feed(&mut orders, 1));
    assert_eq!(failed, format!("Rejected(Handle {{ found: {target} }}), then Callback"));
    assert_eq!(shapes.refusals(), [MarshalError::Handle { found: target }]);
    assert_eq!(orders.sent(), 0);
    Ok(())
}

#[test]
fn handles_that_never_existed_are_refused() {
    let mut shapes = shapes();
    for wrong in [INSTANCE, 1, 255, u64::MAX, u64::MAX - 255] {
        shapes.tamper(move |message| {
            if !message.to_plugin && message.code.is_none() {
                message.target = wrong;
            }
        });
        words(shapes.feed(&mut Orders::default(), 1));
        assert_eq!(shapes.refusals(), [MarshalError::Handle { found: wrong }]);
    }
    // The right number of the call, and an object that it has not lent.
    shapes.tamper(|message| {
        if !message.to_plugin && message.code.is_none() {
            message.target += 1;
        }
    });
    words(shapes.feed(&mut Orders::default(), 1));
    assert!(matches!(shapes.refusals()[..], [MarshalError::Handle { .. }]));
}

#[test]
fn object_that_was_lent_to_be_read_cannot_be_changed() {
    let shapes = shapes();
    let send = crate::loopback::index::<dyn Sink>("send");
    shapes.tamper(move |message| {
        if !message.to_plugin && message.code.is_none() {
            message.method = send;
        }
    });
    words(shapes.count(&Orders::default()));
    assert!(matches!(shapes.refusals()[..], [MarshalError::ReadOnly { .. }]));
}

#[test]
fn object_in_use_cannot_be_reached_through_its_handle() {
    // `relay` has the sink mutably, and calls the plugin's observer, which answers. Before the answer, the hostile plugin calls
    // the sink again.
    #[interface]
    trait Relays {
        fn relay(&mut self, sink: &mut dyn Sink, other: &mut dyn Sink) -> u64;
    }
    struct Relay;
    impl Relays for Relay {
        fn relay(&mut self, sink: &mut dyn Sink, other: &mut dyn Sink) -> u64 {
            /// Calls an object of the outer call.
            struct Other<'a>(&'a mut dyn Sink);
            impl Observer for Other<'_> {
                fn observe(&mut self, _: u64) -> u64 {
                    self.0.sent()
                }
            }
            sink.relay(&mut Other(other), 1)
        }
    }
    let mut relays: Served<dyn Relays> = connect(Relay);
    let (mut sink, mut other) = (Orders::default(), Orders::default());
    assert_eq!(
        relays
            .relay(&mut sink, &mut other)
            .expect("two objects do not exclude each other"),
        0
    );
    let sent = crate::loopback::index::<dyn Sink>("sent");
    relays.tamper(move |message| {
        if !message.to_plugin && message.code.is_none() && message.method == sent {
            // The first object of the same call.
            message.target -= 1;
        }
    });
    let failed = words(relays.relay(&mut sink, &mut other));
    assert!(failed.contains("Busy"), "{failed}");
    assert!(
        relays
            .refusals()
            .iter()
            .any(|refused| matches!(refused, MarshalError::Busy { .. }))
    );
}

#[test]
fn calls_that_are_nested_without_end_are_refused() {
    /// The sink and the observer call each other, as a plugin can do for ever.
    #[interface]
    trait Endless {
        fn run(&self, sink: &dyn Sink) -> u64;
    }
    struct Forever;
    impl Endless for Forever {
        fn run(&self, sink: &dyn Sink) -> u64 {
            struct Again<'a>(&'a dyn Sink);
            impl Observed for Again<'_> {
                fn seen(&self) -> u64 {
                    self.0.relay_shared(&Again(self.0))
                }
            }
            sink.relay_shared(&Again(sink))
        }
    }
    let endless: Served<dyn Endless> = connect(Forever);
    let orders = Orders::default();
    let found = words(endless.run(&orders));
    assert!(
        found.starts_with(&format!("Rejected(Nested {{ most: {MAX_NESTED_CALLS} }})")),
        "{found}"
    );
    assert_eq!(endless.refusals(), [MarshalError::Nested { most: MAX_NESTED_CALLS }]);
    assert_eq!(orders.sent(), 0);
}

#[test]
fn plugin_that_claims_a_panic_of_the_caller_gets_an_error() {
    let mut shapes = shapes();
    shapes.tamper(|message| {
        if message.to_plugin && message.code.is_some() {
            (message.code, message.bytes) = (Some(code::CALLBACK), Vec::new());
        }
    });
    assert_eq!(words(shapes.feed(&mut Orders::default(), 0)), "Callback");
}

#[test]
fn plugin_cannot_unwind_its_caller() {
    // The plugin's observer fails in each way, which unwinds the caller's object that has called it. Then the plugin claims
    // that the panic was the caller's.
    for failed in [code::PANICKED, code::CALLBACK, code::FAILED, code::OK, 99] {
        let mut shapes = shapes();
        shapes.tamper(move |message| {
            if message.to_plugin && message.code.is_some() {
                let ended = if message.target == INSTANCE { code::CALLBACK } else { failed };
                (message.code, message.bytes) = (Some(ended), Vec::new());
            }
        });
        let mut orders = Orders::default();
        let found = words(shapes.nest(&mut orders));
        assert!(found.ends_with("Callback"), "{found}");
        assert_eq!(orders.notes, ["before"]);
    }
}

#[test]
fn own_panic_of_the_caller_comes_before_one_that_went_through_its_object() {
    /// Refuses what comes through an observer of the plugin.
    #[interface]
    trait Through {
        fn through(&mut self, first: &mut dyn Sink, second: &mut dyn Sink) -> u64;
    }
    struct Relay;
    impl Through for Relay {
        fn through(&mut self, first: &mut dyn Sink, second: &mut dyn Sink) -> u64 {
            struct Refuses<'a>(&'a mut dyn Sink);
            impl Observer for Refuses<'_> {
                fn observe(&mut self, _: u64) -> u64 {
                    self.0.send(&level(4), "refuse")
                }
            }
            first.relay(&mut Refuses(second), 1)
        }
    }
    let mut through: Served<dyn Through> = connect(Relay);
    let (mut first, mut second) = (Orders::default(), Orders::default());
    let payload = catch_unwind(AssertUnwindSafe(|| through.through(&mut first, &mut second)));
    let payload = payload.expect_err("the caller's own panic goes on in the caller");
    assert_eq!(payload.downcast_ref::<Refused>(), Some(&Refused(4.25)));
}

#[test]
fn object_of_an_older_caller_uses_default_bodies() -> Outcome {
    let mut shapes = shapes();
    let mut orders = Orders::default();
    shapes.feed(&mut orders, 2)?;
    // The number of functions stands after the handle.
    shapes.tamper(|message| {
        if message.to_plugin && message.code.is_none() {
            message.bytes[8..12].copy_from_slice(&5_u32.to_ne_bytes());
        }
        if !message.to_plugin && message.code.is_none() {
            assert_ne!(message.method, 5, "the older table has no `sent_twice`");
        }
    });
    assert_eq!(shapes.count(&orders)?, 6);
    Ok(())
}
