//! An interface may have methods with the names of a claim's operations: `claim.sync()` calls the plugin, `Claim::sync` the
//! host.

use crate::support::{assert_nothing_left, host, wait_for_staged};
use reslot::{Claim, RollbackTarget, Shadow, SyncOutcome};
use reslot_tests::{Fixture, Folder};

#[path = "../fixtures/same-names/src/interface.rs"]
mod interface;

use interface::SameNames;

#[test]
fn a_claim_and_a_shadow_hide_no_method_of_the_interface() {
    let build = Fixture::build("fx-same-names");
    let folder = Folder::new();
    folder.publish("libsame.so", &build.stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let mut claim = host.claim::<dyn SameNames>("same-names").unwrap();

    assert_eq!((claim.sync(5).unwrap(), claim.sync(6).unwrap()), (5, 11));
    assert_eq!((claim.generation().unwrap(), Claim::generation(&claim)), (1_001, Some(1)));
    assert_eq!(claim.rollback(4).unwrap(), 11);
    assert_eq!(
        (claim.slot().unwrap().as_str(), Claim::name(&claim)),
        ("the plugin's slot", "same-names")
    );
    assert_eq!(claim.name().unwrap(), "the plugin's name");
    assert_eq!((claim.has_staged().unwrap(), Claim::has_staged(&claim)), (true, false));
    assert_eq!(claim.shadow("x").unwrap(), "the plugin's shadow of x");
    assert_eq!(claim.shadow_kept().unwrap(), 7);

    let path = folder.publish("libsame.so", &build.stamped(2));
    wait_for_staged(&mut events, "same-names", 2);
    assert_eq!(claim.generation().unwrap(), 1_001, "the plugin's `sync` adopts nothing");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!((claim.generation().unwrap(), Claim::generation(&claim)), (1_002, Some(2)));

    let shadow = Claim::shadow(&claim, &path).unwrap();
    assert_eq!((shadow.number().unwrap(), Shadow::number(&shadow)), (4, 1));
    assert_eq!(
        (shadow.name().unwrap().as_str(), Shadow::name(&shadow)),
        ("the plugin's name", "same-names~shadow")
    );
    drop(shadow);

    let rolled_back = Claim::rollback(&mut claim, RollbackTarget::Previous).unwrap();
    assert_eq!(
        (rolled_back, claim.generation().unwrap()),
        (SyncOutcome::RolledBack { from: 2, generation: 3 }, 1_001)
    );
    assert_eq!((claim.unload().unwrap(), claim.number().unwrap()), (4, 0));
    let unloaded = Claim::unload(&mut claim).unwrap();
    assert_eq!(unloaded.generation, 3);
    drop(claim);
    assert_nothing_left(&host, 0);
}
