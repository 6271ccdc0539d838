//! Private copies in memory: the main job with them, by request and because the private folder is mounted noexec.

use crate::support::{assert_nothing_left, wait_for, wait_for_staged, wait_for_swapped, wait_for_unmapped};
use fixture_interfaces::{Counter, Deed, Probe};
use reslot::{Claim, Event, Host, PrivateCopies, SyncOutcome, mapped_copies};
use reslot_tests::{Fixture, Folder, Footprint};
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines of the kernel's map that are executable memory of a private copy.
fn executable_copies() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let of_copy =
        |line: &&str| line.contains("/memfd:counter-") && line.split(' ').nth(1).is_some_and(|flags| flags.contains('x'));
    maps.lines().filter(of_copy).count()
}

/// The main job with this kind of copies: load, reload with state, catch a panic, unload, prove.
fn does_its_job(host: Host, folder: &Folder, builds: &[Vec<u8>; 2]) {
    let private = host.private_folder().to_owned();
    folder.publish("libcounter.so", &builds[0]);
    let mut events = host.events();
    wait_for_swapped(&mut events, "counter", 1);
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    assert_eq!(mapped_copies(&private), 1);
    let text = claim.fail("these words").unwrap_err().to_string();
    assert!(
        text.contains("these words") && text.contains("fixtures/counter/src/lib.rs"),
        "{text}"
    );

    folder.publish("libcounter.so", &builds[1]);
    wait_for_staged(&mut events, "counter", 2);
    assert_eq!(mapped_copies(&private), 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let report = claim.report().unwrap();
    assert_eq!((report.total, report.stamp), (6, 2));
    wait_for_unmapped(&mut events, "counter", 1);
    assert_nothing_left(&host, 1);

    drop(claim);
    drop(host);
    wait_for(&mut events, |event| {
        matches!(event, Event::Retired(report) if report.generation == 2).then_some(())
    });
    assert_eq!(mapped_copies(&private), 0);
    assert!(!private.exists(), "the private folder is gone");
}

fn builds() -> [Vec<u8>; 2] {
    let counter = Fixture::build("fx-counter");
    [counter.stamped(1), counter.stamped(2)]
}

#[test]
fn main_job_is_done_from_memory() {
    let folder = Folder::new();
    let in_memory = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(folder.path())
        .private_copies(PrivateCopies::Memory);
    let host = in_memory.build().unwrap();
    assert_eq!(host.private_copies(), PrivateCopies::Memory);
    does_its_job(host, &folder, &builds());
}

#[test]
fn kernel_lists_the_copy_by_its_own_name_and_the_loader_reads_it_through_its_link() {
    let folder = Folder::new();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .private_copies(PrivateCopies::Memory)
        .build()
        .unwrap();
    let before = executable_copies();
    host.load(folder.publish("a.so", &Fixture::build("fx-counter").stamped(77)))
        .unwrap();
    assert!(executable_copies() > before);
    let links = crate::support::copies(host.private_folder());
    let [link] = &links[..] else { panic!("{links:?}") };
    assert!(fs::read_link(link).unwrap().starts_with("/proc"));
    // Debuggers and backtraces find the library there while it is mapped.
    assert!(fs::read(link).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn two_hundred_reloads_from_memory_leave_no_descriptor() {
    // Other tests of this process open and close descriptors, so this test runs in its own process.
    let (role, name) = (
        "RESLOT_TEST_DESCRIPTORS",
        "private_copies::two_hundred_reloads_from_memory_leave_no_descriptor",
    );
    if env::var_os(role).is_none() {
        Fixture::build("fx-probe");
        let this = env::current_exe().unwrap();
        let child = Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(role, "1")
            .output()
            .unwrap();
        assert_passed(&child);
        return;
    }
    let (folder, probe) = (Folder::new(), Fixture::build("fx-probe"));
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .private_copies(PrivateCopies::Memory)
        .build()
        .unwrap();
    let load_all = |stamps: std::ops::RangeInclusive<u64>| {
        for stamp in stamps {
            host.load(folder.publish("a.so", &probe.stamped(stamp))).unwrap();
            let slot = host.slot::<dyn Probe>("probe").unwrap();
            assert_eq!(slot.load().stamp().unwrap(), stamp);
            slot.load().act(Deed::SpawnJoin).unwrap();
            drop(slot);
            assert_nothing_left(&host, 1);
        }
        Footprint::now()
    };
    let before = load_all(1..=10);
    let after = load_all(11..=210);
    assert_eq!(
        (before.descriptors, before.executable_mappings, before.free_keys),
        (after.descriptors, after.executable_mappings, after.free_keys)
    );
}

#[test]
fn folder_mounted_noexec_is_no_obstacle() {
    let (role, name) = ("RESLOT_TEST_NOEXEC", "private_copies::folder_mounted_noexec_is_no_obstacle");
    if let Some(base) = env::var_os(role) {
        return on_a_noexec_mount(Path::new(&base));
    }
    let this = env::current_exe().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The fixtures are built here, because the child may have other mounts.
    for (build, file) in builds().iter().zip(["1", "2"]) {
        fs::write(folder.path().join(file), build).unwrap();
    }
    let base = folder.path().join("noexec");
    fs::create_dir(&base).unwrap();
    let as_child = |command: &mut Command, base: &Path| passes_as_child(command, name, (role, base), folder.path());
    let own_mount = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    let mount = "mount -t tmpfs -o noexec none \"$0\"";
    let permitted = Command::new("unshare").args(own_mount).arg(mount).arg(&base).output();
    if permitted.as_ref().is_ok_and(|tried| tried.status.success()) {
        let mut command = Command::new("unshare");
        let script = format!("{mount} && exec \"$@\"");
        command.args(own_mount).arg(script).arg(&base).arg(this);
        return as_child(&mut command, &base);
    }
    eprintln!(
        "THIS MACHINE PERMITS NO MOUNT OF ONE'S OWN ({permitted:?}); looking for a writable folder that is mounted noexec"
    );
    let other =
        existing_noexec_folder().expect("without any, the fallback cannot be proven here: permit `unshare --user --mount`");
    eprintln!("the fallback is proven on {}", other.path().display());
    as_child(&mut Command::new(this), other.path());
}

fn on_a_noexec_mount(base: &Path) {
    let stored = PathBuf::from(env::var_os("RESLOT_TEST_BUILDS").unwrap());
    let builds = ["1", "2"].map(|file| fs::read(stored.join(file)).unwrap());
    // The mount really forbids execution: files were requested, and loading fails.
    let files = Host::builder()
        .policy(reslot::Policy::without_probation())
        .private_base(base)
        .private_copies(PrivateCopies::Files);
    let host = files.build().unwrap();
    let elsewhere = Folder::new();
    let refusal = host.load(elsewhere.publish("a.so", &builds[0])).unwrap_err().to_string();
    assert!(refusal.contains("refused at open"), "{refusal}");
    assert!(
        refusal.contains("failed to map segment") && refusal.contains("set `private_copies` to memory"),
        "{refusal}"
    );
    drop(host);

    let folder = Folder::new();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .private_base(base)
        .watch(folder.path())
        .build()
        .unwrap();
    assert_eq!(host.private_copies(), PrivateCopies::Memory);
    assert!(host.private_folder().starts_with(base));
    does_its_job(host, &folder, &builds);
    let left: Vec<OsString> = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn existing_noexec_folder() -> Option<tempfile::TempDir> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let noexec = fields.filter(|fields| fields[3].split(',').any(|option| option == "noexec"));
    noexec.filter_map(|fields| tempfile::tempdir_in(fields[1]).ok()).next()
}

/// Runs a test in its own process, with a role and a folder with builds.
fn passes_as_child(command: &mut Command, name: &str, role: (&str, &Path), builds: &Path) {
    command.args(["--exact", name, "--nocapture"]);
    let child = command.env(role.0, role.1).env("RESLOT_TEST_BUILDS", builds).output();
    assert_passed(&child.unwrap());
}

fn assert_passed(child: &std::process::Output) {
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("test result: ok. 1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

/// On overlayfs a write lease does not detect mappings, so no file may be reused there.
#[test]
fn mapped_copy_stays_unchanged_on_any_file_system() {
    let (role, name) = (
        "RESLOT_TEST_MAPPED",
        "private_copies::mapped_copy_stays_unchanged_on_any_file_system",
    );
    if let Some(base) = env::var_os(role) {
        return mapped_copy_is_not_reused(Path::new(&base));
    }
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::build("fx-counter");
    for stamp in 1..=3 {
        fs::write(folder.path().join(stamp.to_string()), fixture.stamped(stamp)).unwrap();
    }
    let made = |name: &str| {
        let made = folder.path().join(name);
        fs::create_dir(&made).unwrap();
        made
    };
    let (plain, base) = (made("plain"), made("overlay"));
    let [lower, upper, work] = ["lower", "upper", "work"].map(made);
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let as_child = |command: &mut Command, base: &Path| passes_as_child(command, name, (role, base), folder.path());
    let this = env::current_exe().unwrap();
    as_child(&mut Command::new(&this), &plain);
    let own_mount = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    let mount = "mount -t overlay -o \"$1\" none \"$0\"";
    let mut trial = Command::new("unshare");
    let permitted = trial.args(own_mount).arg(mount).arg(&base).arg(&options).output();
    if !permitted.as_ref().is_ok_and(|tried| tried.status.success()) {
        eprintln!("THIS MACHINE PERMITS NO OVERLAY OF ONE'S OWN ({permitted:?}): only its usual file system was tried");
        return;
    }
    let mut command = Command::new("unshare");
    command
        .args(own_mount)
        .arg(format!("{mount} && shift && exec \"$@\""))
        .arg(&base)
        .arg(&options)
        .arg(this);
    as_child(&mut command, &base);
}

fn mapped_copy_is_not_reused(base: &Path) {
    let stored = PathBuf::from(env::var_os("RESLOT_TEST_BUILDS").unwrap());
    let builds = ["1", "2", "3"].map(|file| fs::read(stored.join(file)).unwrap());
    let mut policy = reslot::Policy::without_probation();
    // Without this the history would keep the file, too.
    policy.history = 0;
    let host = Host::builder().policy(policy).private_base(base).build().unwrap();
    let folder = Folder::new();
    host.load(folder.publish("a.so", &builds[0])).unwrap();
    let copies = crate::support::copies(host.private_folder());
    let [copy] = &copies[..] else { panic!("{copies:?}") };
    // Like a forked child without `exec`.
    let opened = fs::File::open(copy).unwrap();
    let len = builds[0].len();
    // SAFETY: a new mapping, which is read below and stays until the process ends.
    let mapped = unsafe {
        let (read, private) = (libc::PROT_READ, libc::MAP_PRIVATE);
        libc::mmap(
            std::ptr::null_mut(),
            len,
            read,
            private,
            std::os::fd::AsRawFd::as_raw_fd(&opened),
            0,
        )
    };
    assert_ne!(mapped, libc::MAP_FAILED);
    drop(opened);
    for build in &builds[1..] {
        host.load(folder.publish("a.so", build)).unwrap();
        assert_nothing_left(&host, 1);
    }
    // SAFETY: mapped above, with this length.
    let bytes = unsafe { std::slice::from_raw_parts(mapped.cast::<u8>(), len) };
    assert!(
        bytes == builds[0],
        "the bytes of another build appeared in a mapping of the first"
    );
}
