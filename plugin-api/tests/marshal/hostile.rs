//! Bytes that a correct other side does not send. Each is a typed error, nothing of it reaches the caller, and the next call is
//! served.

use crate::{
    allocations,
    interfaces::{Orders, Shapes, book, level},
    loopback::{Outcome, Served, words},
    shapes::shapes,
};
use reslot_plugin_api::__private::marshal::{MarshalError, code};

/// Replaces the plugin's reply.
fn reply(shapes: &Served<dyn Shapes>, ended: u32, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref().to_vec();
    shapes.tamper(move |message| {
        if message.to_plugin && message.code.is_some() {
            (message.code, message.bytes) = (Some(ended), bytes.clone());
        }
    });
}

/// Replaces the host's request.
fn request(shapes: &Served<dyn Shapes>, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref().to_vec();
    shapes.tamper(move |message| {
        if message.to_plugin && message.code.is_none() {
            message.bytes.clone_from(&bytes);
        }
    });
}

#[test]
fn invalid_bool_char_and_enum_are_no_values() -> Outcome {
    let mut shapes = shapes();
    for byte in 2..=255_u8 {
        reply(&shapes, code::OK, [byte]);
        assert_eq!(words(shapes.flag(true)), "Marshal(Value { at: 0, of: \"bool\" })");
    }
    for letter in [0xD800_u32, 0xDFFF, 0x11_0000, u32::MAX] {
        reply(&shapes, code::OK, letter.to_ne_bytes());
        assert_eq!(words(shapes.letter('a')), "Marshal(Value { at: 0, of: \"char\" })");
    }
    for side in [0_i16, -4, 299, i16::MIN] {
        reply(&shapes, code::OK, side.to_ne_bytes());
        assert_eq!(
            words(shapes.side(crate::interfaces::Side::Buy)),
            "Marshal(Value { at: 0, of: \"Side\" })"
        );
    }
    // The same inside of a struct, on the plugin's side.
    let messages = shapes.messages(|shapes| drop(shapes.read(&book())));
    for (at, byte) in [(56, 1), (58, 2), (60, 0xFF), (64, 3), (66, 0x80)] {
        let mut bytes = messages[0].bytes.clone();
        bytes[at] = byte;
        if at == 60 {
            bytes[60..64].copy_from_slice(&0xD900_u32.to_ne_bytes());
        }
        request(&shapes, &bytes);
        assert_eq!(
            words(shapes.read(&book())),
            "Rejected(Value { at: 0, of: \"the argument's type\" })"
        );
        assert_eq!(shapes.refusals(), [MarshalError::Value { at: 0, of: "Book" }]);
    }
    request(&shapes, &messages[0].bytes);
    assert_eq!(shapes.read(&book())?, 9.25);
    Ok(())
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let shapes = shapes();
    reply(&shapes, code::OK, [&2_u32.to_ne_bytes()[..], b"\xC3\x28"].concat());
    assert_eq!(words(shapes.text(1)), "Marshal(Utf8 { at: 4 })");
    request(&shapes, [&1_u32.to_ne_bytes()[..], b"\xFF"].concat());
    assert_eq!(words(shapes.length("a")), "Rejected(Utf8 { at: 4 })");
}

