//! The verbs that only read: `list`, `history`, `who-holds`, `verify`.

use crate::{
    exit::{Exit, Failure},
    output::{ago, caution, clean, clipped, dim, duration, heading, json, line, size, table, waiting},
    socket::{connect, nonsense},
};
use reslot_control::{
    Client,
    protocol::{Answer, ComparedImage, HeldGeneration, Overview, Request, SlotStatus, Version},
};
use std::{collections::BTreeMap, path::PathBuf};

/// The width to which a sentence under a row is cut.
const WIDE: usize = 76;

#[derive(clap::Args)]
pub struct List {
    /// Print JSON: the whole status of the host
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct History {
    /// The slot
    slot: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct WhoHolds {
    /// The slot [default: all]
    slot: Option<String>,
    /// Print JSON: an object with the generations of each slot
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct Verify {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let overview = overview(&mut connect(socket)?)?;
        if self.json {
            json(&overview)?;
            return Ok(Exit::Done);
        }
        let Overview { process, program, .. } = &overview;
        line(dim(format!(
            "{program}, process {process}, up {}; {} image(s) mapped, {} quarantined",
            duration(overview.uptime_ms),
            overview.mapped,
            overview.quarantined
        )))?;
        if overview.slots.is_empty() {
            line("No plugin is loaded.")?;
            return Ok(Exit::Done);
        }
        let rows: Vec<_> = overview.slots.iter().map(row).collect();
        table(["SLOT", "GEN", "STATE", "VERSION", "HASH", "HEAP", "FAULTS", "HEALTH"], &rows)?;
        for slot in &overview.slots {
            for remark in remarks(slot) {
                line(caution(clipped(&format!("{}: {remark}", slot.name), WIDE)))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn row(slot: &SlotStatus) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        slot.name.clone(),
        or_dash(slot.generation.map(|number| number.to_string())),
        slot.state.clone(),
        or_dash(slot.version.clone().map(|version| match slot.engine.as_deref() {
            None | Some("native") => version,
            Some(engine) => format!("{version} ({engine})"),
        })),
        or_dash(slot.hash.as_deref().map(|hash| hash.chars().take(8).collect())),
        or_dash(slot.live_bytes.map(size)),
        slot.faults.to_string(),
        clipped(&or_dash(slot.health.clone()), 16),
    ]
}

/// Remarks about a slot that needs attention.
fn remarks(slot: &SlotStatus) -> Vec<String> {
    let mut remarks = Vec::new();
    remarks.extend(
        slot.staged
            .map(|number| format!("generation {number} waits for the slot's owner")),
    );
    remarks.extend((slot.quarantined > 0).then(|| {
        format!(
            "{} image(s) cannot be unloaded: reslot who-holds {}",
            slot.quarantined, slot.name
        )
    }));
    remarks.extend((slot.late_holders > 0).then(|| {
        let who = format!("reslot who-holds {}", slot.name);
        format!("{} holder(s) of retired generations: {who}", slot.late_holders)
    }));
    remarks.extend(slot.damaged.clone());
    remarks.extend(slot.last_refusal.as_ref().map(|_| {
        let why = format!("reslot why-not {}", slot.name);
        format!("the last build was refused: {why}")
    }));
    remarks
}

impl History {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let request = Request::History { slot: self.slot.clone() };
        let Answer::History { versions } = connect(socket)?.ask(request)? else {
            return Err(nonsense());
        };
        if self.json {
            json(&versions)?;
            return Ok(Exit::Done);
        }
        if versions.is_empty() {
            line(format!("The history has no version of {}.", self.slot))?;
            return Ok(Exit::Done);
        }
        let rows: Vec<_> = versions.iter().map(version).collect();
        table(["", "HASH", "VERSION", "CONDITION", "SINCE", "SIZE"], &rows)?;
        for version in &versions {
            if let Some(reason) = &version.reason {
                line(dim(clipped(&format!("{:.12}: {reason}", version.hash), WIDE)))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn version(version: &Version) -> [String; 6] {
    [
        if version.serves { "*" } else { "" }.to_owned(),
        version.hash.chars().take(12).collect(),
        version.version.clone(),
        version.condition.clone(),
        ago(version.since_ms),
        size(version.bytes),
    ]
}

impl Verify {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let mut client = connect(socket)?;
        // It goes on while a processor is idle.
        let bar = waiting("the host compares its images");
        let answer = client.ask(Request::Verify);
        drop(bar);
        let Answer::Images { images } = answer? else {
            return Err(nonsense());
        };
        let is_bad = |image: &ComparedImage| matches!(&*image.condition, "damaged" | "failed");
        let exit = match images.iter().any(is_bad) {
            true => Exit::Refused,
            false => Exit::Done,
        };
        if self.json {
            json(&images)?;
            return Ok(exit);
        }
        if images.is_empty() {
            line("No image is mapped.")?;
            return Ok(exit);
        }
        let rows: Vec<_> = images.iter().map(compared).collect();
        table(["SLOT", "GEN", "CONDITION", "COMPARED", "TOOK"], &rows)?;
        for image in &images {
            for difference in &image.differences {
                line(caution(format!(
                    "{} {}: {}",
                    image.slot,
                    image.generation,
                    clean(&difference.text)
                )))?;
            }
            if image.more > 0 {
                let (slot, generation, more) = (&image.slot, image.generation, image.more);
                line(caution(format!("{slot} {generation}: {more} more difference(s)")))?;
            }
            if let Some(reason) = &image.reason {
                line(dim(clipped(&format!("{} {}: {reason}", image.slot, image.generation), WIDE)))?;
            }
        }
        Ok(exit)
    }
}

fn compared(image: &ComparedImage) -> [String; 5] {
    [
        image.slot.clone(),
        image.generation.to_string(),
        image.condition.clone(),
        size(image.bytes),
        format!("{:.1} ms", image.took_us / 1e3),
    ]
}

impl WhoHolds {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let mut client = connect(socket)?;
        let slots = match self.slot {
            Some(slot) => vec![slot],
            None => overview(&mut client)?.slots.into_iter().map(|slot| slot.name).collect(),
        };
        let mut all = BTreeMap::new();
        for slot in slots {
            let Answer::Holders { generations } = client.ask(Request::WhoHolds { slot: slot.clone() })? else {
                return Err(nonsense());
            };
            all.insert(slot, generations);
        }
        if self.json {
            json(&all)?;
            return Ok(Exit::Done);
        }
        if all.is_empty() {
            line("No plugin is loaded.")?;
        }
        for (slot, generations) in all {
            line(heading(slot))?;
            generations.iter().try_for_each(held)?;
        }
        Ok(Exit::Done)
    }
}

fn held(held: &HeldGeneration) -> Result<(), Failure> {
    let heap = held.live_bytes.map(|bytes| format!(", {} on its heap", size(bytes)));
    let since = dim(format!("({}{})", duration(held.since_ms), heap.unwrap_or_default()));
    line(format!("  generation {} {} {since}", held.generation, held.condition))?;
    held.holders
        .iter()
        .try_for_each(|holder| line(format!("    held by {}", clean(holder))))
}

fn overview(client: &mut Client) -> Result<Overview, Failure> {
    match client.ask(Request::Overview)? {
        Answer::Overview(overview) => Ok(*overview),
        _ => Err(nonsense()),
    }
}
