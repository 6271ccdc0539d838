//! The memory that the host and a child share, and the turns in which they write to it.
//!
//! One side at a time has the turn: it writes a message into its own area, and gives the turn to the other side, which waits on a futex. A
//! message that is longer than the area is sent in parts, for each of which the turn goes there and back.
//!
//! # Why the host may use this memory
//! The child may write anything anywhere in it, at any time. The memory is sealed, so the child cannot shrink it and make the host's access
//! fault. The host reads each number of a header once, as an atomic, and checks it; it copies the bytes of a message into memory of its own
//! before anybody looks at them; and it never makes a Rust reference to them. Its own idea of whose turn it is, and of the sizes, is not in this
//! memory. A child that breaks the protocol is killed.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The bytes of a part of a message.
const PART: usize = 256 << 10;
/// Header and part of one side.
const AREA: usize = PAGE + PART;
const PAGE: usize = 4096;
const SIZE: usize = PAGE + 2 * AREA;
/// The turn after the child has ended.
const ENDED: u32 = u32::MAX;
/// Turns are counted up to this.
const TURNS: u32 = i32::MAX as u32;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// The receiver has taken a part, and waits for the next one.
    Continue,
    /// To the child: open the artifact. The code says nothing.
    Open,
    /// A call. The code is the index of the method.
    Call,
    /// To the child: a hook. The code is its number.
    Hook,
    /// To the child: the hook `end_workers`. The code says whether only those of the instance.
    EndWorkers,
    /// To the child: flush what is buffered.
    Shutdown,
    /// The reply to any of these.
    Reply,
}

impl Kind {
    fn of(number: u32) -> Option<Self> {
        const ALL: [Kind; 7] = [
            Kind::Continue,
            Kind::Open,
            Kind::Call,
            Kind::Hook,
            Kind::EndWorkers,
            Kind::Shutdown,
            Kind::Reply,
        ];
        ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// The beginning of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) code: u32,
    pub(crate) target: u64,
}

/// The words before a part.
#[repr(C)]
struct Header {
    kind: AtomicU32,
    code: AtomicU32,
    target: AtomicU64,
    /// The length of the whole message.
    total: AtomicU64,
}

/// The words at the start.
#[repr(C)]
struct Shared {
    turn: AtomicU32,
    /// Whether the side of this index waits on the futex.
    waits: [AtomicU32; 2],
    log_level: AtomicU32,
}

/// Which side of the channel this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Host = 0,
    Child = 1,
}

/// Why the other side gave no turn back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChannelError {
    TimedOut,
    /// The child has ended.
    Ended,
    /// The other side has sent what no side sends.
    Protocol(String),
}

/// How long a side waits for the other one. Only waiting counts, and not what this side does in between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// None: for ever.
    pub(crate) left: Option<Duration>,
    /// How long of each wait is spent spinning.
    pub(crate) spin: Duration,
}

/// One side's mapping of the memory.
#[derive(Debug)]
pub(crate) struct Channel {
    memory: NonNull<u8>,
    side: Side,
    /// The turn that this side has given away last; it has the turn back when the shared word is one more.
    turn: AtomicU32,
    /// Whether the child has ended, on the host's side.
    has_ended: AtomicBool,
    /// The longest message that this side takes.
    max_message: usize,
}

// SAFETY: the memory is shared with another process anyway: it is only accessed by atomics, and by copies of bytes that no reference points to.
// Who writes a message is decided by the turn; on one side the callers of `send` and `receive` take turns by a lock of their own.
unsafe impl Send for Channel {}
// SAFETY: as above.
unsafe impl Sync for Channel {}

