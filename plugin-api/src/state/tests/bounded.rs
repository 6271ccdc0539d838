//! That the stack does not end while a state is encoded or decoded, however deep it is, and that the levels that are promised fit.

use super::{super::bounds::Met, *};
use std::thread;

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
struct Tree {
    value: u32,
    children: Vec<Tree>,
}

impl Tree {
    fn of(depth: u32) -> Self {
        (0..depth).fold(Self::default(), |inner, value| Self {
            value,
            children: vec![inner],
        })
    }

    /// Without recursion, as the drop that is derived would have it.
    fn fell(mut self) {
        let mut rest = std::mem::take(&mut self.children);
        while let Some(mut tree) = rest.pop() {
            rest.append(&mut tree.children);
        }
    }
}

/// A struct and a list for each.
const DEEPEST: u32 = MAX_STATE_LEVELS / 2 - 1;

fn on_a_stack_of<R: Send>(bytes: usize, body: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(bytes).spawn_scoped(scope, body);
        thread.unwrap().join().unwrap()
    })
}

#[test]
fn promised_levels_fit_and_one_more_does_not() {
    on_a_stack_of(64 << 20, || {
        let tree = Tree::of(DEEPEST);
        let bytes = to_bytes(&tree).unwrap();
        assert!(decode::<Tree>(&bytes).unwrap() == tree);
        let state = StateValue::read(&bytes).unwrap();
        assert!(state.decode::<Tree>().unwrap() == tree);

        let over = Tree::of(DEEPEST + 1);
        let words = to_bytes(&over).unwrap_err().to_string();
        assert!(words.contains("deeper than 4096 levels") && words.len() < 200, "{words}");
        // From elsewhere, as bytes.
        let bytes = within(u32::MAX, 32 << 20, || to_bytes(&over)).0.unwrap();
        assert!(decode::<Tree>(&bytes).is_err() && StateValue::read(&bytes).is_err());
    });
}

#[test]
fn small_stack_is_noticed_before_it_ends() {
    for stack in [64 << 10, 128 << 10, 256 << 10, 1 << 20, 2 << 20] {
        on_a_stack_of(stack, || {
            let tree = Tree::of(100_000);
            let (encoded, met) = within(u32::MAX, crate::inside::stack::left() / 2, || to_bytes(&tree));
            assert!(encoded.is_err() && met == Some(Met::StackUsed));
            // Nobody has said how much there is.
            assert!(to_bytes(&tree).is_err());
            tree.fell();
            let bytes = vec![0x91; 100_000];
            let (decoded, met) = within(u32::MAX, crate::inside::stack::left() / 2, || decode::<Value>(&bytes));
            assert!(decoded.is_err() && met == Some(Met::StackUsed));
            assert!(StateValue::read(&bytes).is_err());
        });
    }
}

#[test]
fn depth_error_that_a_field_swallows_is_still_noticed() {
    /// As `#[serde(deserialize_with = …)]` is often used: what cannot be read is nothing.
    #[derive(Deserialize, Debug)]
    struct Lenient {
        #[serde(deserialize_with = "or_default")]
        #[allow(dead_code)]
        tree: Option<Tree>,
    }
    fn or_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Tree>, D::Error> {
        Ok(Option::deserialize(deserializer).unwrap_or_default())
    }
    #[derive(Serialize)]
    struct Written {
        tree: Tree,
    }
    let bytes = to_bytes(&Written { tree: Tree::of(40) }).unwrap();
    let (answer, met) = within(50, 1 << 20, || decode::<Lenient>(&bytes));
    assert_eq!(met, Some(Met::TooDeep), "{answer:?}");
}

#[test]
fn bounds_hold_for_the_state_that_a_migration_step_reads_and_writes() {
    let tree = Tree::of(10);
    let (answer, met) = within(15, 1 << 20, || StateValue::of(&tree).map(drop));
    assert!(answer.is_err() && met == Some(Met::TooDeep));
    let (answer, met) = within(25, 1 << 20, || StateValue::of(&tree)?.decode::<Tree>());
    assert!(answer.is_ok_and(|read| read == tree) && met.is_none());
    assert!(StateValue::of(&tree).is_ok(), "they are gone with who has set them");
}
