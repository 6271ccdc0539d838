//! Two plugins of this repository, linked into one program.

use crate::host::{Host, Object, attach, migrate};
use desk_interfaces::{Counts, Intents, MarketEvent, Proposal, RiskModel, Side, Trader, What};
use reslot_plugin_api::{CallError, LinkedPlugin};
use std::sync::Arc;

/// Both, and the way into each is a value.
const PLUGINS: [LinkedPlugin; 2] = [desk_momentum::PLUGIN, desk_risk::PLUGIN];

fn quote(number: u64, bid: u64) -> MarketEvent {
    MarketEvent {
        number,
        what: What::Quote,
        bid,
        ask: bid + 2,
        order: 0,
        side: Side::Buy,
        price: 0,
        quantity: 0,
        position: 0,
    }
}

#[derive(Default)]
struct Orders(Vec<(Side, u64, u64)>);

impl Intents for Orders {
    fn place(&mut self, side: Side, price: u64, quantity: u64) {
        self.0.push((side, price, quantity));
    }

    fn cancel(&mut self, _: u64) {}
}

#[test]
fn each_linked_plugin_describes_itself() {
    let names = PLUGINS.map(|plugin| plugin.name());
    assert_eq!(names, ["desk-momentum", "desk-risk"]);
    for plugin in PLUGINS {
        let manifest: serde_json::Value = serde_json::from_slice(plugin.manifest()).expect("it is JSON");
        assert_eq!(manifest["name"], plugin.name());
        assert_eq!(manifest["state"], serde_json::json!({"schema": 1, "oldest": 1}));
        let image = attach(plugin, &Arc::default());
        let mapped = image.within(|root| root.manifest()());
        assert_eq!(mapped.as_slice(), plugin.manifest());
    }
    let interfaces = PLUGINS.map(|plugin| {
        let manifest: serde_json::Value = serde_json::from_slice(plugin.manifest()).expect("it is JSON");
        manifest["interface"]["name"].clone()
    });
    assert_eq!(interfaces, ["Trader", "RiskModel"]);
}

#[test]
fn both_live_a_whole_life_side_by_side() -> Result<(), Box<dyn std::error::Error>> {
    let host = Arc::new(Host::default());
    let (momentum, risk) = (attach(desk_momentum::PLUGIN, &host), attach(desk_risk::PLUGIN, &host));
    let (trader, model) = (Object::create(&momentum)?, Object::create(&risk)?);
    for object in [&trader, &model] {
        object.init()?;
        object.start()?;
    }

    let mut orders = Orders::default();
    trade(&trader, &host, 1..=5, 1_000, &mut orders)?;
    trade(&trader, &host, 6..=6, 1_100, &mut orders)?;
    assert_eq!(orders.0, [(Side::Buy, 1_102, 1)], "the price has left its average");
    let proposal = |quantity| Proposal {
        side: Side::Buy,
        price: 1_102,
        quantity,
        position: 0,
        resting: 0,
    };
    {
        let mut model = model.client::<dyn RiskModel>(&host);
        assert!(model.allows(&proposal(1))?);
        assert!(!model.allows(&proposal(1_000))?);
        assert_eq!(model.counts()?, Counts { asked: 2, refused: 1 });
    }

    // The next generations, each with the state of its own plugin's last one.
    let (next_trader, next_model) = (Object::create(&momentum)?, Object::create(&risk)?);
    for (image, old, new) in [(&momentum, &trader, &next_trader), (&risk, &model, &next_model)] {
        let state = old.snapshot()?.expect("it has a state");
        let state = migrate(image, 1, 1, &state)?;
        new.restore(&state)?;
        new.init()?;
        new.start()?;
        old.stop()?;
    }
    assert_eq!(next_trader.client::<dyn Trader>(&host).summary()?.events, 6);
    assert_eq!(
        next_model.client::<dyn RiskModel>(&host).counts()?,
        Counts { asked: 2, refused: 1 }
    );
    trade(&next_trader, &host, 7..=7, 1_100, &mut orders)?;
    assert_eq!(
        trader.client::<dyn Trader>(&host).summary()?.events,
        6,
        "the old object is another one"
    );

    for (image, object) in [(&momentum, trader), (&risk, model)] {
        assert_eq!(object.end_workers(), "");
        object.destroy()?;
        let image_has = image.within(|root| (root.live_bytes()().into_option(), root.remains()().registry.is_null()));
        assert_eq!(image_has, (None, true), "its memory is the program's");
        image.within(|root| root.shutdown()());
    }
    let wrong = migrate(&momentum, 1, 2, b"").expect_err("there is one schema");
    assert!(!wrong.is_empty(), "it refuses, and has not panicked");
    for object in [next_trader, next_model] {
        object.stop()?;
        object.destroy()?;
    }
    assert_eq!(host.panics(), []);
    Ok(())
}

fn trade(
    trader: &Object,
    host: &Arc<Host>,
    numbers: std::ops::RangeInclusive<u64>,
    bid: u64,
    orders: &mut Orders,
) -> Result<(), CallError> {
    let mut trader = trader.client::<dyn Trader>(host);
    for number in numbers {
        trader.on_event(&quote(number, bid), orders)?;
    }
    Ok(())
}
