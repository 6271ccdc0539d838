//! hot-lib-reloader's side of `cargo xtask bench save`: the program of its README, which tells on standard output at what moment
//! which edition began to answer. Its argument says for how many milliseconds it waits until the file is quiet.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[hot_lib_reloader::hot_module(dylib = "lib")]
mod after_500 {
    hot_functions_from_file!("lib/src/lib.rs");
    pub use lib::{Momentum, Order, Summary, Tick};
}

#[hot_lib_reloader::hot_module(dylib = "lib", file_watch_debounce = 20)]
mod after_20 {
    hot_functions_from_file!("lib/src/lib.rs");
    pub use lib::{Momentum, Order, Summary, Tick};
}

#[hot_lib_reloader::hot_module(dylib = "lib", file_watch_debounce = 2)]
mod after_2 {
    hot_functions_from_file!("lib/src/lib.rs");
    pub use lib::{Momentum, Order, Summary, Tick};
}

type OnTick = fn(&mut lib::Momentum, &lib::Tick, &mut Vec<lib::Order>);
type Tell = fn(&lib::Momentum) -> lib::Summary;

fn main() {
    let (on_tick, summary) = match std::env::args().nth(1).as_deref() {
        Some("2") => (after_2::on_tick as OnTick, after_2::summary as Tell),
        Some("20") => (after_20::on_tick as OnTick, after_20::summary as Tell),
        _ => (after_500::on_tick as OnTick, after_500::summary as Tell),
    };
    let mut state = lib::Momentum::default();
    let mut orders = Vec::new();
    let tick = lib::Tick { ts: 1, bid: 1.0, ask: 1.1 };
    let mut edition = 0;
    loop {
        on_tick(&mut state, &tick, &mut orders);
        let summary = summary(&state);
        if summary.edition != edition {
            edition = summary.edition;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
            println!("{edition} {now}");
        }
        orders.clear();
        // As in the loop that it is compared with.
        thread::sleep(Duration::from_micros(100));
    }
}
