//! States that are nested deeply, and options in options: they are handed over unchanged, up and back, or refused while the
//! old generation keeps serving.

use crate::support::{PATIENCE, assert_nothing_left, wait_for, wait_for_refused, wait_for_unmapped};
use fixture_interfaces::BenchState;
use reslot::{
    Cause, Claim, Event, Events, Hook, HookError, Host, LoadOutcome, MAX_STATE_LEVELS, Policy, Preflight, Refusal,
    RestoredState, RollbackReport, RollbackTarget, Slot, SyncOutcome,
};
use reslot_tests::{Fixture, Folder, preflight_program};
use std::{env, fs, process::Command, thread};

/// The deepest tree that fits: the plugin's own struct is a level, and each tree is two, a struct and a list.
const DEEPEST: u64 = (MAX_STATE_LEVELS as u64 - 1) / 2;
/// `fx-nested` has one of 27 sets of options in options beside its tree. `fill` and `count` have its number above these bits.
const SETS: u64 = 1 << 32;

const NAME: &str = "nested";
const OLDER: &str = "fx-nested";
/// The fixture with the next schema.
const NEWER: &str = "fx-nested-newer";

struct Place {
    host: Host,
    events: Events,
    folder: Folder,
    last: u64,
}

impl Place {
    /// A place with `OLDER` loaded.
    fn new(policy: Policy) -> Self {
        let host = Host::builder().policy(policy).build().unwrap();
        let mut place = Self {
            events: host.events(),
            host,
            folder: Folder::new(),
            last: 0,
        };
        place.load(OLDER).unwrap();
        place
    }

    /// Publishes the next build and loads it.
    fn load(&mut self, package: &str) -> Result<LoadOutcome, Refusal> {
        self.last += 1;
        let path = self.folder.publish("plugin.so", &Fixture::build(package).stamped(self.last));
        self.host.load(path)
    }

    fn slot(&self) -> Slot<dyn BenchState> {
        self.host.slot(NAME).unwrap()
    }

    fn claim(&self) -> Claim<dyn BenchState> {
        self.host.claim(NAME).unwrap()
    }

    /// Loads the next build while the owner calls `sync` repeatedly. Returns the outcome.
    fn load_and_sync(&mut self, package: &str, claim: &mut Claim<dyn BenchState>) -> SyncOutcome {
        thread::scope(|scope| {
            let loads = scope.spawn(|| self.load(package).unwrap_or_else(|refusal| panic!("{refusal}")));
            loop {
                let synced = Claim::sync(claim);
                if synced != SyncOutcome::Unchanged {
                    loads.join().unwrap();
                    return synced;
                }
                thread::yield_now();
            }
        })
    }

    fn wait_for_rollback(&mut self) -> RollbackReport {
        wait_for(&mut self.events, |event| match event {
            Event::RolledBack(report) => Some(report.clone()),
            _ => None,
        })
    }
}

fn build_and_count(slot: &Slot<dyn BenchState>) -> (u64, u64) {
    let loaded = slot.load();
    (loaded.stamp().unwrap(), loaded.count().unwrap())
}

/// A probation that does not end while a test runs, and deadlines that a busy machine keeps.
fn patient(mut policy: Policy) -> Policy {
    policy.probation = PATIENCE * 10;
    policy.hook_deadline = PATIENCE;
    if policy.preflight.is_some() {
        policy.preflight = Some(Preflight {
            program: Some(preflight_program().to_owned()),
            timeout: PATIENCE,
        });
    }
    policy
}

/// The policies with and without a preflight.
fn policies() -> [Policy; 2] {
    [Policy::production(), Policy::development()].map(patient)
}

/// The state of a tree that is one level too deep.
fn is_too_deep(cause: &Cause) -> bool {
    matches!(cause, Cause::Hook(Hook::Snapshot, HookError::TooDeep { most }) if *most == MAX_STATE_LEVELS)
}

#[test]
fn deep_state_of_a_shared_slot_goes_up_and_back() {
    for policy in policies() {
        for depth in [300, DEEPEST] {
            let mut place = Place::new(policy.clone());
            let slot = place.slot();
            slot.load().fill(depth).unwrap();
            place.load(NEWER).unwrap();
            assert_eq!(build_and_count(&slot), (2, depth));
            slot.load().fill(depth - 1).unwrap();
            place.host.rollback(NAME, RollbackTarget::Previous).unwrap();
            let report = place.wait_for_rollback();
            assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:?}");
            assert_eq!(build_and_count(&slot), (1, depth - 1));
            drop(slot);
            assert_nothing_left(&place.host, 1);
        }
    }
}

