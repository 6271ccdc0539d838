//! The desk's risk model: how much a strategy may hold at worst. The desk's gate has limits of its own, and does not ask anybody.
#![forbid(unsafe_code)]

use desk_interfaces::{Counts, Proposal, RiskModel, Side};
use reslot_plugin_api::export_plugin;
use serde::{Deserialize, Serialize};

/// How much a strategy may hold, should everything that rests be filled.
const MOST: u64 = 250;

#[derive(Default, Serialize, Deserialize)]
struct Risk {
    asked: u64,
    refused: u64,
}

impl RiskModel for Risk {
    fn allows(&mut self, order: &Proposal) -> bool {
        let sign = match order.side {
            Side::Buy => 1,
            Side::Sell => -1,
        };
        let worst = order
            .position
            .saturating_mul(sign)
            .saturating_add_unsigned(order.resting + order.quantity);
        let allows = worst <= MOST.cast_signed();
        self.asked += 1;
        self.refused += u64::from(!allows);
        allows
    }

    fn counts(&self) -> Counts {
        Counts {
            asked: self.asked,
            refused: self.refused,
        }
    }
}

export_plugin!(Risk: dyn RiskModel, name = "desk-risk");
