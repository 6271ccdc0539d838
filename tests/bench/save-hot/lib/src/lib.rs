//! plugins/momentum, as hot-lib-reloader's README has its library: the same state and the same arithmetic in plain functions.

use serde::{Deserialize, Serialize};

const EDITION: u32 = 1;
const THRESHOLD: f64 = 0.00020;
const WEIGHT: f64 = 0.02;
const MOST: i64 = 10;

#[derive(Default, Serialize, Deserialize)]
pub struct Momentum {
    pub position: i64,
    pub ema: f64,
    pub ticks: u64,
}

pub struct Tick {
    pub ts: u64,
    pub bid: f64,
    pub ask: f64,
}

pub enum Order {
    Buy(u32, f64),
    Sell(u32, f64),
}

pub struct Summary {
    pub position: i64,
    pub ticks: u64,
    pub average: f64,
    pub edition: u32,
}

#[unsafe(no_mangle)]
pub fn on_tick(state: &mut Momentum, tick: &Tick, orders: &mut Vec<Order>) {
    let mid = (tick.bid + tick.ask) / 2.0;
    if state.ticks == 0 {
        state.ema = mid;
    }
    state.ticks += 1;
    state.ema += WEIGHT * (mid - state.ema);
    if mid > state.ema + THRESHOLD && state.position < MOST {
        orders.push(Order::Buy(1, tick.ask));
        state.position += 1;
    } else if mid < state.ema - THRESHOLD && state.position > -MOST {
        orders.push(Order::Sell(1, tick.bid));
        state.position -= 1;
    }
}

#[unsafe(no_mangle)]
pub fn summary(state: &Momentum) -> Summary {
    Summary {
        position: state.position,
        ticks: state.ticks,
        average: state.ema,
        edition: EDITION,
    }
}
