//! Life that is another build in every tick is Life: after 5,000 generations it is what Golly, which knows nothing of us, makes of
//! the same patterns.

use arcade_interfaces::{Cell, Input, Rules};
use reslot::{Claim, Host, Policy, SyncOutcome};
use reslot_arcade::{rle, world::Table};
use reslot_tests::{Fixture, Folder};
use std::{collections::HashSet, fs, path::Path, process::Command, time::Duration};

const GENERATIONS: usize = 5_000;
/// Of the package golly: nothing of it is in this repository.
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

/// One plugin plays all patterns at once, so that one reload a tick is one for each of them. Answers the worlds, and what the rules
/// say of themselves in the end.
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
        // Behind what the loader reads: another content, of the same code.
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

/// Ten times smaller: thousands of them are read, hashed and copied.
fn without_debug_information(rules: &Fixture, folder: &Folder) -> Vec<u8> {
    let file = folder.publish("whole.so", rules.bytes());
    let status = Command::new("strip").arg("--strip-debug").arg(&file).status();
    assert!(status.expect("binutils, which linking needs").success());
    fs::read(file).unwrap()
}

/// Golly's answer, from a file that it writes.
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

/// From the upper left corner of what lives: Golly's files do not tell where that is.
fn shape(cells: &[Cell]) -> HashSet<Cell> {
    let (top, left) = (cells.iter().map(|cell| cell.y).min(), cells.iter().map(|cell| cell.x).min());
    let moved = |cell: &Cell| Cell {
        y: cell.y - top.unwrap_or(0),
        x: cell.x - left.unwrap_or(0),
    };
    cells.iter().map(moved).collect()
}

#[test]
fn reloaded_in_every_tick_it_is_what_golly_says() {
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
    // Handed over 5,000 times, and counted on.
    assert_eq!(title, format!("Life, {} generations", PATTERNS.len() * GENERATIONS));

    // One birth forgotten, once, by a counter that was handed over until then: the comparison finds it, and only it.
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
fn what_is_no_life_is_refused() {
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
