//! Which plugin calls which, as their manifests declare it: whether there is a cycle, and in which order to start them.

use crate::slot::UseGraph;

/// A cycle through this slot, if there is one.
pub(super) fn cycle(known: &UseGraph, slot: &str, uses: &[String]) -> Option<Vec<String>> {
    let mut way = vec![slot.to_owned()];
    let mut seen = Vec::new();
    leads_to(known, slot, uses, &mut seen, &mut way).then_some(way)
}

fn leads_to(known: &UseGraph, slot: &str, uses: &[String], seen: &mut Vec<String>, way: &mut Vec<String>) -> bool {
    for used in uses {
        way.push(used.clone());
        if used == slot {
            return true;
        }
        if !seen.contains(used) {
            seen.push(used.clone());
            let further = known.get(used.as_str()).map_or(&[][..], Vec::as_slice);
            if leads_to(known, slot, further, seen, way) {
                return true;
            }
        }
        way.pop();
    }
    false
}

/// Puts callees before their callers, and leaves the order as it is otherwise.
pub(crate) fn sort<T>(mut members: Vec<T>, name: impl Fn(&T) -> &str, uses: impl Fn(&T) -> &[String]) -> Vec<T> {
    let mut sorted: Vec<T> = Vec::with_capacity(members.len());
    while !members.is_empty() {
        let waits = |member: &T| {
            let mut others = members.iter().filter(|other| name(other) != name(member));
            others.any(|other| uses(member).iter().any(|used| used == name(other)))
        };
        // In a cycle no order is right, so keep the given one.
        let next = members.iter().position(|member| !waits(member)).unwrap_or(0);
        sorted.push(members.remove(next));
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::{UseGraph, cycle, sort};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn cycle_of_any_length_is_found_and_named() {
        let known: UseGraph = [
            ("b".into(), names(&["x", "c"])),
            ("c".into(), names(&["d"])),
            ("d".into(), names(&["a", "b"])),
        ]
        .into();
        assert_eq!(cycle(&known, "a", &names(&["b"])).unwrap(), ["a", "b", "c", "d", "a"]);
        assert_eq!(
            cycle(&known, "e", &names(&["b"])),
            None,
            "a circle among others is none of its own"
        );
        assert_eq!(cycle(&known, "a", &names(&["a"])).unwrap(), ["a", "a"]);
    }

    #[test]
    fn those_that_are_called_come_first() {
        let members = vec![
            ("desk", names(&["risk", "pricer"])),
            ("risk", names(&["pricer"])),
            ("pricer", names(&["nobody"])),
        ];
        let sorted = sort(members, |member| member.0, |member| &member.1);
        let order: Vec<_> = sorted.iter().map(|member| member.0).collect();
        assert_eq!(order, ["pricer", "risk", "desk"]);
    }

    #[test]
    fn members_of_a_cycle_are_all_kept() {
        let members = vec![("a", names(&["b"])), ("b", names(&["a"])), ("c", Vec::new())];
        assert_eq!(sort(members, |member| member.0, |member| &member.1).len(), 3);
    }
}
