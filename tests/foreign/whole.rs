//! Opening, calling, closing; and files that are not complete libraries.

use crate::{Built, ask, compile, kernel_knows, private_folders, stays_for, unmapped};
use reslot::foreign::{ForeignError, Library, Opening, Pin, Trust};
use std::{ffi::c_int, fs};

const PLAIN: &str =
    "static int calls; int add(int a, int b) { calls++; return a + b; } unsigned long count(void) { return calls; }";

#[test]
fn plain_library_is_called_and_unmapped_and_nothing_of_it_stays() {
    let built = compile("plainfx", PLAIN, &[]);
    let base = tempfile::tempdir().unwrap();
    for _ in 0..50 {
        let opening = Opening::new().private_base(base.path());
        let library = opening.open(&built.path, Trust::Foreign).unwrap();
        assert!(kernel_knows("libplainfx-"), "a copy is mapped, not the file");
        assert!(!kernel_knows(built.path.to_str().unwrap()));
        // SAFETY: the signature is the one above.
        let add = unsafe { library.function::<unsafe extern "C" fn(c_int, c_int) -> c_int>("add") }.unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { add(2, 3) }, 5);
        assert_eq!(ask(&library, "count"), 1, "each copy has its own statics");
        // SAFETY: there is no such function.
        let missing = unsafe { library.function::<unsafe extern "C" fn()>("subtract") }.unwrap_err();
        assert!(matches!(&missing, ForeignError::NoFunction { name, .. } if name == "subtract"));
        unmapped(library.close());
        assert!(!kernel_knows("libplainfx-"));
        assert_eq!(private_folders(base.path()), 0);
    }
}

#[test]
fn library_that_is_dropped_without_being_closed_stays() {
    let built = compile("droppedfx", PLAIN, &[]);
    drop(Library::open(&built.path, Trust::Foreign).unwrap());
    assert!(kernel_knows("libdroppedfx-"));
}

#[test]
fn mark_never_to_be_unloaded_is_cleared_in_the_copy_or_kept_on_request() {
    let built = compile("nodeletefx", PLAIN, &["-Wl,-z,nodelete"]);
    let library = Library::open(&built.path, Trust::Foreign).unwrap();
    assert!(library.had_nodelete());
    unmapped(library.close());
    let library = Opening::new().keep_nodelete().open(&built.path, Trust::Foreign).unwrap();
    let staying = stays_for(library.close(), &[Pin::NoDelete]);
    assert!(kernel_knows("libnodeletefx-"));
    stays_for(staying.try_again(), &[Pin::NoDelete]);
}

#[test]
fn library_cut_at_twenty_places_is_refused() {
    let Built { folder, path } = compile("cutfx", PLAIN, &[]);
    let whole = fs::read(path).unwrap();
    let cut = folder.path().join("cut.so");
    let places = [1, 4, 17, 63, 64, 100, 500, 2_000, whole.len() - 64, whole.len() - 1];
    let spread = (1..=10).map(|part| whole.len() * part / 11);
    for place in places.into_iter().chain(spread) {
        fs::write(&cut, &whole[..place]).unwrap();
        let refused = Library::open(&cut, Trust::Foreign).unwrap_err();
        assert!(matches!(&refused, ForeignError::Lint(_)), "{place}: {refused}");
        assert!(refused.to_string().contains("incomplete"), "{place}: {refused}");
    }
    fs::write(&cut, &whole).unwrap();
    unmapped(Library::open(&cut, Trust::Foreign).unwrap().close());
}

#[test]
fn file_that_is_no_library_is_refused_by_name() {
    let refused = |path: &str| Library::open(path, Trust::Foreign).unwrap_err();
    assert!(matches!(refused("/nothing/here.so"), ForeignError::Stage(_)));
    assert!(
        refused("/proc/self/exe")
            .to_string()
            .contains("not a shared library but a program")
    );
    let built = compile("lostfx", "int lost(void); int f(void) { return lost(); }", &["-Wl,-z,now"]);
    let refused = Library::open(&built.path, Trust::Foreign).unwrap_err();
    assert!(
        matches!(&refused, ForeignError::Loader(words) if words.contains("lost")),
        "{refused}"
    );
}
