//! The child's side: the steps of a preflight. The child reports each step before it begins, because the artifact may crash this
//! process in it. The artifact's output goes to the standard error stream.

use super::{
    preflight,
    protocol::{Message, Task, UNREPORTED, UNREPORTED_CODE, build},
};
use crate::{open::Opened, resources::Ledger};
use reslot_artifact::manifest::Manifest;
use reslot_engine::{
    Holding, Image, Instance, Preflight, Unloading,
    hooks::{self, AroundHook},
};
use reslot_plugin_api::Health;
use reslot_report::{Hook, HookError, PreflightStep, QuarantineReason};
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
                     went\n(a Reslot host starts it without a file, and sends it a task)";

/// The `main` function of the program `reslot-preflight`.
pub fn child_main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [] if !io::stdin().is_terminal() => run_for_host(),
        [file] => run_for_user(file),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Tries a file out in another process of this program.
fn run_for_user(file: &OsString) -> ExitCode {
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

/// Runs the task of a host.
fn run_for_host() -> ExitCode {
    match prepare() {
        Ok((mut host, task, state)) => {
            let last = match run_steps(&mut host, &task, state) {
                Ok(stays_mapped) => Message::Done { stays_mapped },
                Err(failure) => failure.0,
            };
            match host.send(&last) {
                Ok(()) => ExitCode::SUCCESS,
                // Without the last message the host would think that the artifact has ended this process.
                Err(error) => {
                    eprintln!("{UNREPORTED}{error}");
                    ExitCode::from(UNREPORTED_CODE)
                }
            }
        }
        Err(error) => {
            eprintln!("reslot-preflight: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prepares this process before any code of the artifact runs: it dies with the host, dumps no core, and has read its task.
fn prepare() -> io::Result<(HostPipe, Task, Option<Vec<u8>>)> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = getrlimit(Resource::Core);
    let no_core_dump = Rlimit {
        // With 0 the kernel writes no file, but still starts the collector of core dumps, if there is one; with 1 it does neither.
        current: Some(limit.maximum.map_or(1, |most| most.min(1))),
        ..limit
    };
    setrlimit(Resource::Core, no_core_dump)?;
    let mut host = HostPipe(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    rustix::stdio::dup2_stdout(io::stderr())?;
    host.send(&Message::Hello { build: build() })?;
    let mut input = Vec::new();
    File::from(io::stdin().as_fd().try_clone_to_owned()?).read_to_end(&mut input)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let (task, state) =
        Task::from_input(input).ok_or_else(|| io::Error::other("the standard input holds no task of a host"))?;
    // The host may have died before `set_parent_process_death_signal`.
    if std::os::unix::process::parent_id() != task.host {
        return Err(io::Error::other("the host has ended"));
    }
    Ok((host, task, state))
}

/// Runs all steps, in their order. Returns the reason why the image stays mapped, if it does.
fn run_steps(host: &mut HostPipe, task: &Task, state: Option<Vec<u8>>) -> Result<Option<String>, Failure> {
    let (on_release, releases) = mpsc::channel();
    let manifest = Manifest::parse(task.manifest.as_bytes());

    let opened = host.step(PreflightStep::Open, || {
        let copy = StagedFile::lent(PathBuf::from(&task.copy)).map_err(|error| error.to_string())?;
        Opened::open(copy).map_err(|error| error.to_string())
    })?;
    let image = host.step(PreflightStep::Verify, || {
        let manifest = manifest.map_err(|error| error.to_string())?;
        opened
            .verify(manifest, None, resources(task, on_release))
            .map_err(|error| error.to_string())
    })?;
    let mut instance = host.step(PreflightStep::Create, || {
        // SAFETY: only this function has the instance, on one thread, and calls one hook after another; nobody calls a method of it.
        let created = unsafe { Instance::create(Box::new(image), task.slot.as_str().into(), task.generation) };
        created.map_err(|(image, error)| {
            // Leak the image: this process ends now.
            std::mem::forget(image);
            error
        })
    })?;
    if let (Some(state), Some(schema)) = (&state, task.schema) {
        // A state that its writer migrates was migrated by the host.
        hooks::restore(&mut instance.exclusive_instance(), (schema, state), None, host)?;
    }
    // A preflight gives the artifact no configuration and no resources.
    hooks::init(&mut instance.exclusive_instance(), None, [], host)?;
    let health = host.around(Hook::Health, || instance.health())?;
    if let Health::Critical(_) | Health::CheckFailed(_) = &health {
        let message = health.to_string();
        return Err(Failure(Message::Unhealthy { message }));
    }
    let image = host.step(PreflightStep::Drop, || {
        let (image, dropped) = instance.destroy();
        // This thread may have thread-locals of the image: their destructors are part of the drop.
        image.resources().end();
        let image = image.alone().map_err(|_| "it has another instance".to_owned())?;
        dropped.map(|()| image).map_err(|error| error.to_string())
    })?;
    host.step(PreflightStep::Unload, || {
        Ok::<_, String>(unload(image, &releases, task.thread_timeout))
    })
}

fn resources(task: &Task, on_release: mpsc::Sender<()>) -> Arc<Ledger> {
    let name = format!("plugin {:?}, generation {}, in its preflight,", task.slot, task.generation);
    let on_release = move || {
        let _ = on_release.send(());
    };
    Ledger::new(name, on_release, |report| {
        eprintln!("reslot: a thread of the plugin panicked: {}", report.message);
    })
}

/// Closes the image after its threads have ended. Returns the reason why it stays mapped, if it does.
fn unload(mut image: Box<dyn Image>, releases: &Receiver<()>, timeout: Duration) -> Option<String> {
    let begun = Instant::now();
    loop {
        if image.holding() == Holding::Threads {
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() || releases.recv_timeout(left).is_err() {
                let names = image.resources().running_threads();
                std::mem::forget(image);
                return Some(QuarantineReason::ThreadsRunning(names).to_string());
            }
            continue;
        }
        match image.close() {
            Unloading::Unmapped(_) | Unloading::Linked | Unloading::ProcessEnded { .. } | Unloading::SandboxFreed => {
                return None;
            }
            Unloading::Stays(image, reason) => {
                std::mem::forget(image);
                return Some(reason.to_string());
            }
            Unloading::Busy(back) => image = back,
        }
    }
}

/// The last message, if a step has failed.
struct Failure(Message);

/// The pipe to the host. The artifact does not know its descriptor.
struct HostPipe(File);

impl HostPipe {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    /// Runs a step, and reports its begin and its end.
    fn step<T, E: Into<Message>>(&mut self, step: PreflightStep, work: impl FnOnce() -> Result<T, E>) -> Result<T, Failure> {
        // Sending fails only if the host is dead, and then the kernel kills this process.
        let _ = self.send(&Message::Begins { step });
        let begun = Instant::now();
        let done = work().map_err(|error| Failure(error.into()))?;
        let took = begun.elapsed();
        let _ = self.send(&Message::Ends { step, took });
        Ok(done)
    }
}

impl AroundHook for HostPipe {
    type Failed = Failure;

    fn around<T>(&mut self, hook: Hook, call: impl FnOnce() -> Result<T, HookError>) -> Result<T, Failure> {
        let step = match hook {
            Hook::Migrate => PreflightStep::Migrate,
            Hook::Restore => PreflightStep::Restore,
            Hook::Health => PreflightStep::Health,
            // Configuration and resources are part of the step `init`.
            _ => PreflightStep::Init,
        };
        self.step(step, call)
    }
}
