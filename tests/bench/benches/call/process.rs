//! A plugin in a process of its own, called over a pair of Unix sockets: the least that such plugins cost. The child is
//! this program, started again.

use crate::{comparison::Comparison, threads};
use anyhow::Context;
use call_bodies::{Body, Calls, Heard, NUMBERS, TEXT, run, timed};
use std::{
    cell::RefCell,
    env, io,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
    sync::Mutex,
};

const NAME: &str = "another process, over a Unix socket";
const CHILD: &str = "--serve-calls-on-standard-input";

/// A request: which body, and its number. Numbers to sum follow it. An answer: whether it is one (otherwise something to be heard), and
/// its number. A text follows it, so long.
const MESSAGE: usize = 9;

pub fn is_child() -> bool {
    env::args().any(|argument| argument == CHILD)
}

/// The child's side.
pub fn serve() -> anyhow::Result<()> {
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let (mut socket, mut count) = (UnixStream::from(socket), 0);
    let mut numbers = vec![0_u8; NUMBERS * 8];
    // Until the other side closes.
    while let Ok((body, x)) = receive(&mut socket) {
        match body {
            0 => send(&mut socket, 1, call_bodies::add(&mut count, x))?,
            1 => send(&mut socket, 1, call_bodies::work(x))?,
            2 => {
                socket.read_exact(&mut numbers)?;
                let numbers = numbers
                    .chunks_exact(8)
                    .map(|bytes| f64::from_le_bytes(bytes.try_into().expect("eight")));
                send(&mut socket, 1, numbers.sum::<f64>().to_bits())?;
            }
            3 => {
                let mut answer = vec![1];
                answer.extend((TEXT.len() as u64).to_le_bytes());
                answer.extend(TEXT.as_bytes());
                socket.write_all(&answer)?;
            }
            _ => {
                send(&mut socket, 0, x)?;
                let (_, heard) = receive(&mut socket)?;
                send(&mut socket, 1, heard)?;
            }
        }
    }
    Ok(())
}

fn send(socket: &mut UnixStream, kind: u8, x: u64) -> io::Result<()> {
    let mut message = [kind; MESSAGE];
    message[1..].copy_from_slice(&x.to_le_bytes());
    socket.write_all(&message)
}

fn receive(socket: &mut UnixStream) -> io::Result<(u8, u64)> {
    let mut message = [0; MESSAGE];
    socket.read_exact(&mut message)?;
    let x = message[1..].try_into().expect("eight");
    Ok((message[0], u64::from_le_bytes(x)))
}

/// A child, with our end of the pair; it ends when that closes.
struct Served {
    socket: UnixStream,
    child: Child,
    heard: Heard,
}

pub struct Process {
    one: RefCell<Served>,
    /// One for each thread.
    each: [Mutex<Served>; 2],
}

impl Served {
    fn start() -> anyhow::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let child = Command::new(env::current_exe()?)
            .arg(CHILD)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .context("cannot start this program again")?;
        Ok(Self {
            socket,
            child,
            heard: Heard::default(),
        })
    }

    fn call(&mut self, body: u8, x: u64) -> u64 {
        send(&mut self.socket, body, x).expect("the child serves");
        self.answer()
    }

    fn answer(&mut self) -> u64 {
        loop {
            match receive(&mut self.socket).expect("the child serves") {
                (0, n) => {
                    let heard = self.heard.hear(n);
                    send(&mut self.socket, 0, heard).expect("the child serves");
                }
                (_, answer) => return answer,
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It ends by itself once this is closed; an error means that it has ended already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self {
            one: RefCell::new(Served::start()?),
            each: [Mutex::new(Served::start()?), Mutex::new(Served::start()?)],
        })
    }

    pub fn ways<'a>(&'a self, body: Body, comparison: &mut Comparison<'a>) {
        comparison.way(NAME, move |calls| run(body, calls, &mut *self.one.borrow_mut()));
    }

    pub fn on_threads<'a>(&'a self, comparison: &mut Comparison<'a>) {
        let each = &self.each;
        threads::both(comparison, NAME, move |caller, calls| {
            let mut served = each[caller].lock().expect("nobody panicked");
            timed(calls, |x| served.add(x))
        });
    }
}

impl Calls for Served {
    fn add(&mut self, x: u64) -> u64 {
        self.call(0, x)
    }

    fn work(&mut self, x: u64) -> u64 {
        self.call(1, x)
    }

    fn sum(&mut self, numbers: &[f64]) -> f64 {
        let mut message = vec![2; MESSAGE];
        message.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.socket.write_all(&message).expect("the child serves");
        f64::from_bits(self.answer())
    }

    fn text(&mut self) -> usize {
        let mut text = vec![0; self.call(3, 0) as usize];
        self.socket.read_exact(&mut text).expect("the child serves");
        String::from_utf8(text).expect("it is text").len()
    }

    fn callback(&mut self, x: u64) -> u64 {
        self.call(4, x)
    }
}
