//! What a person types into the running host's terminal, and what it answers.

use reslot::Host;
use reslot_demo::words::{dim, heading};
use std::{
    io::BufRead,
    sync::mpsc::{self, Receiver},
    thread,
};

/// The lines that were typed.
pub struct Questions(Receiver<String>);

impl Questions {
    /// Listens to the terminal, or to whatever stands in its place; at its end there are no more questions.
    pub fn listen() -> Self {
        let (sender, lines) = mpsc::channel();
        // It waits in a read that nothing can end: it goes with the process.
        thread::spawn(move || {
            let lines = std::io::stdin().lock().lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        Self(lines)
    }

    /// Answers what was asked since. True if the host is to end.
    pub fn answer(&self, host: &Host) -> bool {
        self.0.try_iter().any(|line| answer(host, line.trim()))
    }
}

fn answer(host: &Host, line: &str) -> bool {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "" => {}
        "quit" => return true,
        "who-holds" => who_holds(host, rest.trim()),
        _ => anstream::println!(
            "{}\n  who-holds [SLOT]   who keeps which generation, and for how long\n  quit               ends the host, as Ctrl-C does",
            heading("What can be typed here")
        ),
    }
    false
}

fn who_holds(host: &Host, slot: &str) {
    let slots = host.slots();
    let asked: Vec<_> = slots.iter().filter(|known| slot.is_empty() || known.name == slot).collect();
    if asked.is_empty() {
        let there = match &slots[..] {
            [] => "nothing is loaded yet".to_owned(),
            slots => {
                let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
                format!("there are {}", names.join(", "))
            }
        };
        let what = if slot.is_empty() { "No slot" } else { "No such slot" };
        anstream::println!("{what}: {there}.");
    }
    for slot in asked {
        anstream::println!("{}", heading(&slot.name));
        for held in host.who_holds(&slot.name) {
            anstream::println!("  {}", held.to_string().replace('\n', "\n  "));
        }
    }
    anstream::println!("{}", dim("Each generation goes when the last of its holders lets go."));
}