#[test]
fn deep_state_of_a_claimed_slot_goes_up_and_back() {
    for policy in policies() {
        for depth in [300, DEEPEST] {
            let mut place = Place::new(policy.clone());
            let mut claim = place.claim();
            claim.fill(depth).unwrap();
            assert_eq!(place.load_and_sync(NEWER, &mut claim), SyncOutcome::Adopted { generation: 2 });
            assert_eq!((claim.stamp().unwrap(), claim.count().unwrap()), (2, depth));
            claim.fill(depth - 1).unwrap();
            let _ = Claim::rollback(&mut claim, RollbackTarget::Previous).unwrap();
            let report = place.wait_for_rollback();
            assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:?}");
            assert_eq!((claim.stamp().unwrap(), claim.count().unwrap()), (1, depth - 1));
            drop(claim);
            assert_nothing_left(&place.host, 1);
        }
    }
}

#[test]
fn state_that_is_too_deep_is_refused_and_the_old_one_serves_on() {
    for policy in policies() {
        let mut place = Place::new(policy);
        let slot = place.slot();
        slot.load().fill(DEEPEST + 1).unwrap();
        let refusal = place.load(NEWER).unwrap_err();
        assert!(is_too_deep(&refusal.cause), "{refusal}");
        let text = refusal.to_string();
        for words in [
            "4096 levels",
            "what to do: make the state less deep",
            "generation 1 keeps serving",
        ] {
            assert!(text.contains(words), "{words:?} is not in:\n{text}");
        }
        assert_eq!(build_and_count(&slot), (1, DEEPEST + 1));

        slot.load().fill(DEEPEST).unwrap();
        place.load(NEWER).unwrap();
        assert_eq!(build_and_count(&slot), (3, DEEPEST));

        // In a rollback, a state that cannot be carried is replaced by the snapshot.
        slot.load().fill(DEEPEST + 1).unwrap();
        place.host.rollback(NAME, RollbackTarget::Previous).unwrap();
        let report = place.wait_for_rollback();
        let RestoredState::Snapshot { why: Some(why), .. } = &report.state else {
            panic!("{report:?}")
        };
        assert!(why.contains("4096 levels"), "{why}");
        assert_eq!(build_and_count(&slot), (1, DEEPEST));
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn state_of_a_claim_that_is_too_deep_is_refused_and_the_old_one_serves_on() {
    for policy in policies() {
        let mut place = Place::new(policy);
        let mut claim = place.claim();
        claim.fill(DEEPEST + 1).unwrap();
        assert_eq!(
            place.load_and_sync(NEWER, &mut claim),
            SyncOutcome::Refused { serving: Some(1) }
        );
        let refusal = wait_for_refused(&mut place.events);
        assert!(is_too_deep(&refusal.cause), "{refusal}");
        assert_eq!((claim.stamp().unwrap(), claim.count().unwrap()), (1, DEEPEST + 1));
        claim.fill(1).unwrap();
        assert_eq!(place.load_and_sync(NEWER, &mut claim), SyncOutcome::Adopted { generation: 3 });
        assert_eq!(claim.count().unwrap(), 1);
        place.host.confirm(NAME).unwrap();
        drop(claim);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn state_that_is_far_too_deep_is_refused_and_dropped_in_the_end() {
    const FAR: u64 = 100_000;
    let mut place = Place::new(patient(Policy::development()));
    let mut claim = place.claim();
    claim.fill(FAR).unwrap();
    place.load(NEWER).unwrap();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    let refusal = wait_for_refused(&mut place.events);
    assert!(is_too_deep(&refusal.cause), "{refusal}");
    assert_eq!(claim.count().unwrap(), FAR);
    // The reaper drops the state with all its levels.
    drop((claim, place.host));
    wait_for_unmapped(&mut place.events, NAME, 1);
}

/// A thread that was given little stack, as programs with many threads do.
fn on_a_small_stack(body: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(256 << 10);
        builder.spawn_scoped(scope, body).unwrap().join().unwrap();
    });
}

#[test]
fn owner_with_a_small_stack_hands_a_deep_state_over() {
    let mut place = Place::new(patient(Policy::development()));
    on_a_small_stack(|| {
        let mut claim = place.claim();
        claim.fill(DEEPEST).unwrap();
        place.load(NEWER).unwrap();
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
        assert_eq!((claim.stamp().unwrap(), claim.count().unwrap()), (2, DEEPEST));
        let _ = Claim::rollback(&mut claim, RollbackTarget::Previous).unwrap();
        assert_eq!((claim.stamp().unwrap(), claim.count().unwrap()), (1, DEEPEST));
    });
    assert_nothing_left(&place.host, 1);
}

#[test]
fn options_in_options_arrive_as_they_are() {
    let mut place = Place::new(Policy::without_probation());
    let slot = place.slot();
    for set in 0..27 {
        let held = set * SETS + 3;
        slot.load().fill(held).unwrap();
        // Alternates between the two schemas.
        place.load(if set % 2 == 0 { NEWER } else { OLDER }).unwrap();
        assert_eq!(slot.load().count().unwrap(), held, "set {set}");
        // Also without a migration in between.
        place.load(if set % 2 == 0 { NEWER } else { OLDER }).unwrap();
        assert_eq!(slot.load().count().unwrap(), held, "set {set}");
    }
    drop(slot);
    assert_nothing_left(&place.host, 1);
}

#[test]
fn state_that_serde_does_not_carry_is_named_and_is_not_the_candidates_fault() {
    for policy in policies() {
        let mut place = Place::new(policy);
        let slot = place.slot();
        let held = 27 * SETS + 3;
        slot.load().fill(held).unwrap();
        // One build decodes it directly, and one in a step of its migration.
        for package in [OLDER, NEWER] {
            let text = place.load(package).unwrap_err().to_string();
            for words in [
                "`odd`",
                "serde cannot read a u128 here",
                "the version that serves has written it and cannot read it either",
                "what to do: change the type of the named value",
                "generation 1 keeps serving",
            ] {
                assert!(text.contains(words), "{words:?} is not in:\n{text}");
            }
        }
        assert_eq!(build_and_count(&slot), (1, held));
        slot.load().fill(26 * SETS).unwrap();
        place.load(NEWER).unwrap();
        assert_eq!(slot.load().count().unwrap(), 26 * SETS + 1);
        place.host.confirm(NAME).unwrap();
        drop(slot);
        assert_nothing_left(&place.host, 1);
    }
}

#[test]
fn state_that_does_not_fit_is_the_candidates_fault() {
    let folder = Folder::new();
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    host.load(folder.publish("counter.so", &Fixture::build("fx-counter").stamped(1)))
        .unwrap();
    let mut events = host.events();
    let mut claim = host.claim::<dyn fixture_interfaces::Counter>("counter").unwrap();
    host.load(folder.publish("counter.so", Fixture::build("fx-other-state").bytes()))
        .unwrap();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    let text = wait_for_refused(&mut events).to_string();
    assert!(
        text.contains("missing field `currency`") && text.contains("#[serde(default)]"),
        "{text}"
    );
    assert!(!text.contains("either"), "{text}");
}

/// The variable that makes this program the child with a small address space.
const FEW_ADDRESSES: &str = "RESLOT_TEST_FEW_ADDRESSES";

#[test]
fn without_addresses_for_a_large_stack_a_deep_state_is_refused() {
    if env::var_os(FEW_ADDRESSES).is_none() {
        // The limit applies to the whole process, so the test runs in its own process.
        let mut itself = Command::new(env::current_exe().unwrap());
        let name = "nested::without_addresses_for_a_large_stack_a_deep_state_is_refused";
        let output = itself
            .args([name, "--exact", "--nocapture"])
            .env(FEW_ADDRESSES, "")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}{words}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let mut place = Place::new(patient(Policy::development()));
    let slot = place.slot();
    slot.load().fill(300).unwrap();
    // Threads and their arenas need some address space.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let used = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
    let limit = libc::rlimit {
        rlim_cur: (used.unwrap().trim().parse::<u64>().unwrap() << 10) + (160 << 20),
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit lives as long as the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
    let refusal = place.load(OLDER).unwrap_err();
    assert!(
        matches!(
            &*refusal.cause,
            Cause::Hook(Hook::Snapshot, HookError::StackTooSmall { system: Some(_), .. })
        ),
        "{refusal}"
    );
    assert!(refusal.to_string().contains("ulimit -v"), "{refusal}");
    assert_eq!(slot.load().count().unwrap(), 300, "it keeps serving");
    slot.load().fill(3).unwrap();
    place.load(OLDER).unwrap();
    assert_eq!(build_and_count(&slot), (3, 3));
}
