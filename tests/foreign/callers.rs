//! Callers that a library has outside of the program's view: threads that began elsewhere, and libc's own threads,
//! which call functions that libc keeps on its heap. Such a thread pins every library that is closed meanwhile, so each
//! test has a process of its own.

use crate::{Built, ask, compile, in_own_process, is_unloaded_in_the_end, stays};
use reslot::foreign::{Library, Pin, Staying, Trust};
use std::{
    ffi::{CString, c_void},
    io::{PipeReader, PipeWriter, Read, Write},
    os::fd::AsRawFd,
};

/// A helper whose thread calls, for each byte that it reads, what it was given, and ends with what it reads from.
const HELPER: &str = "#include <pthread.h>\n#include <unistd.h>\n
    static void (*volatile body)(void); static int from;\n
    static void *run(void *it) { char c; pthread_setname_np(pthread_self(), \"helper-fx\");
        while (read(from, &c, 1) == 1) body(); return it; }\n
    void give(void (*given)(void)) { body = given; }\n
    int start(int fd) { pthread_t t; from = fd; return pthread_create(&t, 0, run, 0) || pthread_detach(t); }";

/// What a pipe leads to and from: the helper's thread, and the library's function that it calls.
struct Pipes {
    calls: PipeWriter,
    inside: PipeReader,
    back: PipeWriter,
    _ends: (PipeReader, PipeWriter, PipeReader),
}

/// Opens a library that opens a helper, and whose function, when called, tells that, and waits until it may return.
fn opener(helper: &Built, start: bool) -> (Library, Pipes) {
    let (called, calls) = std::io::pipe().unwrap();
    let (inside, tells) = std::io::pipe().unwrap();
    let (waits, back) = std::io::pipe().unwrap();
    let source = format!(
        "#include <dlfcn.h>\n#include <unistd.h>\n
        static volatile long seen; static void body(void) {{ char c; seen = write({}, \"!\", 1); seen += read({}, &c, 1); }}\n
        unsigned long begin(void) {{ void *helper = dlopen(\"{}\", RTLD_NOW); if (!helper) return 0;\n
            ((void (*)(void (*)(void)))dlsym(helper, \"give\"))(body);
            return !{} || !((int (*)(int))dlsym(helper, \"start\"))({}); }}",
        tells.as_raw_fd(),
        waits.as_raw_fd(),
        helper.path.display(),
        i32::from(start),
        called.as_raw_fd(),
    );
    let library = Library::open(compile("openerfx", &source, &[]).path, Trust::Foreign).unwrap();
    let pipes = Pipes {
        calls,
        inside,
        back,
        _ends: (called, tells, waits),
    };
    (library, pipes)
}

/// Has the helper's thread call, and waits until it is inside.
fn enter(pipes: &mut Pipes) {
    pipes.calls.write_all(b"!").unwrap();
    pipes.inside.read_exact(&mut [0]).unwrap();
}

fn one_thread(staying: &Staying, whose: &str) {
    let [Pin::ThreadsInside(names)] = staying.pins() else {
        panic!("{:?}", staying.pins())
    };
    assert!(
        names.len() == 1 && names[0].starts_with("\"helper-fx\" (thread ") && names[0].contains(whose),
        "{names:?}"
    );
}

#[test]
fn thread_that_began_in_a_library_that_the_library_opened_pins_it() {
    in_own_process(
        "callers::thread_that_began_in_a_library_that_the_library_opened_pins_it",
        || {
            let helper = compile("helperfx", HELPER, &[]);
            let (library, mut pipes) = opener(&helper, true);
            assert_eq!(ask(&library, "begin"), 1);
            // Inside, it was called once before; and then it is outside, and will come again.
            enter(&mut pipes);
            let staying = stays(library.close());
            one_thread(&staying, "libhelperfx.so");
            pipes.back.write_all(b"!").unwrap();
            let staying = stays(staying.try_again());
            one_thread(&staying, "libhelperfx.so");
            enter(&mut pipes);
            pipes.back.write_all(b"!").unwrap();
            drop(pipes.calls);
            is_unloaded_in_the_end(staying);
        },
    );
}

#[test]
fn thread_that_was_there_before_pins_while_it_is_inside() {
    in_own_process("callers::thread_that_was_there_before_pins_while_it_is_inside", || {
        let helper = compile("helperfx", HELPER, &[]);
        let name = CString::new(helper.path.to_str().unwrap()).unwrap();
        // SAFETY: the helper has no constructors, and stays open.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        // SAFETY: an open handle; the signature is the one above, and the pipe outlives the process.
        let start = |from: i32| unsafe {
            let start = libc::dlsym(handle, c"start".as_ptr());
            std::mem::transmute::<*mut c_void, extern "C" fn(i32) -> i32>(start)(from)
        };
        let (called, calls) = std::io::pipe().unwrap();
        assert_eq!(start(called.as_raw_fd()), 0);
        let (library, mut pipes) = opener(&helper, false);
        pipes.calls = calls;
        assert_eq!(ask(&library, "begin"), 1);
        enter(&mut pipes);
        let staying = stays(library.close());
        one_thread(&staying, "");
        pipes.back.write_all(b"!").unwrap();
        drop(pipes.calls);
        is_unloaded_in_the_end(staying);
    });
}

fn called_by_libc(staying: &Staying, import: &str) {
    assert!(
        matches!(staying.pins(), [.., Pin::CalledByLibc { imports, threads }] if imports == &[import] && !threads.is_empty()),
        "{:?}",
        staying.pins()
    );
}

#[test]
fn timer_that_notifies_by_a_thread_pins_until_it_is_deleted() {
    in_own_process("callers::timer_that_notifies_by_a_thread_pins_until_it_is_deleted", || {
        let (mut expired, expires) = std::io::pipe().unwrap();
        let source = format!(
            "#include <time.h>\n#include <signal.h>\n#include <unistd.h>\n
            static volatile long seen; static void expired(union sigval v) {{ seen += write({}, \"!\", 1); }}\n
            unsigned long arm(void) {{ struct sigevent event = {{0}}; timer_t timer;\n
                event.sigev_notify = SIGEV_THREAD; event.sigev_notify_function = expired;\n
                struct itimerspec in = {{{{0, 2000000}}, {{0, 2000000}}}};\n
                return timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &in, 0) ? 0
                    : (unsigned long)timer; }}",
            expires.as_raw_fd()
        );
        let library = Library::open(compile("timerfx", &source, &["-lrt"]).path, Trust::Foreign).unwrap();
        let timer = ask(&library, "arm");
        expired.read_exact(&mut [0]).unwrap();
        let staying = stays(library.close());
        called_by_libc(&staying, "timer_create");
        // More than can have come before it was closed and lies in the pipe.
        expired.read_exact(&mut [0; 20]).unwrap();
        // SAFETY: the timer that the library made, deleted once.
        assert_eq!(unsafe { libc::timer_delete(timer as libc::timer_t) }, 0);
        is_unloaded_in_the_end(staying);
    });
}

#[test]
fn timer_that_was_never_made_does_not_pin() {
    in_own_process("callers::timer_that_was_never_made_does_not_pin", || {
        let source =
            "#include <time.h>\n unsigned long arm(void) { timer_t t; return timer_create(CLOCK_MONOTONIC, 0, &t); }";
        let library = Library::open(compile("unarmedfx", source, &["-lrt"]).path, Trust::Foreign).unwrap();
        crate::unmapped(library.close());
    });
}

#[test]
fn request_that_libc_works_off_pins_until_its_threads_have_ended() {
    in_own_process(
        "callers::request_that_libc_works_off_pins_until_its_threads_have_ended",
        || {
            let (reads, mut written) = std::io::pipe().unwrap();
            let (mut told, tells) = std::io::pipe().unwrap();
            let source = format!(
                "#include <aio.h>\n#include <signal.h>\n#include <unistd.h>\n
            static struct aiocb request; static char byte; static volatile long seen;\n
            static void done(union sigval v) {{ seen = write({}, &byte, 1); }}\n
            unsigned long ask(void) {{ request.aio_fildes = {}; request.aio_buf = &byte; request.aio_nbytes = 1;\n
                request.aio_sigevent.sigev_notify = SIGEV_THREAD; request.aio_sigevent.sigev_notify_function = done;\n
                return !aio_read(&request); }}",
                tells.as_raw_fd(),
                reads.as_raw_fd()
            );
            let library = Library::open(compile("aiofx", &source, &["-lrt"]).path, Trust::Foreign).unwrap();
            assert_eq!(ask(&library, "ask"), 1);
            let staying = stays(library.close());
            called_by_libc(&staying, "aio_read");
            written.write_all(b"?").unwrap();
            let mut byte = [0];
            told.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"?");
            is_unloaded_in_the_end(staying);
        },
    );
}
