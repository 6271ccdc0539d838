//! What must hold after a run, however it was disturbed.

use super::{
    calls::Trouble,
    child::{Came, Report},
    runs::Ran,
    tracer::End,
};
use std::{collections::BTreeSet, fs, path::Path};

/// Something that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    pub run: String,
    /// The file that the call was about.
    pub about: String,
    pub what: String,
}

/// The footprints of an undisturbed run, after its last reload and after the end of its host.
pub fn usual(ran: &Ran) -> Result<[[usize; 3]; 2], Vec<Finding>> {
    let wrong = judge(ran);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let footprint = |name| ran.place.report(name).map_or([0; 3], |report| report.footprint);
    Ok([footprint("undisturbed"), footprint("ended")])
}

/// What is wrong with a run.
pub fn judge(ran: &Ran) -> Vec<Finding> {
    let mut wrong = Vec::new();
    match ran.next {
        None => judge_survivor(ran, &mut wrong),
        Some(end) => judge_next(ran, end, &mut wrong),
    }
    let about = match &ran.traced.reached {
        Some(seen) => seen.about.clone(),
        None => ran.run.about.clone(),
    };
    // Folders have other names in each run.
    let folder = ran.place.folder.display().to_string();
    let finding = |what: String| Finding {
        run: ran.run.name(),
        about: about.replace(&folder, ""),
        what: what.replace(&folder, ""),
    };
    wrong.into_iter().map(finding).collect()
}

fn output(ran: &Ran) -> String {
    let said = fs::read_to_string(ran.place.folder.join("output")).unwrap_or_default();
    let lines: Vec<_> = said.lines().take(12).collect();
    lines.join("\n  ")
}

/// std ends the process if a new thread gets no memory for the stack of its signal handlers. See docs/limits.md.
const NO_SIGNAL_STACK: [&str; 2] = [
    "failed to allocate an alternative stack",
    "failed to set up alternative stack guard page",
];

fn judge_survivor(ran: &Ran, wrong: &mut Vec<String>) {
    if ran.traced.end == End::Signal(libc::SIGABRT) && NO_SIGNAL_STACK.iter().any(|words| output(ran).contains(words)) {
        return;
    }
    if ran.traced.end != End::Exit(0) {
        wrong.push(format!("the process ended with {:?}\n  {}", ran.traced.end, output(ran)));
        return;
    }
    let reports = ["ready", "disturbed", "undisturbed", "ended"].map(|name| ran.place.report(name));
    let [Some(ready), Some(disturbed), Some(undisturbed), Some(ended)] = reports else {
        wrong.push(format!("the process ended before its last report\n  {}", output(ran)));
        return;
    };
    for (when, report) in [
        ("before", &ready),
        ("while it is disturbed", &disturbed),
        ("afterwards", &undisturbed),
        ("at its end", &ended),
    ] {
        wrong.extend(report.faults.iter().map(|fault| format!("{when}: {fault}")));
    }
    judge_disturbed(ran, &disturbed, wrong);
    if (&undisturbed.outcome, undisturbed.stamp) != (&Came::Swapped, 3) {
        let Report {
            outcome,
            messages,
            stamp,
            ..
        } = &undisturbed;
        wrong.push(format!("the next build is {outcome:?}, and {stamp} answers: {messages:#?}"));
    }
    if let Some(usual) = ran.usual {
        for (when, usual, now) in [
            ("at last", usual[0], undisturbed.footprint),
            ("after the host's end", usual[1], ended.footprint),
        ] {
            for ((what, usual), now) in ["descriptors", "threads", "executable mappings"].iter().zip(&usual).zip(now) {
                // Up to two threads for hooks are kept idle.
                let usual = if *what == "threads" && when == "at last" {
                    usual + 1
                } else {
                    *usual
                };
                if usual < now {
                    wrong.push(format!("{when} there are {now} {what}, and {usual} without a fault"));
                }
            }
        }
    }
    judge_history(&ran.place.history(), &undisturbed, wrong);
}

/// Calls are answered by the old or the new build, and if something did not go as usual, a message says why.
fn judge_disturbed(ran: &Ran, report: &Report, wrong: &mut Vec<String>) {
    let expected = match report.outcome {
        Came::Swapped => 2,
        Came::Refused(_) | Came::Nothing => 1,
    };
    if report.stamp != expected {
        wrong.push(format!("it is {:?}, and {} answers", report.outcome, report.stamp));
    }
    let mut messages = report.messages.clone();
    if report.outcome == Came::Nothing {
        wrong.push(format!("nobody noticed the new build; messages: {messages:#?}"));
    }
    let trouble = match ran.run.trouble() {
        Some(trouble) if ran.traced.reached.is_some() => trouble,
        // Nothing was disturbed, or only delayed.
        _ => {
            wrong.extend(
                messages
                    .drain(..)
                    .map(|message| format!("a message without a reason: {message}")),
            );
            return;
        }
    };
    for message in messages {
        let names_reason = trouble.words().is_some_and(|words| message.contains(&words))
            || message.contains("no space for") && matches!(trouble, Trouble::Error(libc::ENOSPC | libc::EDQUOT));
        // A lease is refused with this error if somebody has the file open for writing.
        let is_lease = ran.traced.reached.as_ref().is_some_and(|seen| seen.point.call == "fcntl");
        if is_lease && trouble == Trouble::Error(libc::EAGAIN) && message.contains("still being written") {
            continue;
        }
        // The program of a preflight may be refused before its first line; what it printed is in the message.
        let in_child = ran
            .traced
            .reached
            .as_ref()
            .is_some_and(|seen| seen.point.thread.starts_with("child "));
        if in_child
            && (message.contains("error while loading shared libraries") || message.contains("before its first message"))
        {
            continue;
        }
        if trouble.is_harmless() && !in_child {
            wrong.push(format!("{trouble} should be invisible, and there is a message: {message}"));
        } else if !names_reason {
            wrong.push(format!("a message without the reason {:?}: {message}", trouble.words()));
        } else if !message.contains("what to do: ") {
            wrong.push(format!("a message without a remedy: {message}"));
        } else if !message.contains('/') && !message.contains("thread") {
            wrong.push(format!("a message without a file: {message}"));
        }
    }
}

