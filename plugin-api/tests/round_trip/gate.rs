//! Calls through a gate, which leads to where the state is now.

use crate::{
    served::{Outcome, Served, Through, connect, words},
    shapes::{Orders, Plugin, Shapes},
};
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

#[test]
fn a_gate_leads_to_where_the_state_is() -> Outcome {
    let calls = Cell::new(0);
    let plugin = Plugin {
        name: "moved".to_owned(),
        ..Plugin::default()
    };
    let mut shapes: Served<dyn Shapes> = connect(plugin, Through::Gate);
    assert_eq!(shapes.text(1)?, "naïve ☂");
    assert_eq!(shapes.name()?, "moved");
    assert_eq!(shapes.renamed("again")?, "again");
    assert_eq!(shapes.feed(&mut Orders::new(&calls), 2)?, 3);
    assert_eq!(words(shapes.fail("behind the gate")), "Status(1)");
    let payload = catch_unwind(AssertUnwindSafe(|| shapes.swallow(&mut Orders::new(&calls))));
    assert!(payload.is_ok_and(|answer| answer.is_ok_and(|caught| caught == 2)));
    Ok(())
}

#[test]
fn a_gate_that_leads_nowhere_is_an_error() {
    let mut shapes: Served<dyn Shapes> = connect(Plugin::default(), Through::NoGate);
    assert_eq!(words(shapes.text(0)), "Vacant");
    assert_eq!(words(shapes.name()), "Vacant");
    assert_eq!(words(shapes.feed(&mut Orders::new(&Cell::new(0)), 1)), "Vacant");
}
