//! Each kind of pin: the report names it, and the library is closed after the pin is gone, where that is possible.

use crate::{ask, compile, in_own_process, is_unloaded_in_the_end, kernel_knows, stays, stays_for, unmapped};
use reslot::foreign::{Library, Pin, Trust};
use std::{ffi::c_void, io::Write, os::fd::AsRawFd, path::Path, sync::mpsc, thread};

fn open(path: &Path) -> Library {
    Library::open(path, Trust::Foreign).unwrap()
}

#[test]
fn unique_symbol_keeps_the_library_and_is_named() {
    let source = r#"__asm__(".globl only_one\n.type only_one, @gnu_unique_object\n.data\nonly_one: .quad 7\n.size only_one, 8\n.text");
        extern unsigned long only_one; unsigned long read_it(void) { return only_one; }"#;
    let built = compile("uniquefx", source, &[]);
    let library = open(&built.path);
    assert_eq!(ask(&library, "read_it"), 7);
    stays_for(library.close(), &[Pin::UniqueSymbols(vec!["only_one".to_owned()])]);
    assert!(kernel_knows("libuniquefx-"));
}

#[test]
fn library_that_another_needs_stays_until_that_is_gone() {
    let lower = compile(
        "lowerfx",
        "unsigned long lower(void) { return 3; }",
        &["-Wl,-soname,liblowerfx.so"],
    );
    let search = format!("-L{}", lower.folder.path().display());
    let source = "unsigned long lower(void); unsigned long upper(void) { return lower() + 1; }";
    let upper = compile("upperfx", source, &[&search, "-llowerfx"]);
    let (lower, upper) = (open(&lower.path), open(&upper.path));
    assert_eq!(ask(&upper, "upper"), 4);
    let staying = stays(lower.close());
    let [Pin::NeededBy(paths)] = staying.pins() else {
        panic!("{:?}", staying.pins())
    };
    assert!(
        paths.len() == 1 && paths[0].to_str().unwrap().contains("/libupperfx-"),
        "{paths:?}"
    );
    assert_eq!(ask(&upper, "upper"), 4, "it stays whole");
    unmapped(upper.close());
    unmapped(staying.try_again());
}

#[test]
fn library_that_its_own_dependency_uses_stays_with_it() {
    let source =
        "__attribute__((weak)) unsigned long common(void) { return 1; } unsigned long under(void) { return common(); }";
    let under = compile("underfx", source, &["-Wl,-soname,libunderfx.so", "-Wl,-z,now"]);
    let folder = under.folder.path().display().to_string();
    let source =
        "unsigned long under(void); unsigned long common(void) { return 2; } unsigned long over(void) { return under(); }";
    let arguments = [&format!("-L{folder}"), "-lunderfx", &format!("-Wl,-rpath,{folder}")];
    let library = open(&compile("overfx", source, &arguments).path);
    assert_eq!(ask(&library, "over"), 2, "the lower library calls the upper one");
    // What a library needs is kept, and would call into nothing.
    stays_for(library.close(), &[Pin::BoundBy(vec![under.path.clone()])]);
}

#[test]
fn library_that_other_code_has_open_stays_until_that_closes_it() {
    let source = "#include <dlfcn.h>\n
        unsigned long pin(void) { Dl_info me; dladdr((void *)pin, &me); return (unsigned long)dlopen(me.dli_fname, RTLD_NOW); }";
    let library = open(&compile("openfx", source, &[]).path);
    let handles = [ask(&library, "pin"), ask(&library, "pin")].map(|handle| handle as *mut c_void);
    let staying = stays_for(library.close(), &[Pin::OpenedElsewhere(2)]);
    // SAFETY: the handles that the library opened, each closed once.
    unsafe { libc::dlclose(handles[0]) };
    let staying = stays_for(staying.try_again(), &[Pin::OpenedElsewhere(1)]);
    assert!(kernel_knows("libopenfx-"));
    // SAFETY: as above.
    unsafe { libc::dlclose(handles[1]) };
    unmapped(staying.try_again());
}

