//! Instructions per call, counted by the processor, if the kernel allows it.

use crate::{comparison::Comparison, rows::without_figure};
use reslot_bench::{Report, Row, only_a_test};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::{FromRawFd, RawFd},
};

/// The kernel's `perf_event_attr`, version 0, which every kernel knows.
#[derive(Default)]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    address: u64,
}

const HARDWARE: u32 = 0;
const INSTRUCTIONS: u64 = 1;
/// `exclude_kernel` and `exclude_hv`.
const USER_ONLY: u64 = 1 << 5 | 1 << 6;

/// A counter of what this thread executes.
fn counter() -> io::Result<File> {
    let attributes = Attributes {
        kind: HARDWARE,
        size: size_of::<Attributes>() as u32,
        config: INSTRUCTIONS,
        flags: USER_ONLY,
        ..Attributes::default()
    };
    let (this_thread, any_processor, no_group, flags) = (0, -1, -1, 0);
    // SAFETY: the attributes say how large they are, and are only read.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            this_thread,
            any_processor,
            no_group,
            flags,
        )
    };
    match RawFd::try_from(descriptor) {
        // SAFETY: the kernel has just made it for us.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { File::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn count_of(mut counter: &File) -> io::Result<u64> {
    let mut count = [0; 8];
    counter.read_exact(&mut count)?;
    Ok(u64::from_ne_bytes(count))
}

/// A row for each way, or one that says that it cannot be.
pub fn count(comparison: &mut Comparison<'_>, report: &mut Report) {
    report.heading("instructions a call, of the body that counts and adds");
    let counter = match counter() {
        Ok(counter) => counter,
        Err(error) => {
            let words = format!("not counted: the kernel gives no counter ({error})");
            return report.row(without_figure(words));
        }
    };
    let calls = if only_a_test() { 100 } else { 100_000 };
    for way in &comparison.ways {
        // The difference of two runs is what the calls alone take.
        let counts = [calls, 2 * calls].map(|calls| {
            let before = count_of(&counter);
            (way.run.borrow_mut())(calls);
            Some(count_of(&counter).ok()?.checked_sub(before.ok()?)? as f64)
        });
        if let [Some(once), Some(twice)] = counts {
            report.row(Row::single(&way.name, (twice - once) / calls as f64, ""));
        }
    }
}
