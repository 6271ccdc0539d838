//! What a call costs behind an engine: in a process of the plugin's own, against two processes that do nothing but wake each other, and against the
//! native engine. `cargo xtask bench engines`.

use fixture_interfaces::Counter;
use reslot::{Claim, Engine, Host, Native};
use reslot_bench::{Report, Row, Samples, only_a_test};
use reslot_process::Process;
use reslot_tests::{Fixture, Folder, child_program};
use std::{
    hint::spin_loop,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const ROUNDS: usize = 101;
/// Calls of a round.
const CALLS: u32 = 2_000;
/// How long a waiting side of the spinning pairs spins; much longer than a call.
const SPIN: Duration = Duration::from_millis(2);

/// Two processes that pass a word to and fro.
struct Pair {
    word: &'static AtomicU32,
    spins: bool,
}

/// The parent's turn, the child's turn, and the end.
const PARENT: u32 = 0;
const CHILD: u32 = 1;
const END: u32 = 2;

impl Pair {
    /// To be called before the process has other threads.
    fn start(spins: bool) -> Self {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: the kernel chooses the address of a new page, which is never unmapped. It is zero, which is a value of the word.
        let word: &'static AtomicU32 = unsafe {
            let page = libc::mmap(ptr::null_mut(), 4096, access, kind, -1, 0);
            assert_ne!(page, libc::MAP_FAILED, "there is a page");
            &*page.cast::<AtomicU32>()
        };
        let pair = Self { word, spins };
        // SAFETY: the child only waits, wakes, and ends.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: the child must not outlive a parent that was killed; then it ends without running other code of the program.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            while pair.wait_until_not(PARENT) == CHILD {
                pair.give(PARENT);
            }
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        pair
    }

    fn round_trip(&self) {
        self.give(CHILD);
        self.wait_until_not(CHILD);
    }

    fn give(&self, to: u32) {
        self.word.store(to, Ordering::SeqCst);
        if !self.spins {
            // SAFETY: the word is mapped for ever.
            unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAKE, 1) };
        }
    }

    fn wait_until_not(&self, value: u32) -> u32 {
        loop {
            match self.word.load(Ordering::SeqCst) {
                found if found != value => return found,
                _ if self.spins => spin_loop(),
                _ => {
                    let forever = ptr::null::<libc::timespec>();
                    // SAFETY: as above; no time is passed.
                    unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAIT, value, forever) };
                }
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.give(END);
    }
}

/// A counter behind an engine.
struct Place {
    plugin: Claim<dyn Counter>,
    _host: Host,
}

impl Place {
    fn new(folder: &Folder, engine: impl Engine + 'static) -> Self {
        let fixture = Fixture::build("fx-counter");
        let host = Host::builder()
            .policy(reslot::Policy::without_probation())
            .engine("counter", engine)
            .build()
            .expect("the host starts");
        host.load(folder.publish(fixture.file(), fixture.bytes()))
            .expect("the fixture loads");
        let plugin = host.claim::<dyn Counter>("counter").expect("it serves");
        Self { plugin, _host: host }
    }

    fn add(&mut self) {
        self.plugin.add(1).expect("it answers");
    }
}

/// Nanoseconds of a call, of so many.
fn time(calls: u32, mut call: impl FnMut()) -> f64 {
    call();
    let begun = Instant::now();
    (0..calls).for_each(|_| call());
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

fn main() -> anyhow::Result<()> {
    let (rounds, calls) = if only_a_test() { (2, 10) } else { (ROUNDS, CALLS) };
    let (sleeping, spinning) = (Pair::start(false), Pair::start(true));
    let folder = Folder::new();
    let process = || Process::new().program(child_program());
    let mut native = Place::new(&folder, Native);
    let mut futex = Place::new(&folder, process());
    let mut spin = Place::new(&folder, process().spin(SPIN));
    let names = [
        "two processes that wake each other",
        "process",
        "two processes that spin",
        "process, spinning",
        "native",
    ];
    let mut samples: [Samples; 5] = Default::default();
    for _ in 0..rounds {
        samples[0].push(time(calls, || sleeping.round_trip()));
        samples[1].push(time(calls, || futex.add()));
        samples[2].push(time(calls, || spinning.round_trip()));
        samples[3].push(time(calls, || spin.add()));
        samples[4].push(time(calls, || native.add()));
    }
    let mut report = Report::new("engines");
    report.heading("A call with a number and a result, by the engine");
    let row = |at: usize| Row::new(names[at], &samples[at], "ns");
    let against = |at: usize, base: usize| row(at).against(names[base], &samples[at].over(&samples[base]));
    report.row(row(4).quoted());
    report.row(row(0));
    report.row(against(1, 0).at_most(1.3).quoted());
    report.row(row(2));
    report.row(against(3, 2).at_most(1.5).quoted());
    report.finish()
}