#[test]
fn length_of_four_gib_is_refused_and_nothing_allocated() {
    let mut shapes = shapes();
    let claimed = u32::MAX.to_ne_bytes();
    let long = [&claimed[..], &[0; 64]].concat();
    type Ask = fn(&mut Served<dyn Shapes>) -> String;
    let results: [Ask; 4] = [
        |shapes| words(shapes.text(1)),
        |shapes| words(shapes.texts()),
        |shapes| words(shapes.lists()),
        |shapes| words(shapes.books(&[])),
    ];
    for ask in results {
        reply(&shapes, code::OK, &long);
        let (words, most) = allocations::largest(|| ask(&mut shapes));
        assert_eq!(words, format!("Marshal(Length {{ at: 4, claimed: {} }})", u32::MAX));
        assert!(most < 1 << 16, "{most} bytes were allocated");
    }
    let arguments: [Ask; 2] = [
        |shapes| words(shapes.length("")),
        |shapes| words(shapes.flip(&mut [], &mut [level(1)], &mut 0)),
    ];
    for ask in arguments {
        request(&shapes, &long);
        let (words, most) = allocations::largest(|| ask(&mut shapes));
        assert_eq!(words, format!("Rejected(Length {{ at: 4, claimed: {} }})", u32::MAX));
        assert!(most < 1 << 16, "{most} bytes were allocated");
    }
    // Elements without bytes need no memory, but the host would read them for a minute.
    reply(&shapes, code::OK, claimed);
    let found = words(shapes.empty(crate::interfaces::Nothing, &[]));
    assert_eq!(found, format!("Marshal(Length {{ at: 4, claimed: {} }})", u32::MAX));
}

