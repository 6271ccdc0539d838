//! The folder of a history: its index, and what else lies there.

use arbitrary::Unstructured;
use reslot::{__history::read_folder, ContentHash, HistoryError, VersionStatus};
use std::{fs, os::unix::fs::symlink, path::Path};

/// The artifacts that the folder has. The seeds name them.
const ARTIFACTS: [&[u8]; 3] = [b"one", b"two", b"three"];

/// A folder in memory, where a sync costs nothing.
pub(crate) fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a folder")
}

/// The last four bytes say what lies in the folder; the others are the index. Opening the folder must give whole versions
/// only, touch nothing outside, and leave a folder that opens without a complaint.
pub fn history(bytes: &[u8]) {
    let Some((index, flags)) = bytes.split_last_chunk::<4>() else {
        return;
    };
    let base = in_memory();
    let folder = base.path().join("history");
    fs::create_dir(&folder).expect("a folder");
    let outside = base.path().join("outside.so");
    fs::write(&outside, "outside").expect("a file");
    lay(&folder, index, Unstructured::new(flags)).expect("the folder is made");

    let first = read_folder(&folder, 2);
    assert_eq!(fs::read(&outside).expect("it is there"), b"outside");
    let (found, problems) = match first {
        Ok(opened) => opened,
        Err(error) => {
            assert!(!error.remedy().is_empty() && !error.to_string().is_empty());
            return;
        }
    };
    let mut lost = problems.len();
    for (slot, entry, bytes) in &found {
        match bytes {
            Ok(bytes) => assert!(
                ARTIFACTS.contains(&&bytes[..]) && !matches!(entry.condition, VersionStatus::KnownBad(_)),
                "slot {slot:?}: {entry:?} is {bytes:?}"
            ),
            Err(HistoryError::KnownBad { .. }) => assert!(matches!(entry.condition, VersionStatus::KnownBad(_))),
            Err(_) => lost += 1,
        }
    }
    // What was lost is named once; nothing else gets lost.
    let (again, problems) = read_folder(&folder, 2).expect("it was opened before");
    let whole = |found: &[reslot::__history::FoundVersion]| {
        let whole = found.iter().filter(|(_, _, bytes)| bytes.is_ok());
        whole
            .map(|(slot, entry, _)| (slot.clone(), entry.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(whole(&again), whole(&found));
    assert!(lost > 0 || problems.is_empty(), "{problems:?}");
    assert_eq!(fs::read(&outside).expect("it is there"), b"outside");
}

fn lay(folder: &Path, index: &[u8], mut flags: Unstructured<'_>) -> std::io::Result<()> {
    let mut says = |bits: u8| flags.arbitrary::<u8>().unwrap_or_default() % bits;
    let slot = folder.join("a");
    fs::create_dir(&slot)?;
    fs::create_dir(folder.join("%2e%2e"))?;
    for bytes in ARTIFACTS {
        let file = format!("{}.so", ContentHash::of(bytes));
        match says(6) {
            0 => {}
            1 => fs::write(slot.join(file), &bytes[..2])?,
            2 => symlink("../../outside.so", slot.join(file))?,
            3 => fs::create_dir(slot.join(file))?,
            _ => {
                fs::write(slot.join(&file), bytes)?;
                fs::write(folder.join("%2e%2e").join(file), bytes)?;
            }
        }
    }
    let others = says(16);
    if others & 1 != 0 {
        fs::write(folder.join(".reslot-new-abc"), "half")?;
    }
    if others & 2 != 0 {
        fs::write(folder.join("index.json.broken"), "older")?;
    }
    if others & 4 != 0 {
        fs::write(slot.join("notes.txt"), "mine")?;
    }
    match others & 8 {
        0 => fs::write(folder.join("index.json"), index),
        _ => symlink("../outside.so", folder.join("index.json")),
    }
}
