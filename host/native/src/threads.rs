//! The names of threads of this process.

/// The name of a thread of this process and its number in the kernel.
pub(crate) fn name(number: u32) -> String {
    match std::fs::read_to_string(format!("/proc/self/task/{number}/comm")) {
        Ok(name) => format!("{:?} (thread {number})", name.trim_end()),
        Err(_) => format!("thread {number}"),
    }
}
