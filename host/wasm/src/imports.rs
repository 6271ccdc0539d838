//! The functions that a module imports.

use crate::sandbox::{Back, Data, Invalid, LENT};
use reslot_plugin_api::guest::IMPORTS;
use std::time::{SystemTime, UNIX_EPOCH};
use wasmtime::{Caller, Engine, Linker, Memory, Result};

/// Their names.
pub(crate) const NAMES: [&str; 7] = ["call", "take_reply", "failed", "panicked", "contained", "log", "time"];

/// The longest text that the module sends. The guest cuts what is longer.
const LONGEST_TEXT: usize = 32 << 10;

pub(crate) fn linker(engine: &Engine) -> Result<Linker<Data>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(IMPORTS, "call", call)?;
    linker.func_wrap(IMPORTS, "take_reply", take_reply)?;
    linker.func_wrap(
        IMPORTS,
        "failed",
        |mut caller: Caller<'_, Data>, method: u32, text: u32, len: u32| {
            let why = read_text(&mut caller, text, len)?;
            tracing::debug!(method, "a plugin's call to an object of the host failed: {why}");
            Ok(())
        },
    )?;
    linker.func_wrap(
        IMPORTS,
        "panicked",
        |mut caller: Caller<'_, Data>, message: u32, len: u32, location: u32, location_len: u32| {
            let (message, location) = (
                read_text(&mut caller, message, len)?,
                read_text(&mut caller, location, location_len)?,
            );
            let data = caller.data_mut();
            data.owner.panicked(&message, &location);
            data.panic = Some(format!("{message} (at {location})"));
            Ok(())
        },
    )?;
    linker.func_wrap(IMPORTS, "contained", |mut caller: Caller<'_, Data>, text: u32, len: u32| {
        let message = read_text(&mut caller, text, len)?;
        caller.data().owner.contained(&message);
        Ok(())
    })?;
    linker.func_wrap(
        IMPORTS,
        "log",
        |mut caller: Caller<'_, Data>, level: u32, target: u32, target_len: u32, message: u32, len: u32| {
            let (target, message) = (
                read_text(&mut caller, target, target_len)?,
                read_text(&mut caller, message, len)?,
            );
            caller.data().owner.record(level, &target, &message);
            Ok(())
        },
    )?;
    linker.func_wrap(IMPORTS, "time", || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })?;
    Ok(linker)
}

fn memory(caller: &Caller<'_, Data>) -> Result<Memory> {
    // A start function runs before the exports are known.
    caller
        .data()
        .memory
        .ok_or_else(|| Invalid("it called the host before it was started".to_owned()).into())
}

/// The range of a text or a message, which `get` checks against the memory.
fn range(address: u32, len: u32) -> std::ops::Range<usize> {
    address as usize..(address as usize).saturating_add(len as usize)
}

fn outside() -> wasmtime::Error {
    Invalid("it gave the host an address outside of its memory".to_owned()).into()
}

fn read_text(caller: &mut Caller<'_, Data>, address: u32, len: u32) -> Result<String> {
    let bytes = memory(caller)?.data(&*caller).get(range(address, len)).ok_or_else(outside)?;
    let bytes = &bytes[..bytes.len().min(LONGEST_TEXT)];
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// A call of an object that the host has lent.
fn call(
    mut caller: Caller<'_, Data>,
    handle: u64,
    method: u32,
    address: u32,
    len: u32,
    reply: u32,
    capacity: u32,
) -> Result<u64> {
    let memory = memory(&caller)?;
    let (given, data) = memory.data_and_store_mut(&mut caller);
    let given = given.get(range(address, len)).ok_or_else(outside)?;
    // The module could change its memory in a call back.
    let mut request = data.buffers.pop().unwrap_or_default();
    request.clear();
    request.extend_from_slice(given);
    let mut answer = std::mem::take(&mut data.reply);
    answer.clear();
    let (code, refused) = LENT.with(|lent| lent.serve(handle, method, &request, &mut answer, &Back::new(&mut caller)));
    if let Some(fatal) = caller.data_mut().fatal.take() {
        return Err(fatal);
    }
    if let Some(error) = refused {
        tracing::debug!(method, "a plugin's call to an object of the host was refused: {error}");
    }
    let (room, data) = memory.data_and_store_mut(&mut caller);
    data.buffers.push(request);
    let answer_len =
        u32::try_from(answer.len()).map_err(|_| Invalid("an answer of the host is too long for it".to_owned()))?;
    if answer_len <= capacity {
        let room = room.get_mut(range(reply, answer_len)).ok_or_else(outside)?;
        room.copy_from_slice(&answer);
    }
    data.reply = answer;
    Ok(u64::from(code) << 32 | u64::from(answer_len))
}

/// Writes the reply of the last call.
fn take_reply(mut caller: Caller<'_, Data>, address: u32) -> Result<()> {
    let (room, data) = memory(&caller)?.data_and_store_mut(&mut caller);
    let len = u32::try_from(data.reply.len()).unwrap_or(u32::MAX);
    let room = room.get_mut(range(address, len)).ok_or_else(outside)?;
    room.copy_from_slice(&data.reply);
    Ok(())
}
