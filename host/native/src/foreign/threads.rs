//! Threads that may be inside a library, told from outside: by where they began and what stands on their stacks. The look errs on
//! the side of keeping the library.
//!
//! Outside is, for certain: a thread that the kernel is ending; and by the caller's promise, who keeps no thread inside: the main
//! one, and those that began in the program. Those that began in what was mapped before the library was opened, or in a private
//! copy of ours, which it cannot have opened, are outside if they wait and nothing on their stacks points into it. All the others
//! may come in at any time: what was mapped since was perhaps opened by the library, and given a function of it.

use super::{
    beginnings,
    memory::mappings,
    objects::{Objects, is_libcs},
};
use reslot_stage::is_private_copy;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::Duration,
};

/// So often a thread that runs just now is looked at again, until it waits and can be looked into.
const LOOKS: usize = 50;
/// So often a record that is not there is looked for again. All stacks are read for that.
const SEARCHES: usize = 5;
/// Between two looks: on a busy machine a thread that could run waits for its turn.
const PAUSE: Duration = Duration::from_millis(1);
/// So often all are looked at again, until nobody has come meanwhile.
const ROUNDS: usize = 20;

/// The threads of this process at one moment, by number and time of birth, because numbers are used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Threads(BTreeSet<(u32, u64)>);

/// Where a thread stands to a library.
enum Place {
    Outside,
    /// It may come in or be in, with a word on why.
    Inside(String),
}

impl Threads {
    pub(super) fn now() -> io::Result<Self> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/proc/self/task")? {
            let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(number.and_then(|number| Some((number, Status::of(number)?.born))));
        }
        if found.is_empty() {
            return Err(io::Error::other("/proc/self/task lists none"));
        }
        Ok(Self(found))
    }

    /// Those that may call anything: but for the one that asks, the main one and those that are ending, with their beginnings.
    fn with_beginnings(&self) -> BTreeMap<(u32, u64), Option<usize>> {
        // SAFETY: these ask for numbers.
        let (own, main) = unsafe { (libc::gettid() as u32, libc::getpid() as u32) };
        let lives = |(number, born): &(u32, u64)| {
            let status = Status::of(*number);
            status.is_some_and(|status| status.born == *born && !status.ends)
        };
        let others = self.0.iter().filter(|(number, _)| *number != own && *number != main);
        let mut missing: BTreeSet<_> = others.copied().filter(lives).collect();
        let mut found = BTreeMap::new();
        for _ in 0..SEARCHES {
            let begun = beginnings::of(&missing.iter().map(|(number, _)| *number).collect());
            found.extend(
                missing
                    .iter()
                    .filter_map(|thread| Some((*thread, Some(*begun.get(&thread.0)?)))),
            );
            // Whoever began to end meanwhile has no record any more.
            missing.retain(|thread| !begun.contains_key(&thread.0) && lives(thread));
            if missing.is_empty() {
                break;
            }
            thread::sleep(PAUSE);
        }
        found.extend(missing.into_iter().map(|thread| (thread, None)));
        found
    }

    /// The names of the threads that may be inside the library, which was opened when these threads and objects were there.
    pub(super) fn inside(before: Option<&Self>, objects_before: &Objects, range: &Range<usize>) -> io::Result<Vec<String>> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let (objects, threads) = (Objects::now(), Self::now()?.with_beginnings());
            let mut outside = BTreeSet::new();
            let mut inside = Vec::new();
            for (thread, begun) in threads {
                let around = begun.and_then(|begun| objects.around(begun));
                // Whoever was there before it was opened, and began in the program, can be inside only by a call, and then the
                // borrow of that call is still out.
                if around.is_some_and(|object| objects.is_program(object)) {
                    continue;
                }
                let was_there = before.is_some_and(|before| before.0.contains(&thread));
                let may_only_call = around.is_some_and(|object| objects_before.has(object) || is_private_copy(&object.path));
                let place = match begun {
                    Some(begun) if range.contains(&begun) => Place::Inside(String::new()),
                    _ if was_there || may_only_call => by_stack(thread.0, range),
                    None => Place::Inside(", of which it cannot be told where it began".to_owned()),
                    Some(_) => Place::Inside(match around {
                        Some(object) => format!(", which began in {}", object.path.display()),
                        None => ", which began in no library".to_owned(),
                    }),
                };
                match place {
                    Place::Outside => drop(outside.insert(thread)),
                    Place::Inside(why) => inside.push(name(thread.0) + &why),
                }
            }
            if !inside.is_empty() {
                return Ok(inside);
            }
            // Whom a thread has started before it was looked at is in the next list.
            if last.replace(outside.clone()) == Some(outside) {
                return Ok(Vec::new());
            }
        }
        Err(io::Error::other(
            "threads that began outside the program come and go too fast",
        ))
    }

    /// The names of the threads that libc has started for itself, and of those of which it cannot be told where they began.
    pub(super) fn of_libc() -> io::Result<Vec<String>> {
        let (objects, threads) = (Objects::now(), Self::now()?.with_beginnings());
        let libcs = threads.iter().filter(|(_, begun)| {
            begun.is_none_or(|begun| objects.around(begun).is_some_and(|object| is_libcs(&object.path)))
        });
        Ok(libcs.map(|((number, _), _)| name(*number)).collect())
    }
}