/// The index and the folder name the same versions.
fn judge_history(folder: &Path, report: &Report, wrong: &mut Vec<String>) {
    let Ok(index) = fs::read_to_string(folder.join("index.json")) else {
        return;
    };
    let listed = match versions(&index) {
        Ok(listed) => listed,
        Err(error) => {
            wrong.push(format!("the history's index is not whole: {error}"));
            return;
        }
    };
    let named: Vec<_> = listed
        .iter()
        .rev()
        .map(|version| (version.hash.clone(), version.status.clone()))
        .collect();
    if named != report.kept {
        wrong.push(format!("the index has {named:?}, and the host {:?}", report.kept));
    }
    let needed: BTreeSet<String> = listed
        .iter()
        .filter(|version| version.status != "bad")
        .map(|version| version.copy.clone())
        .collect();
    let mut there = BTreeSet::new();
    let folders = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir());
    for entry in folders
        .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten())
        .flatten()
    {
        there.insert(entry.file_name().to_string_lossy().trim_end_matches(".so").to_owned());
    }
    if needed != there {
        wrong.push(format!("the index names {needed:?}, and the folder has {there:?}"));
    }
    let unfinished = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    let unfinished: Vec<_> = unfinished
        .filter(|name| name.to_string_lossy().starts_with(".reslot-new-"))
        .collect();
    if !unfinished.is_empty() {
        wrong.push(format!("unfinished files stay in the history: {unfinished:?}"));
    }
}

struct Version {
    hash: String,
    copy: String,
    status: String,
}

/// The versions that an index names, oldest first.
fn versions(index: &str) -> Result<Vec<Version>, String> {
    let index: serde_json::Value = serde_json::from_str(index).map_err(|error| error.to_string())?;
    let slots = index["slots"].as_object().ok_or("it has no slots")?;
    let entries = slots.values().filter_map(|entries| entries.as_array()).flatten();
    let version = |entry: &serde_json::Value| {
        let text = |name: &str| {
            entry[name]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("an entry has no {name}"))
        };
        let status = match &entry["condition"] {
            serde_json::Value::String(status) => status.clone(),
            _ => "bad".to_owned(),
        };
        Ok(Version {
            hash: text("hash")?,
            copy: text("copy")?,
            status,
        })
    };
    entries.map(version).collect()
}

/// The process that was started on the folders of one that was killed.
fn judge_next(ran: &Ran, end: End, wrong: &mut Vec<String>) {
    if end != End::Exit(0) {
        wrong.push(format!("the next process ended with {end:?}\n  {}", output(ran)));
        return;
    }
    let reports = ["ready", "undisturbed", "ended"].map(|name| ran.place.report(name));
    let [Some(ready), Some(undisturbed), Some(ended)] = reports else {
        wrong.push(format!("the next process ended before its last report\n  {}", output(ran)));
        return;
    };
    for report in [&ready, &undisturbed, &ended] {
        wrong.extend(report.faults.iter().map(|fault| format!("the next process: {fault}")));
    }
    let listed = match ran.index.as_deref().map(versions) {
        Some(Err(error)) => {
            wrong.push(format!("the killed process left an index that is not whole: {error}"));
            return;
        }
        Some(Ok(listed)) => listed,
        None => Vec::new(),
    };
    // The version that was published last, unless it is in the index and had not been confirmed.
    let stamps = || (1..=3).rev().map(|stamp| (stamp, ran.place.builds.hash(stamp)));
    let is = |hash: &str, status: &str| listed.iter().any(|version| version.hash == hash && version.status == status);
    let published = stamps().find(|(stamp, hash)| *stamp == ran.published && !is(hash, "unconfirmed"));
    let expected = published.or_else(|| stamps().find(|(_, hash)| is(hash, "confirmed")));
    let expected = expected.map_or(0, |(stamp, _)| stamp);
    if ready.stamp != expected {
        wrong.push(format!(
            "after the kill, the next process serves {} and should serve {expected}",
            ready.stamp
        ));
    }
    if (&undisturbed.outcome, undisturbed.stamp) != (&Came::Swapped, 3) {
        wrong.push(format!(
            "in the next process, the next build is {:?}: {:#?}",
            undisturbed.outcome, undisturbed.messages
        ));
    }
    judge_history(&ran.place.history(), &undisturbed, wrong);
}
