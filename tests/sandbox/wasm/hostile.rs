//! Modules that no compiler makes.

use crate::{Heard, Place, TICK, plugin};
use reslot::{EndCause, Fault};
use reslot_wasm::Wasm;

/// A module with the exports of ours, whose `reslot_call` is this, and which has the manifest of the real one.
pub(crate) fn module(call: &str) -> Vec<u8> {
    let real = plugin::module();
    let mut bytes = wat::parse_str(format!(
        r#"(module
            (import "reslot" "call" (func $call (param i64 i32 i32 i32 i32 i32) (result i64)))
            (memory (export "memory") 2)
            (func (export "reslot_abi") (result i32) i32.const 1)
            (func (export "reslot_log_level") (param i32))
            (func (export "reslot_room") (param i32 i32) (result i32) i32.const 1024)
            ;; `Health` is well, and there is no state.
            (func (export "reslot_hook") (param $hook i32) (param i32 i32 i32 i32) (result i64)
                (select (i64.const 0x0000004000000004) (i64.const 0x0000000100000000) (i32.eq (local.get $hook) (i32.const 4))))
            (func (export "reslot_call") (param $target i64) (param $method i32) (param $at i32) (param $len i32) (result i64) {call}))"#
    ))
    .expect("it is a module");
    let manifest = manifest(&real);
    bytes.push(0);
    let name = b".reslot.manifest";
    leb(&mut bytes, 1 + name.len() + manifest.len());
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(manifest);
    bytes
}

fn leb(into: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        into.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// The text of the real module's manifest.
fn manifest(real: &[u8]) -> &[u8] {
    let begins = b"{\"reslot\":";
    let at = real
        .windows(begins.len())
        .position(|part| part == begins)
        .expect("it has one");
    let mut depth = 0;
    let len = real[at..].iter().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    &real[at..=at + len.expect("it ends")]
}

/// The error of a call of such a module.
fn error_of(call: &str) -> Fault {
    let place = Place::new(Wasm::new());
    place.load(&module(call));
    let mut plugin = place.claim();
    let error = plugin.on_tick(&TICK, &mut Heard(Vec::new())).expect_err("it is nonsense");
    error.fault().clone()
}

#[test]
fn reply_outside_of_the_memory_ends_the_instance() {
    for call in [
        // 4 GiB claimed, at the address 0; and some bytes beyond the end.
        "i64.const 0x00000000ffffffff",
        "i64.const 0x0001fff000000020",
        "i64.const 0xfffffff0ffffffff",
    ] {
        let fault = error_of(call);
        let Fault::InstanceEnded(end) = &fault else {
            panic!("{fault:?}")
        };
        assert!(
            matches!(&end.cause, EndCause::Protocol { what } if what.contains("outside")),
            "{end}"
        );
    }
}

#[test]
fn nonsense_in_a_reply_is_refused_and_the_instance_lives() {
    // No bytes, too many bytes, and a code that does not exist.
    for call in ["i64.const 0", "i64.const 64", "i64.const 0x0000000d00000000"] {
        let fault = error_of(call);
        assert!(matches!(fault, Fault::NotCarried { .. }), "{fault:?}");
    }
}

#[test]
fn claimed_panic_of_the_host_unwinds_nobody() {
    let fault = error_of("i64.const 0x0000000200000000");
    assert!(matches!(fault, Fault::NotCarried { .. }), "{fault:?}");
}

#[test]
fn handles_that_were_never_lent_are_refused() {
    // The answer's code is returned as the code of the call: `REJECTED`, with the reply that was written at 2048.
    let fault = error_of(
        "(local $answer i64)
         (local.set $answer (call $call (i64.const 77) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048) (i32.const 512)))
         (i64.or (i64.shl (i64.or (i64.const 2048) (i64.shr_u (local.get $answer) (i64.const 32))) (i64.const 32))
                 (i64.and (local.get $answer) (i64.const 0xffffffff)))",
    );
    let Fault::NotCarried { reason } = &fault else {
        panic!("{fault:?}")
    };
    assert!(reason.contains("lent at present"), "{reason}");
}

#[test]
fn request_outside_of_the_memory_ends_the_instance() {
    let fault =
        error_of("(call $call (i64.const 77) (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 2048) (i32.const 512))");
    assert!(
        matches!(&fault, Fault::InstanceEnded(end) if matches!(end.cause, EndCause::Protocol { .. })),
        "{fault:?}"
    );
}

/// Why a file is refused.
fn refusal(bytes: &[u8], ends: &str) -> String {
    let place = Place::new(Wasm::new());
    let path = place.publish(bytes, ends);
    place.host.load(path).expect_err("it is refused").to_string()
}

#[test]
fn import_that_is_not_ours_is_refused() {
    let module = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#,
    );
    let words = refusal(&module.expect("it is a module"), "wasm");
    assert!(words.contains("wasi_snapshot_preview1.fd_write"), "{words}");
}

#[test]
fn component_is_refused() {
    let words = refusal(&wat::parse_str("(component)").expect("it is one"), "wasm");
    assert!(words.contains("component"), "{words}");
}

#[test]
fn module_that_is_no_plugin_is_refused() {
    let words = refusal(&wat::parse_str("(module)").expect("it is one"), "wasm");
    assert!(words.contains("does not export `reslot_abi`"), "{words}");
}

#[test]
fn forged_cwasm_is_not_run() {
    // What wasmtime writes is an ELF file.
    let mut forged = b"\x7fELF\x02\x01\x01\xc8".to_vec();
    forged.resize(4096, 0);
    for ends in ["cwasm", "wasm"] {
        let words = refusal(&forged, ends);
        assert!(!words.is_empty(), "{ends}");
    }
}

#[test]
fn truncated_modules_are_refused() {
    let real = plugin::module();
    for len in [0, 3, 4, 8, 9, 100, real.len() / 2, real.len() - 1] {
        let words = refusal(&real[..len], "wasm");
        assert!(!words.is_empty(), "{len} bytes");
    }
}