/// What the kernel says of a thread.
struct Status {
    /// In clock ticks since the system's start.
    born: u64,
    /// It is on its way out, and executes nothing any more.
    ends: bool,
}

impl Status {
    fn of(thread: u32) -> Option<Self> {
        const PF_EXITING: u64 = 4;
        let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        let words: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        let ends = number(6)? & PF_EXITING != 0;
        Some(Self { born: number(19)?, ends })
    }
}

fn name(thread: u32) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
    format!("{} ({thread})", name.trim_end())
}

/// Whether a thread may be in the library now. If that cannot be looked into, it may. Stacks are used again with what stood on
/// them, so that what is found there may be nothing.
fn by_stack(thread: u32, range: &Range<usize>) -> Place {
    for _ in 0..LOOKS {
        let Ok(state) = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")) else {
            if Path::new(&format!("/proc/self/task/{thread}")).exists() {
                return Place::Inside(", which cannot be looked into".to_owned());
            }
            return Place::Outside;
        };
        // Either `running`, or numbers of which the last two are the stack pointer and where it is.
        let mut numbers = state.split_whitespace().rev().map(|word| {
            let digits = word.strip_prefix("0x")?;
            usize::from_str_radix(digits, 16).ok()
        });
        if let (Some(Some(at)), Some(Some(stack))) = (numbers.next(), numbers.next()) {
            let inside = range.contains(&at) || stack_holds(stack, range);
            return if inside {
                Place::Inside(String::new())
            } else {
                Place::Outside
            };
        }
        if Status::of(thread).is_none_or(|status| status.ends) {
            return Place::Outside;
        }
        thread::sleep(PAUSE);
    }
    Place::Inside(", which runs on and does not say where".to_owned())
}

/// Whether the stack above its pointer holds an address in the range.
fn stack_holds(pointer: usize, range: &Range<usize>) -> bool {
    let mapping = mappings().into_iter().find(|mapping| mapping.range.contains(&pointer));
    // Without one, the thread has ended meanwhile.
    mapping.is_some_and(|mapping| memory_holds(pointer..mapping.range.end, range))
}

fn memory_holds(memory: Range<usize>, range: &Range<usize>) -> bool {
    let Ok(ourselves) = File::open("/proc/self/mem") else {
        return true;
    };
    let mut page = [0; 4096];
    let mut at = memory.start & !(size_of::<usize>() - 1);
    while at < memory.end {
        let len = page.len().min(memory.end - at);
        // What cannot be read is not there any more: the thread has ended meanwhile.
        let Ok(read) = ourselves.read_at(&mut page[..len], at as u64) else {
            return false;
        };
        let (words, _) = page[..read].as_chunks();
        if words.iter().any(|word| range.contains(&usize::from_ne_bytes(*word))) {
            return true;
        }
        if words.is_empty() {
            return false;
        }
        at += words.len() * size_of::<usize>();
    }
    false
}
