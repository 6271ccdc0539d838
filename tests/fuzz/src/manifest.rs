//! The text of a manifest.

use crate::is_safe_for_a_terminal;
use reslot::artifact::{Difference, Interface, Manifest, compare};

/// Any text as a manifest, and as an interface alone.
pub fn manifest(bytes: &[u8]) {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            let text = serde_json::to_vec(&manifest).expect("a manifest can be written");
            assert_eq!(
                Manifest::parse(&text).as_ref(),
                Ok(&manifest),
                "a manifest does not survive being written"
            );
            let plain = |name: &String| !name.is_empty() && name.len() <= 64 && name.is_ascii();
            assert!(plain(&manifest.name) && manifest.uses.iter().all(plain));
            interface(&manifest.interface);
        }
        Err(error) => is_safe_for_a_terminal(&error.to_string()),
    }
    match Interface::parse(bytes) {
        Ok(found) => interface(&found),
        Err(error) => is_safe_for_a_terminal(&error.to_string()),
    }
}

fn interface(interface: &Interface) {
    is_safe_for_a_terminal(&interface.to_string());
    // An interface fits itself, unless it is in the wrong order already.
    if let Err(differences) = compare(interface, interface) {
        for difference in differences {
            is_safe_for_a_terminal(&difference.to_string());
            assert!(matches!(difference, Difference::NotAtEnd { .. }), "{difference}");
        }
    }
}
