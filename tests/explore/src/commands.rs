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
    // The threads of a failed execution stay where they are, so nothing else can be explored in this process.
    let passed = models.iter().take_while(|model| run(model, arguments, each)).count();
    let failed = usize::from(passed < models.len());
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Arguments {
    /// The seeds of this process, until the time is over.
    fn seeds(&self, most: Option<Duration>) -> impl Iterator<Item = u64> + use<> {
        let until = most.map(|most| Instant::now() + most);
        let end = match most {
            Some(_) => u64::MAX,
            None => self.from + self.schedules,
        };
        let seeds = (self.from + self.part..end).step_by(self.parts.try_into().unwrap_or(1));
        seeds.take_while(move |_| until.is_none_or(|until| Instant::now() < until))
    }
}

fn run(model: &Model, arguments: &Arguments, most: Option<Duration>) -> bool {
    let begun = Instant::now();
    match model.explore(arguments.seeds(most)) {
        Ok(explored) => {
            let processes = match arguments.parts {
                1 => String::new(),
                parts => format!(" in each of {parts} processes"),
            };
            let (name, explores, took) = (model.name, model.explores, begun.elapsed());
            let Exploration { schedules, steps } = explored;
            let each = steps / schedules.max(1);
            println!("model {name}: {schedules} schedules{processes}, {each} points each, {took:.1?} ({explores})");
            true
        }
        Err(failure) => {
            print_failure(&format!("model {}", model.name), &failure);
            println!(
                "again: cargo xtask explore {} --from {} --schedules 1",
                model.name, failure.seed
            );
            false
        }
    }
}

fn print_failure(of: &str, failure: &Failure) {
    let Failure {
        seed,
        before,
        steps,
        message,
    } = failure;
    println!("{of}: FAILED with seed {seed}, after {before} schedules, at point {steps}");
    println!("  {message}");
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
                (None, None) => simulation::simulate(std::iter::once(arguments.from)),
            };
            return match outcome {
                Ok(_) => ExitCode::SUCCESS,
                Err(failure) => {
                    println!("at point {}: {}", failure.steps, failure.message);
                    ExitCode::FAILURE
                }
            };
        }
        let begun = Instant::now();
        match simulation::simulate(arguments.seeds(arguments.most)) {
            Ok(Exploration { schedules, steps }) => {
                let each = steps / schedules.max(1);
                println!("simulation: {schedules} seeds, {each} points each, {:.1?}", begun.elapsed());
                println!("{schedules} passed, 0 failed");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                print_failure("simulation", &failure);
                if let Some((words, program)) = simulation::shorten(failure.seed, &artifacts::fresh_folder) {
                    print!("a shorter program fails as well, {words}{program}");
                } else {
                    print!(
                        "the program, which fails only after its process was killed: {}",
                        simulation::describe(failure.seed)
                    );
                }
                println!("again: cargo xtask simulate --seed {}", failure.seed);
                println!("{} passed, 1 failed", failure.before);
                ExitCode::FAILURE
            }
        }
    }
}
