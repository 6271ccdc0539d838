//! `reslot top` in a terminal, with a real host in this process and real plugins: its screen, its keys, and its end.

mod ends;
mod place;
mod shows;
