//! The blocks of a chapter that are to be done. What follows a block's language says how; other blocks are only read.

/// A block of the chapter.
#[derive(Debug)]
pub enum Block {
    /// Commands that end.
    Run(String),
    /// A command that goes on.
    Background(String),
    /// What is printed by those that go on; `…` stands for anything.
    Output(String),
    /// A change of a file.
    Edit(Edit),
}

/// A change of a file; all paths are below the new workspace.
#[derive(Debug)]
pub enum Edit {
    /// The line that was changed last, or the first with a `format!`, is replaced.
    Line { file: String, new: String },
    /// Put at the end.
    Append { file: String, new: String },
    /// The first place with the old text is replaced.
    Replace { file: String, old: String, new: String },
}

/// All of a chapter's blocks that are to be done, in their order.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let content: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let content = content.join("\n") + "\n";
        match info.split_once(' ') {
            Some(("sh", "run")) => found.push(Block::Run(content)),
            Some(("sh", "background")) => found.push(Block::Background(content)),
            Some(("text", "output")) => found.push(Block::Output(content)),
            Some(("rust,ignore", how)) => found.push(Block::Edit(edit(how, content))),
            Some((_, how)) => panic!("nobody knows what `{how}` is to mean"),
            None => {}
        }
    }
    found
}

fn edit(how: &str, new: String) -> Edit {
    let parts: Vec<_> = how.splitn(3, '=').collect();
    match parts[..] {
        ["edit", file] => Edit::Line {
            file: file.to_owned(),
            new,
        },
        ["append", file] => Edit::Append {
            file: file.to_owned(),
            new,
        },
        ["replace", file, old] => Edit::Replace {
            file: file.to_owned(),
            old: old.replace('+', " "),
            new,
        },
        _ => panic!("nobody knows what `{how}` is to mean"),
    }
}
