//! The verb `build-plugin`: builds plugins and publishes them for a running host; with `--watch`, at each save.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use super::{Caller, paint, settings, watch};
use crate::{PluginBuild, Profile, WasmToolchain, Workspace};

/// The command line.
#[derive(clap::Args)]
pub struct Arguments {
    /// The plugins' packages; all packages under plugins/ that build a loadable library if none is named
    names: Vec<String>,
    /// Build and publish again whenever a source file is saved
    #[arg(long)]
    watch: bool,
    /// Build with optimisations
    #[arg(long)]
    release: bool,
    /// Build modules for the WebAssembly engine instead of libraries
    #[arg(long)]
    wasm: bool,
    /// Publish here instead of in target/reslot/plugins
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Also print when cargo was started, and when the library was finished and published, for `cargo xtask bench save`
    #[arg(long, hide = true)]
    times: bool,
}

/// The request, resolved against the workspace.
pub(super) struct Job {
    names: Vec<String>,
    profile: Profile,
    folder: Option<PathBuf>,
    times: bool,
    wasm: Option<WasmToolchain>,
}

impl Job {
    /// The names of the plugins to build: the requested ones, or all.
    pub fn plugins(&self, workspace: &Workspace) -> anyhow::Result<Vec<String>> {
        let names = match self.names.as_slice() {
            [] => workspace.plugins().map(|plugin| plugin.name.clone()).collect(),
            names => names.to_vec(),
        };
        anyhow::ensure!(
            !names.is_empty(),
            "there is no plugin to build: a plugin is a package under {} with `[lib] crate-type = [\"cdylib\"]`",
            workspace.root.join("plugins").display()
        );
        names.iter().try_for_each(|name| workspace.plugin(name).map(drop))?;
        Ok(names)
    }

    /// Builds one plugin, publishes it and prints its line. True if it succeeded.
    pub fn build(&self, workspace: &Workspace, name: &str, quiet: bool) -> bool {
        let folder = self.folder.clone().unwrap_or_else(|| workspace.plugin_folder());
        let published = workspace.plugin(name).and_then(|plugin| {
            let mut build = PluginBuild::new(workspace, plugin, self.profile);
            // A release build is shipped, so it uses only its author's settings.
            if self.profile == Profile::Debug {
                build = build.with_settings(settings::of_debug_build(&workspace.root, name));
            }
            if let Some(toolchain) = &self.wasm {
                build = build.for_wasm(workspace, toolchain.clone());
            }
            if quiet { build.quiet() } else { build }.publish_to(&folder)
        });
        match published {
            Ok(published) => {
                let file = from_here(&published.file);
                let outcome = if published.is_new {
                    format!("{} {file}", paint::good("published"))
                } else {
                    format!("{} {file}", paint::dim("unchanged, not published again:"))
                };
                let (size, took) = (paint::size(published.size), paint::seconds(published.built_in));
                paint::line(format_args!("{name:<16} {size:>8}  built in {took:>6}  {outcome}"));
                if self.times {
                    let started = published.started.duration_since(UNIX_EPOCH).unwrap_or_default();
                    let spans =
                        [started, published.built_in, published.published_in].map(|span| span.as_nanos().to_string());
                    paint::line(format_args!("times {}", spans.join(" ")));
                }
                true
            }
            Err(error) => {
                paint::failure(&error.to_string());
                false
            }
        }
    }
}

/// Builds and publishes plugins; with `--watch`, until it is interrupted. For `--wasm` it uses the installed compiler.
///
/// # Errors
/// If the workspace cannot be read or has no such plugin. A failed build is reported on standard error and by the exit code.
pub fn run(caller: &Caller, arguments: Arguments) -> anyhow::Result<ExitCode> {
    run_with(caller, arguments, |_| Ok(WasmToolchain::installed()?))
}

/// As [`run`], with the compiler for `--wasm` from `toolchain`.
///
/// # Errors
/// As with `run`, and if there is no such compiler.
pub fn run_with(
    caller: &Caller,
    arguments: Arguments,
    toolchain: impl FnOnce(&Workspace) -> anyhow::Result<WasmToolchain>,
) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(&caller.workspace()?)?;
    let wasm = arguments.wasm.then(|| toolchain(&workspace)).transpose()?;
    let profile = if arguments.release { Profile::Release } else { Profile::Debug };
    let folder = arguments.folder.map(std::path::absolute).transpose()?;
    let job = Job {
        names: arguments.names,
        profile,
        folder,
        times: arguments.times,
        wasm,
    };
    if arguments.watch {
        return watch::run(&job, workspace);
    }
    let mut all_good = true;
    for name in job.plugins(&workspace)? {
        all_good &= job.build(&workspace, &name, false);
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The path relative to the current folder, if it is below it.
fn from_here(file: &Path) -> String {
    let here = std::env::current_dir().ok();
    here.and_then(|here| file.strip_prefix(here).ok())
        .unwrap_or(file)
        .display()
        .to_string()
}
