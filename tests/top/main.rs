//! `reslot top` in a terminal, on a real host in this process with real plugins: what it shows, what its keys do, and how it ends.

mod ends;
mod place;
mod shows;
