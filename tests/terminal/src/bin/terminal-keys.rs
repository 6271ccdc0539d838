//! Shows the typed keys, and fails on demand in the ways that the tests check. Its last action creates the file that it gets
//! as an argument.

#![forbid(unsafe_code)]

use ratatui::widgets::Paragraph;
use reslot_terminal::{End, Key, Terminal};
use std::{env, fs, process::ExitCode, thread, time::Duration};

fn main() -> ExitCode {
    let file = env::args_os().nth(1).expect("a file");
    let mut terminal = Terminal::take(move || fs::write(file, "").expect("a file can be made")).expect("a terminal");
    match show(&mut terminal) {
        Ok(()) => ExitCode::FAILURE,
        Err(end) => ExitCode::from(end.code),
    }
}

fn show(terminal: &mut Terminal) -> Result<(), End> {
    let mut words = "ready".to_owned();
    loop {
        terminal.draw(|frame| frame.render_widget(Paragraph::new(&*words), frame.area()))?;
        match terminal.wait(Duration::from_secs(1))? {
            Some(Key::Char('p')) => panic!("as it was asked to"),
            Some(Key::Char('h')) => {
                terminal.draw(|frame| frame.render_widget("hangs", frame.area()))?;
                loop {
                    thread::park();
                }
            }
            // Writes more than the buffer of a terminal that nobody reads.
            Some(Key::Char('w')) => loop {
                words = if words.starts_with('+') { "-" } else { "+" }.repeat(80);
                terminal.draw(|frame| frame.render_widget(Paragraph::new([&*words; 24].join("\n")), frame.area()))?;
            },
            Some(key) => words += &format!("\n{key:?}"),
            None => {}
        }
    }
}
