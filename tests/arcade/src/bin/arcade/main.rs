//! `cargo xtask demo arcade`: the game in a terminal (`screen`), or without one, as numbers and pictures.

#![forbid(unsafe_code)]

mod screen;

use anyhow::{Context, ensure};
use arcade_interfaces::Input;
use clap::Parser;
use ratatui::{buffer::Buffer, layout::Rect, widgets::Widget};
use reslot::Policy;
use reslot_arcade::{game::Game, picture::Scene, png_file, rle, world::Table};
use std::{ffi::OsString, fs, path::PathBuf, process::ExitCode};
use xtask::Building;

#[derive(Parser)]
struct Arguments {
    /// The folder into which rules are published
    #[arg(long, default_value = "target/reslot/arcade")]
    folder: PathBuf,
    /// Play Conway's Life from this pattern file, in run-length encoding
    #[arg(long, value_name = "FILE.rle")]
    life: Option<PathBuf>,
    /// Without a terminal: play, print numbers, and end
    #[arg(long)]
    headless: bool,
    /// The number of ticks, if headless
    #[arg(long, default_value_t = 600)]
    ticks: u64,
    /// Where to write pictures to, ten in a second, if headless
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// The program, with its arguments, that builds the rules at each save
    #[arg(last = true)]
    builder: Vec<OsString>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let (slot, world) = match &arguments.life {
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let cells = rle::read(&text).with_context(|| format!("{} is no pattern of Life", file.display()))?;
            ("life", Table::of_cells(rle::centred(cells)))
        }
        None => ("arcade", Table::default()),
    };
    ensure!(
        arguments.headless || reslot_terminal::is_there(),
        "the game draws in a terminal and reads keys from it, and there is none; --headless plays without one"
    );
    let building = Building::of(&arguments.builder)?;
    let game = Game::open(&arguments.folder, slot, world, Policy::development())?;
    match arguments.headless {
        true => headless(game, &arguments).map(|()| ExitCode::SUCCESS),
        false => screen::play(game, building).map(ExitCode::from),
    }
}

fn headless(mut game: Game, arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.frames {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    for tick in 0..arguments.ticks {
        let steer = if tick / 40 % 2 == 0 { 1 } else { -1 };
        let ticked = game.tick(Input { steer, fire: false });
        ensure!(ticked.done, "{}", game.strip.lines().join("\n"));
        if let Some(folder) = arguments.frames.as_ref().filter(|_| tick % 6 == 0) {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
            Scene::of(&game).render(buffer.area, &mut buffer);
            png_file::write(&buffer, &folder.join(format!("{tick:06}.png")))?;
        }
    }
    println!("{}", game.strip.lines().join("\n"));
    println!("world {:016x} after {} ticks", game.world.hash(), arguments.ticks);
    Ok(())
}
