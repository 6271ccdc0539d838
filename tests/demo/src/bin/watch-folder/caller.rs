//! Callers of the loaded plugins, one for each slot, chosen by the interface. A plugin may be loaded long after the start:
//! its caller is made at its first swap.

use reslot::{Event, Host, Slot, SlotError};
use reslot_demo::{
    desk::Desk,
    ticks::Feed,
    words::{self, bad},
};
use sample_interfaces::{Greeter, Pricer, Quote};
use std::{collections::BTreeMap, sync::Arc};

/// The callers by slot.
#[derive(Default)]
pub struct Callers(BTreeMap<Arc<str>, Caller>);

enum Caller {
    Greeter(Slot<dyn Greeter>),
    Pricer(Slot<dyn Pricer>),
    Strategy(Box<Desk>),
    /// The plugin has another interface.
    None,
}

impl Callers {
    /// Calls the plugin of a slot after a swap.
    pub fn after(&mut self, host: &Host, event: &Event) {
        let Event::Swapped(report) = event else { return };
        let slot = &report.slot;
        if let Some(caller) = self.0.get_mut(slot) {
            caller.call(slot);
            return;
        }
        match Caller::of(host, slot) {
            Ok(mut caller) => {
                caller.call(slot);
                self.0.insert(slot.clone(), caller);
            }
            Err(error) => anstream::println!("{slot}: {} {error:#}", bad("cannot be called:")),
        }
    }

    /// One round of each strategy's loop.
    pub fn round(&mut self) {
        for caller in self.0.values_mut() {
            if let Caller::Strategy(desk) = caller {
                desk.round();
            }
        }
    }
}

impl Caller {
    fn of(host: &Host, slot: &str) -> anyhow::Result<Self> {
        if let Some(greeter) = if_it_fits(host.slot::<dyn Greeter>(slot))? {
            return Ok(Self::Greeter(greeter));
        }
        if let Some(pricer) = if_it_fits(host.slot::<dyn Pricer>(slot))? {
            return Ok(Self::Pricer(pricer));
        }
        if let Some(desk) = if_it_fits(Desk::open(host, slot, Feed::recorded()?))? {
            return Ok(Self::Strategy(Box::new(desk)));
        }
        anstream::println!(
            "{slot}: this program calls the interfaces in plugins/interfaces, as they were when it was built; the plugin has \
             another one, so it is not called (`cargo xtask inspect` shows it)"
        );
        Ok(Self::None)
    }

    fn call(&mut self, slot: &str) {
        match self {
            Self::Greeter(greeter) => {
                // Events report failed calls.
                if let Ok(greeting) = greeter.load().greet("you") {
                    anstream::println!("{slot}: greet(\"you\") answers {greeting:?}");
                }
            }
            Self::Pricer(pricer) => {
                let quote = Quote { bid: 1.0, ask: 2.0 };
                let loaded = pricer.load();
                if let (Ok(price), Ok(model)) = (loaded.price(&quote), loaded.model()) {
                    anstream::println!(
                        "{slot}: price of {:.2} / {:.2} is {price:.4}, by model {model:?}",
                        quote.bid,
                        quote.ask
                    );
                }
            }
            Self::Strategy(desk) => {
                if let Some(summary) = desk.summary() {
                    anstream::println!("{slot}: edition {} answers: {}", summary.edition, words::state(&summary));
                }
            }
            Self::None => {}
        }
    }
}

fn if_it_fits<T>(had: Result<T, SlotError>) -> Result<Option<T>, SlotError> {
    match had {
        Ok(had) => Ok(Some(had)),
        Err(SlotError::Interface { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
