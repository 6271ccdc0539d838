//! The commands that a person types into the running host's terminal.

use reslot::{Host, LoadOutcome, RollbackTarget, SlotInfo, UnloadOutcome, VersionStatus};
use reslot_demo::words::{bad, dim, heading};
use std::{
    io::BufRead,
    sync::mpsc::{self, Receiver},
    thread,
};

/// The lines that were typed.
pub struct Questions(Receiver<String>);

impl Questions {
    /// Reads standard input until its end.
    pub fn listen() -> Self {
        let (sender, lines) = mpsc::channel();
        // The thread blocks in a read until the process ends.
        thread::spawn(move || {
            let lines = std::io::stdin().lock().lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        Self(lines)
    }

    /// Executes the commands typed since the last call. True if the host must end.
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
        "history" => history(host, rest.trim()),
        "rollback" => rollback(host, rest.trim()),
        "confirm" => confirm(host, rest.trim()),
        "unload" => unload(host, rest.trim()),
        "load" => load(host, rest.trim()),
        _ => anstream::println!(
            "{}\n  \
             who-holds [SLOT]       the holders of each generation, and how long they hold it\n  \
             history [SLOT]         the versions that can be rolled back to, and those that were rolled back\n  \
             rollback SLOT [HASH]   rolls back to the previous version, or to the one with this hash\n  \
             confirm SLOT           confirms the current generation, which ends its probation\n  \
             unload SLOT            unloads the slot; its file is loaded again when it is published, or by `load`\n  \
             load FILE [SLOT]       loads a file, into the slot of its plugin's name or into this one\n  \
             quit                   ends the host, like Ctrl-C",
            heading("Commands")
        ),
    }
    false
}

/// The slots of this name, or all. Prints a message if there are none.
fn asked(host: &Host, slot: &str) -> Vec<SlotInfo> {
    let slots = host.slots();
    let asked: Vec<_> = slots
        .iter()
        .filter(|known| slot.is_empty() || known.name == slot)
        .cloned()
        .collect();
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
    asked
}

fn history(host: &Host, slot: &str) {
    for slot in asked(host, slot) {
        anstream::println!("{}", heading(&slot.name));
        for kept in host.history(&slot.name) {
            let condition = match &kept.condition {
                VersionStatus::Confirmed => "good".to_owned(),
                VersionStatus::Unconfirmed => "has not passed its probation yet".to_owned(),
                VersionStatus::KnownBad(why) => format!("was rolled back: {why}"),
                _ => String::new(),
            };
            anstream::println!("  {:.12}  version {}, {condition}", kept.hash, kept.version);
        }
    }
}

fn rollback(host: &Host, words: &str) {
    let (slot, hash) = words.split_once(' ').unwrap_or((words, ""));
    let to = match hash.trim() {
        "" => RollbackTarget::Previous,
        typed => match typed.parse() {
            Ok(prefix) => RollbackTarget::Prefix(prefix),
            Err(error) => return anstream::println!("{} {error}", bad("not rolled back:")),
        },
    };
    match host.rollback(slot, to) {
        Ok(LoadOutcome::Staged { generation, .. }) => {
            anstream::println!("{slot}: the owner rolls back to generation {generation} in its next `sync`.");
        }
        // The event reports the details.
        Ok(_) => {}
        Err(error) => anstream::println!("{} {error}", bad("not rolled back:")),
    }
}

fn confirm(host: &Host, slot: &str) {
    match host.confirm(slot) {
        Ok(true) => {}
        Ok(false) => anstream::println!("{slot} is not on probation."),
        Err(error) => anstream::println!("{} {error}", bad("not confirmed:")),
    }
}

fn unload(host: &Host, slot: &str) {
    match host.unload(slot) {
        Ok(UnloadOutcome::Staged { generation, .. }) => {
            anstream::println!("{slot}: the owner unloads generation {generation} in its next `sync`.");
        }
        // The events report the details.
        Ok(_) => {}
        Err(error) => anstream::println!("{} {error}", bad("not unloaded:")),
    }
}

fn load(host: &Host, words: &str) {
    let (file, slot) = words.split_once(' ').unwrap_or((words, ""));
    let outcome = match slot.trim() {
        "" => host.load(file),
        slot => host.load_as(slot, file),
    };
    // Events report refusals and loads.
    if let Ok(LoadOutcome::Unchanged { slot, generation }) = outcome {
        anstream::println!("{slot}: generation {generation} already has the content of this file.");
    }
}

fn who_holds(host: &Host, slot: &str) {
    for slot in asked(host, slot) {
        anstream::println!("{}", heading(&slot.name));
        for held in host.who_holds(&slot.name) {
            anstream::println!("  {}", held.to_string().replace('\n', "\n  "));
        }
    }
    anstream::println!("{}", dim("Each generation is unloaded when its last holder releases it."));
}