impl Channel {
    /// New memory, and the file that the child maps it from.
    pub(crate) fn create(max_message: usize) -> io::Result<(Self, File)> {
        let file = memfd_create(c"reslot-process", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, SIZE as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let file = File::from(file);
        Ok((Self::map(&file, Side::Host, max_message)?, file))
    }

    /// Maps the memory on the child's side.
    pub(crate) fn open(file: &impl AsFd) -> io::Result<Self> {
        Self::map(file, Side::Child, usize::MAX)
    }

    fn map(file: &impl AsFd, side: Side, max_message: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE,
                protection,
                libc::MAP_SHARED,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            memory: NonNull::new(memory.cast()).ok_or_else(io::Error::last_os_error)?,
            side,
            // The first turn is the host's, and then it gives turn 1 away.
            turn: AtomicU32::new(match side {
                Side::Host => TURNS - 1,
                Side::Child => 0,
            }),
            has_ended: AtomicBool::new(false),
            max_message,
        })
    }

    fn shared(&self) -> &Shared {
        // SAFETY: the mapping begins with it, is aligned to a page, and lives as long as `self`; its fields are atomics.
        unsafe { self.memory.cast().as_ref() }
    }

    fn area(&self, side: Side) -> NonNull<u8> {
        // SAFETY: both areas lie within the mapping.
        unsafe { self.memory.add(PAGE + side as usize * AREA) }
    }

    fn header(&self, side: Side) -> &Header {
        // SAFETY: an area begins with it, is aligned to a page, and lives as long as `self`; its fields are atomics.
        unsafe { self.area(side).cast().as_ref() }
    }

    fn other(&self) -> Side {
        match self.side {
            Side::Host => Side::Child,
            Side::Child => Side::Host,
        }
    }

    /// The level of records that the child sends.
    pub(crate) fn log_level(&self) -> &AtomicU32 {
        &self.shared().log_level
    }

    /// The longest message that this side takes.
    pub(crate) fn max_message(&self) -> usize {
        self.max_message
    }

    /// Ends the waiting of the host, because the child has ended. A message that the child has sent before that can still be received.
    pub(crate) fn set_ended(&self) {
        // A thread that has not seen this flag before it sleeps has given its turn away earlier, so the word is changed here, and it does not sleep.
        self.has_ended.store(true, Ordering::SeqCst);
        let is_sent = (self.turn.load(Ordering::SeqCst) + 1) % TURNS;
        let update = |turn| (turn != is_sent).then_some(ENDED);
        let _ = self.shared().turn.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update);
        self.wake();
    }

    /// Sends a message. This side must have the turn, and has it no more afterwards.
    pub(crate) fn send(&self, head: Head, bytes: &[u8], patience: &mut Patience) -> Result<(), ChannelError> {
        let mut parts = bytes.chunks(PART);
        let mut kind = head.kind;
        let mut part = parts.next().unwrap_or_default();
        loop {
            let header = self.header(self.side);
            header.kind.store(kind as u32, Ordering::Relaxed);
            header.code.store(head.code, Ordering::Relaxed);
            header.target.store(head.target, Ordering::Relaxed);
            header.total.store(bytes.len() as u64, Ordering::Relaxed);
            // SAFETY: the part fits into this side's area, which is no part of the source.
            unsafe {
                let area = self.area(self.side).add(PAGE).as_ptr();
                std::ptr::copy_nonoverlapping(part.as_ptr(), area, part.len());
            }
            self.give_turn();
            part = match parts.next() {
                Some(next) => next,
                None => return Ok(()),
            };
            kind = Kind::Continue;
            self.wait(patience)?;
            let answered = self.header(self.other()).kind.load(Ordering::Relaxed);
            if answered != Kind::Continue as u32 {
                return Err(ChannelError::Protocol("an answer before the whole message".to_owned()));
            }
        }
    }

    /// Waits for a message, and copies it out. This side has the turn afterwards.
    pub(crate) fn receive(&self, into: &mut Vec<u8>, patience: &mut Patience) -> Result<Head, ChannelError> {
        into.clear();
        self.wait(patience)?;
        let header = self.header(self.other());
        let number = header.kind.load(Ordering::Relaxed);
        let kind = Kind::of(number).filter(|kind| *kind != Kind::Continue);
        let head = Head {
            kind: kind.ok_or_else(|| ChannelError::Protocol(format!("a message of the kind {number}")))?,
            code: header.code.load(Ordering::Relaxed),
            target: header.target.load(Ordering::Relaxed),
        };
        let total = header.total.load(Ordering::Relaxed);
        let total = usize::try_from(total)
            .ok()
            .filter(|total| *total <= self.max_message)
            .ok_or_else(|| {
                let most = self.max_message;
                ChannelError::Protocol(format!("a message of {total} bytes, and {most} are allowed"))
            })?;
        loop {
            let len = PART.min(total - into.len());
            into.reserve(len);
            // SAFETY: the part lies within the other side's area; the vector has room for it; and the bytes are only copied.
            unsafe {
                let area = self.area(self.other()).add(PAGE).as_ptr();
                std::ptr::copy_nonoverlapping(area, into.as_mut_ptr().add(into.len()), len);
                into.set_len(into.len() + len);
            }
            if into.len() == total {
                return Ok(head);
            }
            self.header(self.side).kind.store(Kind::Continue as u32, Ordering::Relaxed);
            self.give_turn();
            self.wait(patience)?;
            if self.header(self.other()).kind.load(Ordering::Relaxed) != Kind::Continue as u32 {
                return Err(ChannelError::Protocol(
                    "another message before the end of the first".to_owned(),
                ));
            }
        }
    }

    fn give_turn(&self) {
        let next = self.next_turn();
        self.turn.store(next, Ordering::SeqCst);
        // If the child has ended, the word says so, and stays as it is.
        let given = self
            .shared()
            .turn
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |turn| (turn != ENDED).then_some(next));
        if given.is_ok() && self.shared().waits[self.other() as usize].load(Ordering::SeqCst) != 0 {
            self.wake();
        }
    }

    /// The next turn that this side gives away.
    fn next_turn(&self) -> u32 {
        (self.turn.load(Ordering::Relaxed) + 2) % TURNS
    }

    fn wait(&self, patience: &mut Patience) -> Result<(), ChannelError> {
        let given = self.turn.load(Ordering::Relaxed);
        let expected = (given + 1) % TURNS;
        let turn = &self.shared().turn;
        let is_back = || match turn.load(Ordering::SeqCst) {
            found if found == expected => Some(Ok(())),
            ENDED => Some(Err(ChannelError::Ended)),
            found if found == given => self.has_ended.load(Ordering::SeqCst).then_some(Err(ChannelError::Ended)),
            found => Some(Err(ChannelError::Protocol(format!("turn {found} instead of {expected}")))),
        };
        if let Some(ended) = is_back() {
            return ended;
        }
        let begun = Instant::now();
        let ended = self.wait_since(begun, given, patience, is_back);
        if let Some(left) = &mut patience.left {
            *left = left.saturating_sub(begun.elapsed());
        }
        ended
    }

    fn wait_since(
        &self,
        begun: Instant,
        given: u32,
        patience: &Patience,
        is_back: impl Fn() -> Option<Result<(), ChannelError>>,
    ) -> Result<(), ChannelError> {
        while !patience.spin.is_zero() {
            for _ in 0..64 {
                if let Some(ended) = is_back() {
                    return ended;
                }
                std::hint::spin_loop();
            }
            let spent = begun.elapsed();
            if spent >= patience.spin || patience.left.is_some_and(|left| spent >= left) {
                break;
            }
        }
        let waits = &self.shared().waits[self.side as usize];
        waits.store(1, Ordering::SeqCst);
        let ended = loop {
            if let Some(ended) = is_back() {
                break ended;
            }
            let left = match patience.left.map(|left| left.checked_sub(begun.elapsed())) {
                None => None,
                Some(Some(left)) if !left.is_zero() => Some(left),
                Some(_) => break Err(ChannelError::TimedOut),
            };
            self.sleep(given, left);
        };
        waits.store(0, Ordering::SeqCst);
        ended
    }

    /// Sleeps until somebody wakes this, or for no apparent reason.
    fn sleep(&self, given: u32, left: Option<Duration>) {
        let time = left.map(|left| libc::timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the word lives as long as `self`, and the time during the call.
        unsafe { libc::syscall(libc::SYS_futex, self.shared().turn.as_ptr(), libc::FUTEX_WAIT, given, time) };
    }

    fn wake(&self) {
        // SAFETY: the word lives as long as `self`.
        unsafe { libc::syscall(libc::SYS_futex, self.shared().turn.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(millis: u64) -> Patience {
        Patience {
            left: Some(Duration::from_millis(millis)),
            spin: Duration::ZERO,
        }
    }

    fn head(code: u32) -> Head {
        Head {
            kind: Kind::Call,
            code,
            target: 7,
        }
    }

    /// A host, and a child that answers each message with its own bytes and the next code.
    fn echo(max_message: usize, then: impl FnOnce(&Channel)) {
        let (host, file) = Channel::create(max_message).expect("there is memory");
        let child = Channel::open(&file).expect("it maps");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut bytes, mut patience) = (Vec::new(), patience(10_000));
                while let Ok(head) = child.receive(&mut bytes, &mut patience)
                    && head.kind != Kind::Shutdown
                {
                    let code = head.code + 1;
                    child.send(Head { code, ..head }, &bytes, &mut patience).expect("it is taken");
                }
            });
            then(&host);
            let shutdown = Head {
                kind: Kind::Shutdown,
                ..head(0)
            };
            host.send(shutdown, b"", &mut patience(10_000)).expect("it is taken");
        });
    }

    #[test]
    fn messages_of_each_length_go_there_and_back() {
        echo(1 << 30, |host| {
            for (code, len) in (0..).zip([0, 1, 7, PART - 1, PART, PART + 1, 5 * PART + 3]) {
                let sent: Vec<u8> = (0..len).map(|at| at as u8).collect();
                let (mut found, mut patience) = (Vec::new(), patience(10_000));
                host.send(head(code), &sent, &mut patience).expect("it is taken");
                assert_eq!(host.receive(&mut found, &mut patience), Ok(head(code + 1)));
                assert!(found == sent, "{len} bytes");
            }
        });
    }

    #[test]
    fn message_over_the_limit_is_refused_before_anything_is_allocated() {
        echo(100, |host| {
            let (mut found, mut patience) = (Vec::new(), patience(10_000));
            host.send(head(0), &[1; 101], &mut patience).expect("it is taken");
            let refused = host.receive(&mut found, &mut patience);
            assert!(matches!(refused, Err(ChannelError::Protocol(_))), "{refused:?}");
            assert_eq!(found.capacity(), 0);
        });
    }

    #[test]
    fn who_gets_no_answer_stops_waiting() {
        let (host, _file) = Channel::create(100).expect("there is memory");
        let mut patience = patience(20);
        host.send(head(0), b"", &mut patience).expect("it is taken");
        assert_eq!(host.receive(&mut Vec::new(), &mut patience), Err(ChannelError::TimedOut));
        assert_eq!(patience.left, Some(Duration::ZERO));
        host.set_ended();
        assert_eq!(host.receive(&mut Vec::new(), &mut patience), Err(ChannelError::Ended));
    }

    #[test]
    fn last_message_of_an_ended_child_is_received() {
        let (host, file) = Channel::create(100).expect("there is memory");
        let child = Channel::open(&file).expect("it maps");
        let (mut bytes, mut patience) = (Vec::new(), patience(10_000));
        host.send(head(0), b"", &mut patience).expect("it is taken");
        child.receive(&mut bytes, &mut patience).expect("it is there");
        child.send(head(1), b"last", &mut patience).expect("it is taken");
        host.set_ended();
        assert_eq!(host.receive(&mut bytes, &mut patience), Ok(head(1)));
        assert_eq!(bytes, b"last");
        host.send(head(2), b"", &mut patience).expect("nobody takes it");
        assert_eq!(host.receive(&mut bytes, &mut patience), Err(ChannelError::Ended));
    }

    #[test]
    fn turn_that_does_not_exist_ends_the_wait() {
        let (host, _file) = Channel::create(100).expect("there is memory");
        let mut patience = patience(10_000);
        host.send(head(0), b"", &mut patience).expect("it is taken");
        host.shared().turn.store(77, Ordering::SeqCst);
        let refused = host.receive(&mut Vec::new(), &mut patience);
        assert!(matches!(refused, Err(ChannelError::Protocol(_))), "{refused:?}");
    }
}
