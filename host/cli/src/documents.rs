//! Completions and manual pages for packages, made from the description of the command line.

use crate::{
    Arguments,
    exit::{Exit, Failure},
};
use clap::CommandFactory;
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(clap::Args)]
pub struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

#[derive(clap::Args)]
pub struct Man {
    /// Write a page for each verb into this folder [default: print the first page]
    folder: Option<PathBuf>,
}

impl Completions {
    pub fn run(self) -> Result<Exit, Failure> {
        // `generate` panics if it cannot write, so it writes into memory first.
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "reslot", &mut text);
        print(&text)
    }
}

impl Man {
    pub fn run(self) -> Result<Exit, Failure> {
        let Some(folder) = self.folder else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command())
                .render(&mut page)
                .map_err(Failure::Output)?;
            return print(&page);
        };
        let written =
            std::fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), &folder));
        let failed = |error: io::Error| {
            let words = format!("cannot write into {}: {error}; name a writable folder", folder.display());
            Failure::Other(Exit::Refused, words)
        };
        written.map_err(failed)?;
        Ok(Exit::Done)
    }
}

fn print(text: &[u8]) -> Result<Exit, Failure> {
    let mut out = io::stdout();
    out.write_all(text).and_then(|()| out.flush()).map_err(Failure::Output)?;
    Ok(Exit::Done)
}
