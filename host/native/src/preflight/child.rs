//! The child's side: what is done with the artifact, step by step. Each step is told before it is begun, because it may be the last
//! thing that this process does. What the artifact prints goes to the standard error stream.

use super::{
    preflight,
    protocol::{Task, Word, build},
};
use crate::{open::Opened, resources::ImageResources};
use reslot_artifact::manifest::Manifest;
use reslot_engine::{Holding, Image, Instance, Preflight, Unloading};
use reslot_plugin_api::Health;
use reslot_report::{PreflightStep, QuarantineReason};
use reslot_stage::StagedFile;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

const USAGE: &str = "usage: reslot-preflight FILE    loads, creates, drops and unloads a plugin in a child process, and says how that \
                     went\n(a Reslot host starts it without a file, and tells it what to do)";

/// All of the program `reslot-preflight`.
pub fn child_main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [] if !io::stdin().is_terminal() => serve(),
        [file] => for_a_person(file),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Tries a file out in a child of this very program.
fn for_a_person(file: &OsString) -> ExitCode {
    let how = Preflight {
        program: std::env::current_exe().ok(),
        ..Preflight::default()
    };
    match preflight(file, &how) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}\n  what to do: {}", error.remedy());
            ExitCode::FAILURE
        }
    }
}

/// Does what the host wants.
fn serve() -> ExitCode {
    match prepare() {
        Ok((mut teller, task, state)) => {
            let last = match fly(&mut teller, &task, state) {
                Ok(stays_mapped) => Word::Done { stays_mapped },
                Err(why) => why.0,
            };
            // Without a host nobody is left to be told.
            let _ = teller.say(&last);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("reslot-preflight: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Before anything of the artifact: whose child this is, what is to be done, and that a crash is a quiet one.
fn prepare() -> io::Result<(Teller, Task, Option<Vec<u8>>)> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = getrlimit(Resource::Core);
    let exclusive_instance = Rlimit {
        // With 0 the kernel writes no file but still starts the collector of core dumps, if there is one; with 1 it does neither.
        current: Some(limit.maximum.map_or(1, |most| most.min(1))),
        ..limit
    };
    setrlimit(Resource::Core, exclusive_instance)?;
    let mut teller = Teller(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    rustix::stdio::dup2_stdout(io::stderr())?;
    teller.say(&Word::Hello { build: build() })?;
    let mut input = Vec::new();
    File::from(io::stdin().as_fd().try_clone_to_owned()?).read_to_end(&mut input)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let (task, state) =
        Task::from_input(input).ok_or_else(|| io::Error::other("there is no task in what the host tells"))?;
    // It may have died before its death was to be told.
    if std::os::unix::process::parent_id() != task.host {
        return Err(io::Error::other("the host is gone"));
    }
    Ok((teller, task, state))
}

/// The steps, in their order. The answer is what keeps the image mapped, if anything does.
fn fly(teller: &mut Teller, task: &Task, state: Option<Vec<u8>>) -> Result<Option<String>, Last> {
    let patience = task.settle;
    let (less, told) = mpsc::channel();
    let manifest = Manifest::parse(task.manifest.as_bytes());

    let opened = teller.step(PreflightStep::Open, || {
        let copy = StagedFile::lent(PathBuf::from(&task.copy)).map_err(|error| error.to_string())?;
        Opened::open(copy).map_err(|error| error.to_string())
    })?;
    let image = teller.step(PreflightStep::Verify, || {
        let manifest = manifest.map_err(|error| error.to_string())?;
        opened
            .verify(manifest, None, resources(task, less))
            .map_err(|error| error.to_string())
    })?;
    let mut instance = teller.step(PreflightStep::Create, || {
        // SAFETY: nobody calls a method of it. It stays in this function, which calls one hook after another.
        let created = unsafe { Instance::create(Box::new(image), task.slot.as_str().into(), task.generation) };
        created.map_err(|(image, error)| {
            // Its instance was never made; the process ends with it.
            std::mem::forget(image);
            error
        })
    })?;
    if let (Some(mut state), Some(schema)) = (state, instance.schema()) {
        // A state of a newer schema comes migrated: it is the plugin that serves that knows the way down.
        if let Some(from) = task.schema.filter(|from| *from != schema.schema) {
            let migrate = || instance.migrate(from, schema.schema, &state);
            state = teller.step(PreflightStep::Migrate, migrate)?;
        }
        teller.step(PreflightStep::Restore, || instance.exclusive_instance().restore(&state))?;
    }
    teller.step(PreflightStep::Init, || instance.exclusive_instance().init())?;
    let health = teller.step(PreflightStep::Health, || instance.health())?;
    if let Health::Critical(_) | Health::CheckFailed(_) = &health {
        let message = health.to_string();
        return Err(Last(Word::Unhealthy { message }));
    }
    let image = teller.step(PreflightStep::Drop, || {
        let (image, dropped) = instance.destroy();
        // A thread-local of this thread may be the image's: its destructor is part of the drop.
        image.resources().end();
        let image = image.alone().map_err(|_| "another object of it is there".to_owned())?;
        dropped.map(|()| image).map_err(|error| error.to_string())
    })?;
    teller.step(PreflightStep::Unload, || Ok::<_, String>(unload(image, &told, patience)))
}

fn resources(task: &Task, less: mpsc::Sender<()>) -> Arc<ImageResources> {
    let name = format!("plugin {:?}, generation {}, in its preflight,", task.slot, task.generation);
    let when_less = move || {
        let _ = less.send(());
    };
    ImageResources::new(name, when_less, |report| {
        eprintln!("reslot: a thread of the plugin panicked: {}", report.message);
    })
}

/// Closes the image once its threads have ended, if they do. The answer is why it stays, if it does.
fn unload(mut image: Box<dyn Image>, less: &Receiver<()>, patience: Duration) -> Option<String> {
    let begun = Instant::now();
    loop {
        if image.holding() == Holding::Threads {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() || less.recv_timeout(left).is_err() {
                let names = image.resources().running_threads();
                std::mem::forget(image);
                return Some(QuarantineReason::ThreadsRunning(names).to_string());
            }
            continue;
        }
        match image.close() {
            Unloading::Unmapped(_) => return None,
            Unloading::Stays(image, reason) => {
                std::mem::forget(image);
                return Some(reason.to_string());
            }
            Unloading::Busy(back) => image = back,
        }
    }
}

/// The last word, if it is not that all is well.
struct Last(Word);

/// Tells the host. The artifact does not know this descriptor.
struct Teller(File);

impl Teller {
    fn say(&mut self, word: &Word) -> io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    /// Takes a step, and tells of it before and after.
    fn step<T, E: Into<Word>>(&mut self, step: PreflightStep, work: impl FnOnce() -> Result<T, E>) -> Result<T, Last> {
        // A host that cannot be told has ended, and this process with it.
        let _ = self.say(&Word::Begins { step });
        let begun = Instant::now();
        let done = work().map_err(|error| Last(error.into()))?;
        let took = begun.elapsed();
        let _ = self.say(&Word::Ends { step, took });
        Ok(done)
    }
}
