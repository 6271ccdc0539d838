//! hot-lib-reloader's side of `cargo xtask bench save`: the program of its README, which tells on standard output at what moment
//! which edition began to answer. `default` or `quick`, as its argument says, is how long it waits for the file to be quiet.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[hot_lib_reloader::hot_module(dylib = "lib")]
mod patient {
    hot_functions_from_file!("lib/src/lib.rs");
    pub use lib::{Momentum, Order, Summary, Tick};
}

#[hot_lib_reloader::hot_module(dylib = "lib", file_watch_debounce = 2)]
mod quick {
    hot_functions_from_file!("lib/src/lib.rs");
    pub use lib::{Momentum, Order, Summary, Tick};
}

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "quick");
    let mut state = lib::Momentum::default();
    let mut orders = Vec::new();
    let tick = lib::Tick { ts: 1, bid: 1.0, ask: 1.1 };
    let mut edition = 0;
    loop {
        let summary = if is_quick {
            quick::on_tick(&mut state, &tick, &mut orders);
            quick::summary(&state)
        } else {
            patient::on_tick(&mut state, &tick, &mut orders);
            patient::summary(&state)
        };
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
