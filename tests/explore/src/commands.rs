//! The program: which models or seeds it runs, and what it prints.

use crate::{
    artifacts,
    models::{Model, all},
    simulation,
};
use reslot_sync::{Exploration, Failure};
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// What the program was asked for.
struct Arguments {
    models: Vec<String>,
    from: u64,
    schedules: u64,
    /// Instead of a number of schedules: the time for all models.
    most: Option<Duration>,
    /// This process takes each `parts`th seed, beginning with this one.
    part: u64,
    parts: u64,
    simulation: Option<Simulation>,
}

/// Random programs instead of models.
#[derive(Default)]
struct Simulation {
    /// Run one program, and end the process at this point of its schedule.
    kill: Option<usize>,
    /// Run this program, in JSON.
    program: Option<String>,
    /// The folder of that program.
    folder: Option<PathBuf>,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(2);
        }
    };
    let code = match &arguments.simulation {
        Some(simulation) => simulation.run(&arguments),
        None => run_models(&arguments),
    };
    artifacts::clean_up();
    code
}

fn run_models(arguments: &Arguments) -> ExitCode {
    let is_asked_for = |model: &Model| arguments.models.is_empty() || arguments.models.iter().any(|name| name == model.name);
    let models: Vec<Model> = all().into_iter().filter(is_asked_for).collect();
    let each = arguments.most.map(|most| most / u32::try_from(models.len()).unwrap_or(1));
    let failed = models.iter().filter(|model| !run(model, arguments, each)).count();
    println!("{} passed, {failed} failed", models.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(model: &Model, arguments: &Arguments, most: Option<Duration>) -> bool {
    let begun = Instant::now();
    let (mut steps, mut schedules) = (0, 0);
    let mut seed = arguments.from + arguments.part;
    while match most {
        Some(most) => begun.elapsed() < most,
        None => seed < arguments.from + arguments.schedules,
    } {
        match model.explore(seed) {
            Ok(explored) => steps += explored.steps,
            Err(failure) => {
                println!(
                    "model {}: FAILED with seed {} after {} steps",
                    model.name, failure.seed, failure.steps
                );
                println!("  {}", failure.message);
                println!(
                    "  again: cargo xtask explore {} --from {} --schedules 1",
                    model.name, failure.seed
                );
                return false;
            }
        }
        schedules += 1;
        seed += arguments.parts;
    }
    let processes = match arguments.parts {
        1 => String::new(),
        parts => format!(" in each of {parts} processes"),
    };
    println!(
        "model {}: {schedules} schedules{processes}, {} steps each, {:.1?} ({})",
        model.name,
        steps / schedules.max(1) as usize,
        begun.elapsed(),
        model.explores
    );
    true
}

fn parse() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        models: Vec::new(),
        from: 0,
        schedules: 1_000,
        most: None,
        part: 0,
        parts: 1,
        simulation: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut number = || -> Result<u64, String> {
            let text = given.next().ok_or(format!("{argument} takes a number"))?;
            text.parse()
                .map_err(|_| format!("{argument} takes a number, and not {text:?}"))
        };
        match argument.as_str() {
            "--from" => arguments.from = number()?,
            "--schedules" => arguments.schedules = number()?,
            "--minutes" => arguments.most = Some(Duration::from_secs(60 * number()?)),
            "--part" => {
                let text = given.next().unwrap_or_default();
                let parts = text
                    .split_once('/')
                    .and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
                (arguments.part, arguments.parts) = parts.ok_or("--part takes two numbers, as 0/2")?;
            }
            "simulate" => arguments.simulation = Some(Simulation::default()),
            "--kill" => {
                let step = number()? as usize;
                arguments.simulation.get_or_insert_default().kill = Some(step);
            }
            "--program" => arguments.simulation.get_or_insert_default().program = given.next(),
            "--folder" => arguments.simulation.get_or_insert_default().folder = given.next().map(PathBuf::from),
            name if all().iter().any(|model| model.name == name) => arguments.models.push(name.to_owned()),
            other => {
                let names: Vec<_> = all().iter().map(|model| model.name).collect();
                return Err(format!(
                    "{other:?} is no model and no option; the models are {}",
                    names.join(", ")
                ));
            }
        }
    }
    Ok(arguments)
}

impl Simulation {
    fn run(&self, arguments: &Arguments) -> ExitCode {
        if let Some(folder) = &self.folder {
            let outcome = match (self.kill, &self.program) {
                (Some(step), _) => simulation::run_until(arguments.from, step, folder.clone()),
                (None, Some(program)) => simulation::run_given(program, folder),
                (None, None) => simulation::simulate(arguments.from, folder),
            };
            return match outcome {
                Ok(_) => ExitCode::SUCCESS,
                Err(failure) => {
                    println!("after {} points: {}", failure.steps, failure.message);
                    ExitCode::FAILURE
                }
            };
        }
        let begun = Instant::now();
        let (mut steps, mut seeds) = (0, 0);
        let mut seed = arguments.from + arguments.part;
        while match arguments.most {
            Some(most) => begun.elapsed() < most,
            None => seed < arguments.from + arguments.schedules,
        } {
            match fresh(seed) {
                Ok(explored) => steps += explored.steps,
                Err(failure) => {
                    println!("simulation: FAILED with seed {seed} after {} points", failure.steps);
                    println!("  {}", failure.message);
                    if let Some((words, program)) = simulation::shorten(seed, &artifacts::fresh_folder) {
                        print!("a shorter program fails as well, {words}{program}");
                    }
                    println!("again: cargo xtask simulate --seed {seed}");
                    println!("{seeds} passed, 1 failed");
                    return ExitCode::FAILURE;
                }
            }
            seeds += 1;
            seed += arguments.parts;
        }
        let each = steps / seeds.max(1);
        println!("simulation: {seeds} seeds, {each} points each, {:.1?}", begun.elapsed());
        println!("{seeds} passed, 0 failed");
        ExitCode::SUCCESS
    }
}

fn fresh(seed: u64) -> Result<Exploration, Failure> {
    let folder = artifacts::fresh_folder();
    let outcome = simulation::simulate(seed, &folder);
    artifacts::remove(&folder);
    outcome
}
