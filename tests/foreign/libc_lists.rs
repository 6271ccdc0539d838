//! What libc removes by itself when a library is closed, so that the lint allows it in a plugin: handlers of `atexit`,
//! `pthread_atfork` and `at_quick_exit`.

use crate::{ask, compile, kernel_knows, unmapped};
use reslot::foreign::{Library, Trust};

#[test]
fn handlers_of_exit_fork_and_quick_exit_go_with_the_library() {
    let source = "#include <pthread.h>\n#include <stdlib.h>\n#include <unistd.h>\n
        static int fd = -1; static void at_fork(void) { } static void at_quick(void) { _exit(3); }\n
        static void at_exit(void) { if (write(fd, \"ran\", 3) != 3) abort(); }\n
        void to(int descriptor) { fd = descriptor; }\n
        unsigned long register_all(void) { return !atexit(at_exit) && !pthread_atfork(at_fork, at_fork, at_fork)
            && !at_quick_exit(at_quick); }";
    let built = compile("listsfx", source, &[]);
    let library = Library::open(&built.path, Trust::Foreign).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    {
        // SAFETY: the signature is the one above.
        let to = unsafe { library.function::<unsafe extern "C" fn(i32)>("to") }.unwrap();
        // SAFETY: as above; the pipe outlives the library.
        unsafe { to(std::os::fd::AsRawFd::as_raw_fd(&writer)) };
    }
    assert_eq!(ask(&library, "register_all"), 1);
    unmapped(library.close());
    assert!(!kernel_knows("liblistsfx-"));
    drop(writer);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
    assert_eq!(said, "ran", "the exit handler ran when the library was closed");
    // The handlers around fork and at quick_exit are not called: they would be calls into nothing.
    // SAFETY: the child calls nothing but quick_exit, which runs libc's own handlers.
    let child = unsafe { libc::fork() };
    if child == 0 {
        unsafe extern "C" {
            safe fn quick_exit(status: i32) -> !;
        }
        quick_exit(0);
    }
    let mut status = -1;
    // SAFETY: waits for the child made above, with room for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child ended by itself");
}