#[test]
fn truncated_message_is_refused_wherever_it_ends() {
    let mut shapes = shapes();
    let mut flags = [true; 3];
    let messages = shapes.messages(|shapes| {
        shapes.books(&[book(), book()]).expect("a reply");
        shapes.deep().expect("a reply");
        shapes.flip(&mut [true; 3], &mut [level(1)], &mut 0).expect("a reply");
    });
    for cut in 0..messages[0].bytes.len() {
        request(&shapes, &messages[0].bytes[..cut]);
        let found = words(shapes.books(&[]));
        assert!(
            found.starts_with("Rejected(Truncated") || found.starts_with("Rejected(Length"),
            "{cut}: {found}"
        );
    }
    for cut in 0..messages[1].bytes.len() {
        reply(&shapes, code::OK, &messages[1].bytes[..cut]);
        let found = words(shapes.books(&[]));
        assert!(
            found.starts_with("Marshal(Truncated") || found.starts_with("Marshal(Length"),
            "{cut}: {found}"
        );
    }
    for cut in 0..messages[3].bytes.len() {
        reply(&shapes, code::OK, &messages[3].bytes[..cut]);
        let found = words(shapes.deep());
        assert!(
            found.starts_with("Marshal(Truncated") || found.starts_with("Marshal(Length"),
            "{cut}: {found}"
        );
    }
    for cut in 0..messages[5].bytes.len() {
        reply(&shapes, code::OK, &messages[5].bytes[..cut]);
        let (mut levels, mut last) = ([level(7)], 7);
        words(shapes.flip(&mut flags, &mut levels, &mut last));
        assert_eq!(
            (flags, levels, last),
            ([true; 3], [level(7)], 7),
            "nothing of an invalid reply is copied back"
        );
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let mut shapes = shapes();
    reply(&shapes, code::OK, [0, 0]);
    assert_eq!(words(shapes.flag(true)), "Marshal(Trailing { at: 1 })");
    request(&shapes, [1, 0]);
    assert_eq!(words(shapes.flag(true)), "Rejected(Trailing { at: 1 })");
    for ended in [code::PANICKED, code::CALLBACK, code::FAILED] {
        reply(&shapes, ended, [0]);
        assert_eq!(words(shapes.flag(true)), "Marshal(Trailing { at: 0 })");
    }
    let mut last = 3;
    let messages = shapes.messages(|shapes| shapes.flip(&mut [], &mut [], &mut 0).expect("a reply"));
    reply(&shapes, code::OK, [&messages[1].bytes[..], &[0]].concat());
    words(shapes.flip(&mut [], &mut [], &mut last));
    assert_eq!(last, 3);
}

#[test]
fn slice_that_comes_back_longer_or_shorter_is_refused() {
    let mut shapes = shapes();
    let messages = shapes.messages(|shapes| shapes.flip(&mut [true; 3], &mut [], &mut 0).expect("a reply"));
    reply(&shapes, code::OK, &messages[1].bytes);
    let mut flags = [true; 2];
    assert_eq!(
        words(shapes.flip(&mut flags, &mut [], &mut 0)),
        "Marshal(OtherLength { sent: 2, found: 3 })"
    );
    let mut flags = [true; 4];
    assert_eq!(
        words(shapes.flip(&mut flags, &mut [], &mut 0)),
        "Marshal(OtherLength { sent: 4, found: 3 })"
    );
    assert_eq!(flags, [true; 4]);
}

#[test]
fn wrong_method_index_is_refused() {
    let shapes = shapes();
    let methods = <dyn Shapes as reslot_plugin_api::Interface>::DESCRIPTION.methods.len() as u32;
    for wrong in [methods, methods + 1, u32::MAX] {
        shapes.tamper(move |message| {
            if message.code.is_none() {
                message.method = wrong;
            }
        });
        assert_eq!(words(shapes.flag(true)), format!("Rejected(Method {{ index: {wrong} }})"));
    }
    let name = crate::loopback::index::<dyn Shapes>("name");
    shapes.tamper(move |message| {
        if message.code.is_none() {
            message.method = name;
        }
    });
    assert_eq!(words(shapes.flag(true)), format!("Rejected(Borrowed {{ index: {name} }})"));
    // The same for an object that the host lends.
    let mut shapes = self::shapes();
    shapes.tamper(|message| {
        if !message.to_plugin && message.code.is_none() {
            message.method = 6;
        }
    });
    words(shapes.feed(&mut Orders::default(), 1));
    assert_eq!(shapes.refusals(), [MarshalError::Method { index: 6 }]);
}

#[test]
fn unknown_codes_tags_and_reasons_are_refused() {
    let shapes = shapes();
    for ended in [5, 6, u32::MAX] {
        reply(&shapes, ended, []);
        assert_eq!(words(shapes.flag(true)), format!("Marshal(Status {{ found: {ended} }})"));
    }
    for tag in [2, 255] {
        reply(&shapes, code::OK, [tag]);
        assert_eq!(words(shapes.maybe(true)), format!("Marshal(Tag {{ at: 0, found: {tag} }})"));
        assert_eq!(
            words(shapes.unit_result(true)),
            format!("Marshal(Tag {{ at: 0, found: {tag} }})")
        );
    }
    reply(&shapes, code::REJECTED, []);
    assert!(words(shapes.flag(true)).starts_with("Marshal(Truncated"));
    let reason = |number: u32| [&[9; 16][..], &number.to_ne_bytes()].concat();
    for number in 0..=16 {
        reply(&shapes, code::REJECTED, reason(number));
        assert!(words(shapes.flag(true)).starts_with("Rejected("));
    }
    reply(&shapes, code::REJECTED, reason(17));
    assert!(words(shapes.flag(true)).starts_with("Marshal(Tag"));
}

#[test]
fn each_reason_of_a_refusal_crosses() {
    let shapes = shapes();
    for (at, byte) in [(4_u32, 0xFF_u8), (0, 200)] {
        let mut bytes = [&1_u32.to_ne_bytes()[..], b"a"].concat();
        bytes[at as usize] = byte;
        request(&shapes, &bytes);
        let sent = words(shapes.length("a"));
        let refused = shapes.refusals();
        assert_eq!(sent, format!("Rejected({:?})", refused[0]));
    }
}

#[test]
fn transport_that_fails_is_a_typed_error() -> Outcome {
    let shapes = shapes();
    for (broken, expected) in [
        ("the child has ended", "Engine(\"the child has ended\")"),
        ("no reply", "NoReply"),
        ("panic", "Panicked"),
    ] {
        *shapes.kept.wire.broken.lock().expect("not poisoned") = Some(broken);
        assert_eq!(words(shapes.flag(true)), expected);
        assert!(!shapes.flag(true)?);
    }
    Ok(())
}
