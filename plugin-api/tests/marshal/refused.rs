//! What an engine reads from a description before it loads anything.

use crate::interfaces::{Shapes, Sink};
use reslot_plugin_api::{
    __private::marshal::{Reason, Unsupported, unsupported},
    Crossing, Interface, interface,
};

#[test]
fn borrowed_results_are_named_with_their_method() {
    let found = unsupported(<dyn Shapes as Interface>::DESCRIPTION, size_of::<usize>());
    let expected = Unsupported {
        interface: "Shapes",
        method: "name",
        reason: Reason::BorrowedResult,
    };
    assert_eq!(found, [expected]);
    assert_eq!(
        found[0].to_string(),
        "`Shapes::name` returns a borrow, and the object is not in the caller's memory: return a value, `String` or `Vec`"
    );
    assert_eq!(unsupported(<dyn Sink as Interface>::DESCRIPTION, 4), []);
}

#[test]
fn pointer_sized_numbers_are_named_for_a_side_with_other_pointers() {
    #[derive(Crossing)]
    #[repr(C)]
    struct Inside {
        counts: [[usize; 2]; 1],
    }
    #[interface]
    trait Lent {
        fn inside(&self, value: &Inside);
    }
    #[interface]
    trait Sized {
        fn fine(&self, a: u64, b: &[f64]) -> Vec<Option<u32>>;
        fn deep(&self) -> Vec<Result<u8, Option<isize>>>;
        fn lends(&self, lent: &dyn Lent, again: &dyn Lent);
        fn slice(&self) -> &[u8];
    }
    let found: Vec<_> = unsupported(<dyn Sized as Interface>::DESCRIPTION, 4)
        .into_iter()
        .map(|one| (one.interface, one.method, one.reason))
        .collect();
    assert_eq!(
        found,
        [
            ("Sized", "deep", Reason::PointerSized { of: "isize" }),
            ("Sized", "slice", Reason::BorrowedResult),
            ("Lent", "inside", Reason::PointerSized { of: "Inside" }),
        ]
    );
    assert_eq!(unsupported(<dyn Sized as Interface>::DESCRIPTION, 8).len(), 1);
}
