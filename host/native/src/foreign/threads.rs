//! Finds the threads that may be inside a library, from their start functions and their stacks. In doubt a thread counts as inside.
//!
//! | thread | position |
//! |---|---|
//! | the kernel is ending it | outside: it runs no code any more |
//! | the main thread, the calling thread, or it began in the program | outside: the caller of [`Library::function`] keeps no thread inside |
//! | it began in an object that was mapped before the library, or in one of our private copies | outside if it waits and no word on its stack points into the library |
//! | it existed before the library was opened | the same |
//! | all others | inside: the library may have opened the object in which the thread began, and passed it a function of its own |
//!
//! [`Library::function`]: super::Library::function

use super::{
    beginnings,
    memory::mappings,
    objects::{Objects, is_libcs},
};
use crate::threads::name;
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

/// How often a running thread is checked again: only of a waiting thread the kernel shows the stack pointer.
const STACK_CHECKS: usize = 50;
/// How often the missing records of threads are searched again. Each search reads all stacks.
const RECORD_SEARCHES: usize = 5;
/// The pause between two checks: on a busy machine a thread that could run waits for its turn.
const PAUSE: Duration = Duration::from_millis(1);
/// How often all threads are listed again, until two lists agree.
const ROUNDS: usize = 20;

/// The threads of this process at one moment, by number and start time, because the kernel reuses numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Threads(BTreeSet<(u32, u64)>);

/// Whether a thread may run code of a library.
enum ThreadPosition {
    Outside,
    /// It may be inside, or may enter. The text says why.
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
            return Err(io::Error::other("/proc/self/task lists no thread"));
        }
        Ok(Self(found))
    }

    /// The threads except the calling one, the main one and those that are ending, with their start functions (`None`: not found).
    fn with_beginnings(&self) -> BTreeMap<(u32, u64), Option<usize>> {
        // SAFETY: both functions only return a number.
        let (own, main) = unsafe { (libc::gettid() as u32, libc::getpid() as u32) };
        let lives = |(number, born): &(u32, u64)| {
            let status = Status::of(*number);
            status.is_some_and(|status| status.born == *born && !status.ends)
        };
        let others = self.0.iter().filter(|(number, _)| *number != own && *number != main);
        let mut missing: BTreeSet<_> = others.copied().filter(lives).collect();
        let mut found = BTreeMap::new();
        for _ in 0..RECORD_SEARCHES {
            let begun = beginnings::of(&missing.iter().map(|(number, _)| *number).collect());
            found.extend(
                missing
                    .iter()
                    .filter_map(|thread| Some((*thread, Some(*begun.get(&thread.0)?)))),
            );
            // A thread that has begun to end meanwhile has no record any more.
            missing.retain(|thread| !begun.contains_key(&thread.0) && lives(thread));
            if missing.is_empty() {
                break;
            }
            thread::sleep(PAUSE);
        }
        found.extend(missing.into_iter().map(|thread| (thread, None)));
        found
    }

    /// The names of the threads that may be inside the library. `before` and `objects_before` are the threads and objects that
    /// existed when the library was opened.
    pub(super) fn inside(before: Option<&Self>, objects_before: &Objects, range: &Range<usize>) -> io::Result<Vec<String>> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let (objects, threads) = (Objects::now(), Self::now()?.with_beginnings());
            let mut outside = BTreeSet::new();
            let mut inside = Vec::new();
            for (thread, begun) in threads {
                let around = begun.and_then(|begun| objects.around(begun));
                // A thread that began in the program can be inside only during a call of a `Function`, which borrows the library.
                // `close` takes the library by value, so no such borrow is alive now.
                if around.is_some_and(|object| objects.is_program(object)) {
                    continue;
                }
                let was_there = before.is_some_and(|before| before.0.contains(&thread));
                let may_only_call = around.is_some_and(|object| objects_before.has(object) || is_private_copy(&object.path));
                let position = match begun {
                    Some(begun) if range.contains(&begun) => ThreadPosition::Inside(String::new()),
                    _ if was_there || may_only_call => by_stack(thread.0, range),
                    None => ThreadPosition::Inside(", whose start function is not known".to_owned()),
                    Some(_) => ThreadPosition::Inside(match around {
                        Some(object) => format!(", which began in {}", object.path.display()),
                        None => ", which began outside all libraries".to_owned(),
                    }),
                };
                match position {
                    ThreadPosition::Outside => drop(outside.insert(thread)),
                    ThreadPosition::Inside(why) => inside.push(name(thread.0) + &why),
                }
            }
            if !inside.is_empty() {
                return Ok(inside);
            }
            // Repeat until two lists agree: threads may have started threads meanwhile.
            if last.replace(outside.clone()) == Some(outside) {
                return Ok(Vec::new());
            }
        }
        Err(io::Error::other(
            "threads that began outside the program come and go too fast",
        ))
    }

    /// The names of libc's own threads, and of the threads whose start function is not known.
    pub(super) fn of_libc() -> io::Result<Vec<String>> {
        let (objects, threads) = (Objects::now(), Self::now()?.with_beginnings());
        let libcs = threads.iter().filter(|(_, begun)| {
            begun.is_none_or(|begun| objects.around(begun).is_some_and(|object| is_libcs(&object.path)))
        });
        Ok(libcs.map(|((number, _), _)| name(*number)).collect())
    }
}

/// The kernel's status of a thread.
struct Status {
    /// The start time, in clock ticks since the system's start.
    born: u64,
    /// The thread is ending, and runs no code of the process any more.
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

/// Checks by its stack whether a thread may be in the library now. If the stack cannot be read, it may. False positives are possible:
/// old stack contents are not erased.
fn by_stack(thread: u32, range: &Range<usize>) -> ThreadPosition {
    for _ in 0..STACK_CHECKS {
        let Ok(state) = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")) else {
            if Path::new(&format!("/proc/self/task/{thread}")).exists() {
                return ThreadPosition::Inside(", whose stack cannot be read".to_owned());
            }
            return ThreadPosition::Outside;
        };
        // Either `running`, or numbers of which the last two are the stack pointer and the program counter.
        let mut numbers = state.split_whitespace().rev().map(|word| {
            let digits = word.strip_prefix("0x")?;
            usize::from_str_radix(digits, 16).ok()
        });
        if let (Some(Some(counter)), Some(Some(stack))) = (numbers.next(), numbers.next()) {
            let inside = range.contains(&counter) || stack_holds(stack, range);
            return if inside {
                ThreadPosition::Inside(String::new())
            } else {
                ThreadPosition::Outside
            };
        }
        if Status::of(thread).is_none_or(|status| status.ends) {
            return ThreadPosition::Outside;
        }
        thread::sleep(PAUSE);
    }
    ThreadPosition::Inside(", which runs all the time, so that its stack cannot be read".to_owned())
}

/// Whether the stack above its pointer holds an address in the range.
fn stack_holds(pointer: usize, range: &Range<usize>) -> bool {
    let mapping = mappings().into_iter().find(|mapping| mapping.range.contains(&pointer));
    // Without a mapping the thread has ended meanwhile.
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
        // If the memory cannot be read, it is unmapped: the thread has ended meanwhile.
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
