//! The unused stack of the calling thread. The code that encodes and decodes a state checks it, because a stack overflow
//! ends the process.

#[cfg(reslot_explore)]
use reslot_sync::thread_local;
use std::{cell::Cell, mem::MaybeUninit};

/// The assumed rest of the main thread's stack. That stack grows while it is used, and its limit can change at any time; the
/// usual limit is 8 MiB.
const MAIN: usize = 1 << 20;
/// The assumed rest if the system does not report it.
const UNKNOWN: usize = 64 << 10;

/// An address in the caller's frame: the stack is used down to about here.
#[inline(always)]
pub(crate) fn here() -> usize {
    let mark = MaybeUninit::<u8>::uninit();
    mark.as_ptr().addr()
}

/// The bytes of stack that the calling thread has left. For the main thread it is at most 1 MiB.
pub fn left() -> usize {
    thread_local! {
        /// The lowest address of this thread's stack; 0 before the first use.
        static END: Cell<usize> = const { Cell::new(0) };
    }
    if cfg!(miri) {
        // There the places of a thread do not lie on a stack, one below the other.
        return MAIN;
    }
    let here = here();
    let end = match END.get() {
        0 => {
            let end = end_of_this_thread(here);
            END.set(end);
            end
        }
        end => end,
    };
    here.saturating_sub(end)
}

fn end_of_this_thread(here: usize) -> usize {
    // SAFETY: it only answers a number.
    if unsafe { libc::gettid() }.cast_unsigned() == std::process::id() {
        return here.saturating_sub(MAIN).max(1);
    }
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialised by the first call, read by the second and destroyed by the third; the two places that
    // the second writes to live as long as the call.
    let known = unsafe {
        libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 && {
            let known = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size) == 0;
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            known
        }
    };
    match known {
        true => lowest.addr().max(1),
        false => here.saturating_sub(UNKNOWN).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_knows_how_much_stack_is_left() {
        let asked = |size| {
            let thread = std::thread::Builder::new().stack_size(size).spawn(left);
            thread.expect("there are threads").join().expect("it does not panic")
        };
        for size in [128 << 10, 3 << 20, 64 << 20] {
            let left = asked(size);
            // libc may give some more, and takes the thread's own data from it.
            assert!(left <= size + (64 << 10) && left >= size / 2, "{left} of {size}");
        }
    }

    #[test]
    fn used_stack_is_subtracted() {
        #[inline(never)]
        fn deeper() -> usize {
            let used = std::hint::black_box([1u8; 64 << 10]);
            left() + usize::from(used[0]) - 1
        }
        let thread = std::thread::spawn(|| (left(), deeper()));
        let (before, then) = thread.join().expect("it does not panic");
        assert!(before - then >= 64 << 10, "{before} and then {then}");
    }
}
