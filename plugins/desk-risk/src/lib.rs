//! The desk's risk model: it limits the worst-case position of a strategy. The desk's gate has its own limits.
#![forbid(unsafe_code)]

use desk_interfaces::{Counts, Proposal, RiskModel, Side};
use reslot_plugin_api::export_plugin;
use serde::{Deserialize, Serialize};

/// The largest position of a strategy if all resting orders are filled.
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
