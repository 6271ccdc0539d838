//! Life that is reloaded in every tick is still correct: after 5,000 generations the world equals the result of Golly, an
//! independent program.

use arcade_interfaces::{Cell, Input, Rules};
use reslot::{Claim, Host, Policy, SyncOutcome};
use reslot_arcade::{rle, world::Table};
use reslot_tests::{Fixture, Folder};
use std::{collections::HashSet, fs, path::Path, process::Command, time::Duration};

const GENERATIONS: usize = 5_000;
/// They are in the system's package golly, and not in this repository.
const PATTERNS: [&str; 12] = [
    "Methuselahs/ark1.rle",
    "Methuselahs/blom.rle",
    "Methuselahs/iwona.rle",
    "Methuselahs/justyna.rle",
    "Methuselahs/natural-LWSS.rle",
    "Methuselahs/rabbits-relation-17423.rle",
    "Miscellaneous/die658.rle",
    "Spaceships/short-thin.rle",
    "Spaceships/smallest-low-period.rle",
    "Methuselahs/lidka-predecessor.rle",
    "Oscillators/queen-bee-turn.rle",
    "Breeders/switch-engine-ping-pong.rle",
];

/// One plugin plays all patterns at once, so that one reload a tick is one for each of them. Returns the worlds and the
/// rules' title at the end.
fn play(rules: &Fixture, patterns: &[Vec<Cell>], generations: usize) -> (Vec<Table>, String) {
    let folder = Folder::new();
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    let mut worlds: Vec<_> = patterns.iter().map(|cells| Table::of_cells(cells.clone())).collect();
    let mut bytes = without_debug_information(rules, &folder);
    let stamped = bytes.len();
    bytes.extend([0; 8]);
    host.load(folder.publish("life.so", &bytes)).unwrap();
    let mut claim = host.claim::<dyn Rules>("life").unwrap();
    for tick in 1..=generations {
        // The loader ignores these bytes: another content of the same code.
        bytes[stamped..].copy_from_slice(&tick.to_le_bytes());
        host.load(folder.publish("life.so", &bytes)).unwrap();
        let adopted = SyncOutcome::Adopted {
            generation: tick as u64 + 1,
        };
        assert_eq!(Claim::sync(&mut claim), adopted);
        for world in &mut worlds {
            claim.tick(world, Input::default()).unwrap();
            world.advance();
        }
    }
    assert!(host.wait_until_retired(Duration::from_secs(30)));
    assert_eq!(host.images().mapped, 1, "the old code of every tick is gone");
    let title = claim.title().unwrap();
    (worlds, title)
}

/// Without debug information the file is ten times smaller; the test reads, hashes and copies thousands of them.
fn without_debug_information(rules: &Fixture, folder: &Folder) -> Vec<u8> {
    let file = folder.publish("whole.so", rules.bytes());
    let status = Command::new("strip").arg("--strip-debug").arg(&file).status();
    assert!(status.expect("binutils, which linking needs").success());
    fs::read(file).unwrap()
}

/// Golly's result, from the file that it writes.
fn golly(root: &Path, pattern: &Path, generations: usize, out: &Path) -> Vec<Cell> {
    let generations = generations.to_string();
    let status = Command::new(root.join("usr/bin/bgolly"))
        .args(["-q", "-q", "-m", &generations, "-i", &generations, "-o"])
        .args([out, pattern])
        .output()
        .expect("bgolly runs");
    assert!(status.status.success(), "{status:?}");
    rle::read(&fs::read_to_string(out).unwrap()).unwrap()
}

/// Moves the pattern so that its upper left corner is the origin, because Golly's files do not say where it is.
fn shape(cells: &[Cell]) -> HashSet<Cell> {
    let (top, left) = (cells.iter().map(|cell| cell.y).min(), cells.iter().map(|cell| cell.x).min());
    let moved = |cell: &Cell| Cell {
        y: cell.y - top.unwrap_or(0),
        x: cell.x - left.unwrap_or(0),
    };
    cells.iter().map(moved).collect()
}

#[test]
fn reloaded_in_every_tick_it_agrees_with_golly() {
    let workspace = xtask::Workspace::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))).unwrap();
    let root = xtask::debian::golly(&xtask::debian::cache(&workspace)).expect("Debian's package golly, to compare with");
    let folder = Folder::new();
    let files = PATTERNS.map(|pattern| root.join("usr/share/golly/Patterns/Life").join(pattern));
    let patterns = files
        .each_ref()
        .map(|file| rle::read(&fs::read_to_string(file).unwrap()).unwrap());
    let expected = files
        .each_ref()
        .map(|file| shape(&golly(&root, file, GENERATIONS, &folder.path().join("out.rle"))));

    let (worlds, title) = play(&Fixture::build("life"), &patterns, GENERATIONS);
    for ((world, expected), pattern) in worlds.iter().zip(&expected).zip(PATTERNS) {
        assert_eq!(world.living().len(), expected.len(), "{pattern}: how many live");
        assert_eq!(&shape(world.living()), expected, "{pattern}");
        println!("{pattern}: {} cells, as Golly says", expected.len());
    }
    // The counter was handed over 5,000 times and kept counting.
    assert_eq!(title, format!("Life, {} generations", PATTERNS.len() * GENERATIONS));

    // A fixture omits one birth, when the handed-over counter says so: the comparison finds that, and nothing else.
    const FEW: usize = 400;
    let expected = shape(&golly(&root, &files[0], FEW, &folder.path().join("few.rle")));
    for (rules, is_life) in [("life", true), ("fx-life-mistaken", false)] {
        let (worlds, _) = play(&Fixture::build(rules), &patterns[..1], FEW);
        assert_eq!(shape(worlds[0].living()) == expected, is_life, "{rules}");
    }
}

#[test]
fn runs_rows_and_comments_are_read() {
    let cells = rle::read("#N Glider\nx = 3, y = 3, rule = B3/S23\nbo$2bo$\n3o!\n").expect("a glider");
    let places: Vec<_> = cells.iter().map(|cell| (cell.x, cell.y)).collect();
    assert_eq!(places, [(1, 0), (2, 1), (0, 2), (1, 2), (2, 2)]);
    assert_eq!(rle::read("x=1,y=4\no3$o!").expect("two cells")[1], Cell { y: 3, x: 0 });
}

#[test]
fn file_that_is_no_life_pattern_is_refused() {
    for text in [
        "",
        "3o!",
        "x = 3, y = 1\n3o",
        "x = 1, y = 1, rule = B36/S23\no!",
        "x = 1, y = 1\nq!",
        "x=1\n99999999999o!",
        "x=1\n2000000000o!",
        &format!("x=1\n{}!", "1000000$".repeat(3_000)),
    ] {
        assert!(rle::read(text).is_err(), "{text:?}");
    }
}
