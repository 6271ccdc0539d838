//! Calls as bytes, of which one side is hostile.

use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_of_the_other_side_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        reslot_fuzz::marshal(&bytes);
    }
}