#[test]
fn library_that_marks_itself_nodelete_stays_and_the_reason_is_found_by_elimination() {
    let source = "#include <dlfcn.h>\n
        unsigned long mark(void) { Dl_info me; dladdr((void *)mark, &me);
            dlclose(dlopen(me.dli_fname, RTLD_NOW | RTLD_NODELETE)); return 1; }";
    let library = open(&compile("markfx", source, &[]).path);
    assert_eq!(ask(&library, "mark"), 1);
    stays_for(library.close(), &[Pin::MarkedAtRunTime]);
}

#[test]
fn thread_local_destructor_on_a_living_thread_keeps_the_library_until_the_thread_has_ended() {
    let source = "extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *); extern void *__dso_handle;\n
        static __thread long mine; static void destroy(void *it) { *(long *)it = 0; }\n
        unsigned long touch(void) { mine = 1; return __cxa_thread_atexit_impl(destroy, &mine, &__dso_handle) == 0; }";
    let library = open(&compile("localfx", source, &[]).path);
    // SAFETY: the signature is the one above.
    let touch = *unsafe { library.function::<unsafe extern "C" fn() -> usize>("touch") }.unwrap();
    let (told, tells) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        // SAFETY: the library stays open until this message was sent.
        told.send(unsafe { touch() + touch() }).unwrap();
        let _ = ends.recv();
    });
    assert_eq!(tells.recv().unwrap(), 2);
    let staying = stays(library.close());
    // The thread came later and still has the library's address on its stack, so that it may be named as well.
    assert!(
        matches!(staying.pins(), [.., Pin::ThreadLocalDestructors(2)]),
        "{:?}",
        staying.pins()
    );
    drop(end);
    thread.join().unwrap();
    unmapped(staying.try_again());
}

#[test]
fn destructor_on_a_thread_that_was_there_before_is_counted() {
    let source = "extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *); extern void *__dso_handle;\n
        static void destroy(void *it) { }\n
        unsigned long touch(void) { return __cxa_thread_atexit_impl(destroy, 0, &__dso_handle) == 0; }";
    let built = compile("earlierfx", source, &[]);
    let (work, works) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let thread = thread::spawn(move || works.iter().for_each(|work| work()));
    let library = open(&built.path);
    // SAFETY: the signature is the one above.
    let touch = *unsafe { library.function::<unsafe extern "C" fn() -> usize>("touch") }.unwrap();
    let (told, tells) = mpsc::channel();
    // SAFETY: the library stays open until this message was sent.
    work.send(Box::new(move || told.send(unsafe { touch() }).unwrap())).unwrap();
    assert_eq!(tells.recv().unwrap(), 1);
    let staying = stays_for(library.close(), &[Pin::ThreadLocalDestructors(1)]);
    let staying = stays_for(staying.try_again(), &[Pin::ThreadLocalDestructors(1)]);
    drop(work);
    thread.join().unwrap();
    unmapped(staying.try_again());
}

#[test]
fn signal_handler_is_a_refusal_until_it_is_put_back() {
    let source = "#include <signal.h>\n static volatile int seen; static void handler(int s) { seen = s; }\n
        unsigned long install(void) { return signal(SIGUSR2, handler) != SIG_ERR; }";
    let library = open(&compile("handlerfx", source, &[]).path);
    assert_eq!(ask(&library, "install"), 1);
    let staying = stays_for(library.close(), &[Pin::SignalHandlers(vec![libc::SIGUSR2])]);
    // SAFETY: the handler is still mapped, that is the point; then the default is put back.
    unsafe {
        libc::raise(libc::SIGUSR2);
        libc::signal(libc::SIGUSR2, libc::SIG_DFL);
    }
    unmapped(staying.try_again());
}

