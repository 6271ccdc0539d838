//! Runs a program in its own terminal: a test types keys and reads the screen. Every wait is for a text on the screen or for
//! the end of the program, and has a deadline.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Much longer than needed, even if a program builds with cargo first; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A program in its terminal.
pub struct Screen {
    child: Child,
    /// None after the terminal was hung up.
    master: Option<OwnedFd>,
    slave: Option<OwnedFd>,
    terminal: vt100::Parser,
}

impl Screen {
    /// Starts the program in a terminal of this size.
    pub fn start(mut command: Command, (columns, rows): (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        tcsetwinsize(&master, size(columns, rows)).expect("it has a size");
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).expect("it has another end");
        fcntl_setfl(&master, OFlags::NONBLOCK).expect("a descriptor has flags");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color");
        // SAFETY: two system calls between fork and exec, and nothing else.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().expect("the program starts");
        let terminal = vt100::Parser::new(rows, columns, 0);
        Self {
            child,
            master: Some(master),
            slave: Some(slave),
            terminal,
        }
    }

    /// The contents of the screen.
    pub fn contents(&self) -> String {
        self.terminal.screen().contents()
    }

    /// A line of the screen.
    pub fn line(&self, row: usize) -> String {
        let columns = self.terminal.screen().size().1;
        self.terminal
            .screen()
            .rows(0, columns)
            .nth(row)
            .unwrap_or_default()
            .trim_end()
            .to_owned()
    }

    /// Whether any cell of the screen has a colour.
    pub fn any_colour(&self) -> bool {
        let (rows, columns) = self.terminal.screen().size();
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| self.terminal.screen().cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    /// Types these keys.
    pub fn type_in(&self, keys: &str) {
        let master = self.master.as_ref().expect("the terminal is there");
        assert_eq!(rustix::io::write(master, keys.as_bytes()), Ok(keys.len()));
    }

    /// Changes the terminal's size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let master = self.master.as_ref().expect("the terminal is there");
        self.terminal.screen_mut().set_size(rows, columns);
        tcsetwinsize(master, size(columns, rows)).expect("it has a size");
    }

    /// Waits until the screen's contents satisfy `wanted`.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(&self.contents()) {
            assert!(
                self.read(deadline),
                "{what} did not come; this stands there:\n{}",
                self.contents()
            );
        }
    }

    /// Waits until the screen has all of these texts.
    pub fn wait_for(&mut self, texts: &[&str]) {
        self.wait(&format!("{texts:?}"), |contents| {
            texts.iter().all(|text| contents.contains(text))
        });
    }

    /// Reads the program's output, and waits for it until the deadline. False if there was none.
    fn read(&mut self, deadline: Instant) -> bool {
        let Some(master) = &self.master else { return false };
        let mut bytes = [0; 4096];
        loop {
            match rustix::io::read(master, &mut bytes) {
                Ok(0) | Err(rustix::io::Errno::IO) => return false,
                Ok(read) => {
                    self.terminal.process(&bytes[..read]);
                    return true;
                }
                Err(_) if !ready(master, deadline) => return false,
                Err(_) => {}
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program is there");
    }

    /// Closes the terminal.
    pub fn hang_up(&mut self) {
        self.slave = None;
        self.master = None;
    }

    /// Waits for the end of the program: its exit code, if it ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let end = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("its end can be waited for");
        if let Some(master) = self.master.as_ref() {
            // The program may write more than the terminal's buffer can hold.
            let master = master.try_clone().expect("a descriptor");
            while !ready(&end, Instant::now()) && both(&end, &master, deadline) {
                if !ready(&end, Instant::now()) {
                    self.read(Instant::now());
                }
            }
        }
        assert!(ready(&end, deadline), "the program goes on:\n{}", self.contents());
        while self.read(Instant::now()) {}
        self.child.wait().expect("it has ended").code()
    }

    /// The same without reading the program's output.
    pub fn ended_unread(&mut self) -> Option<i32> {
        let end = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("its end can be waited for");
        assert!(ready(&end, Instant::now() + PATIENCE), "the program goes on");
        self.child.wait().expect("it has ended").code()
    }

    /// Checks that the terminal is restored: its own screen, a cursor, line mode and echo.
    pub fn assert_restored(&self) {
        let screen = self.terminal.screen();
        assert!(
            !screen.alternate_screen(),
            "the other screen is still shown:\n{}",
            self.contents()
        );
        assert!(!screen.hide_cursor(), "there is no cursor");
        let modes = tcgetattr(self.slave.as_ref().expect("the terminal is there"))
            .expect("it has modes")
            .local_modes;
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG),
            "{modes:?}"
        );
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn until(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: left.subsec_nanos().into(),
    }
}

/// Waits until something can be read, or the deadline.
fn ready(from: &impl AsFd, deadline: Instant) -> bool {
    let mut waits = [PollFd::new(from, PollFlags::IN)];
    matches!(poll(&mut waits, Some(&until(deadline))), Ok(1..))
}

/// Waits until something can be read from either, or the deadline.
fn both(one: &impl AsFd, other: &impl AsFd, deadline: Instant) -> bool {
    let mut waits = [PollFd::new(one, PollFlags::IN), PollFd::new(other, PollFlags::IN)];
    matches!(poll(&mut waits, Some(&until(deadline))), Ok(1..))
}
