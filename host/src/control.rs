//! Running hosts, looked at and steered from outside of their process: the control socket. `protocol` says what goes over it.

pub mod protocol;
