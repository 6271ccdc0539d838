//! The time of day, which a plugin in WebAssembly gets from its host.

use std::time::SystemTime;

/// The time of day. It works wherever the plugin runs; in WebAssembly, `SystemTime::now()` and `Instant::now()` panic.
///
/// ```
/// use std::time::SystemTime;
///
/// let since_1970 = reslot_plugin_api::now().duration_since(SystemTime::UNIX_EPOCH)?;
/// assert!(since_1970.as_secs() > 1_700_000_000);
/// # Ok::<(), std::time::SystemTimeError>(())
/// ```
#[must_use]
pub fn now() -> SystemTime {
    #[cfg(target_arch = "wasm32")]
    return SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(crate::guest::host::time());
    #[cfg(not(target_arch = "wasm32"))]
    SystemTime::now()
}