#[test]
fn thread_of_the_library_keeps_it_until_it_has_ended() {
    in_own_process("pins::thread_of_the_library_keeps_it_until_it_has_ended", || {
        let source = "#include <pthread.h>\n#include <unistd.h>\n static void *body(void *fd) { char c; return (void *)read((int)(long)fd, &c, 1); }\n
        int start(int fd) { pthread_t t; return pthread_create(&t, 0, body, (void *)(long)fd) || pthread_setname_np(t, \"waits-fx\")
            || pthread_detach(t); }";
        let library = open(&compile("threadfx", source, &[]).path);
        let (reader, mut writer) = std::io::pipe().unwrap();
        {
            // SAFETY: the signature is the one above.
            let start = unsafe { library.function::<unsafe extern "C" fn(i32) -> i32>("start") }.unwrap();
            // SAFETY: as above; the pipe outlives the thread.
            assert_eq!(unsafe { start(reader.as_raw_fd()) }, 0);
        }
        let staying = stays(library.close());
        let [Pin::ThreadsInside(names)] = staying.pins() else {
            panic!("{:?}", staying.pins())
        };
        assert!(names.len() == 1 && names[0].starts_with("\"waits-fx\" (thread "), "{names:?}");
        writer.write_all(b"!").unwrap();
        is_unloaded_in_the_end(staying);
    });
}

#[test]
fn cxx_thread_begins_elsewhere_and_is_found_all_the_same() {
    // Where it began came with the library, and would pin what other tests close.
    in_own_process("pins::cxx_thread_begins_elsewhere_and_is_found_all_the_same", || {
        let source = "#include <pthread.h>\n#include <unistd.h>\n
        extern int run_elsewhere(void (*)(long), long);
        static volatile long seen; static void body(long fd) { char c; seen = read((int)fd, &c, 1); }\n
        int start(int fd) { return run_elsewhere(body, fd); }";
        // What libstdc++ is to a C++ library: the thread begins there, and calls the library.
        let runner = "#include <pthread.h>\n static void (*run)(long); static void *begin(void *it) { run((long)it); return 0; }\n
        int run_elsewhere(void (*body)(long), long it) { pthread_t t; run = body; return pthread_create(&t, 0, begin, (void *)it)
            || pthread_setname_np(t, \"elsewhere-fx\") || pthread_detach(t); }";
        let runner = compile("runnerfx", runner, &["-Wl,-soname,librunnerfx.so"]);
        let folder = runner.folder.path().display().to_string();
        let arguments = [&format!("-L{folder}"), "-lrunnerfx", &format!("-Wl,-rpath,{folder}")];
        let library = open(&compile("calledfx", source, &arguments).path);
        let (reader, mut writer) = std::io::pipe().unwrap();
        {
            // SAFETY: the signature is the one above.
            let start = unsafe { library.function::<unsafe extern "C" fn(i32) -> i32>("start") }.unwrap();
            // SAFETY: as above; the pipe outlives the thread.
            assert_eq!(unsafe { start(reader.as_raw_fd()) }, 0);
        }
        let staying = stays(library.close());
        assert!(
            matches!(staying.pins(), [Pin::ThreadsInside(names)] if names.len() == 1 && names[0].starts_with("\"elsewhere-fx\" (thread ")),
            "{:?}",
            staying.pins()
        );
        writer.write_all(b"!").unwrap();
        is_unloaded_in_the_end(staying);
    });
}

#[test]
fn pthread_key_with_a_destructor_is_a_refusal_until_it_is_deleted() {
    let source = "#include <pthread.h>\n static void destroy(void *it) { }\n
        unsigned long make(void) { pthread_key_t key; return pthread_key_create(&key, destroy) ? 0 : key + 1; }";
    let library = open(&compile("keyfx", source, &[]).path);
    let key = ask(&library, "make") - 1;
    let staying = stays_for(library.close(), &[Pin::KeyDestructors(1)]);
    // SAFETY: the key that the library made, in use nowhere.
    unsafe { libc::pthread_key_delete(key as u32) };
    unmapped(staying.try_again());
}
