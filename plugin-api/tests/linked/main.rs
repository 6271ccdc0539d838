//! Plugins that are linked into this program, driven as a host drives them: through their root and their table.

mod desk;
mod host;
mod logs;
mod panics;
mod peers;
mod workers;
