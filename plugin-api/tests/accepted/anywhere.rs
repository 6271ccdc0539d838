//! An interface may stand in a function, a block or a private module, come out of a macro, and name types by their paths.
#![forbid(unsafe_code)]
#![deny(warnings)]

use reslot_plugin_api::Interface;

mod types {
    use reslot_plugin_api::Crossing;

    #[derive(Crossing, Clone, Copy)]
    #[repr(C)]
    pub(super) struct Tick {
        pub(super) bid: f64,
    }
}

mod interfaces {
    use reslot_plugin_api::interface;

    #[interface]
    pub(crate) trait Sink {
        fn send(&mut self, tick: &super::types::Tick);
    }
}

macro_rules! declare {
    ($name:ident, $method:ident, $argument:ident: $of:ty, $result:ty, $body:expr) => {
        #[reslot_plugin_api::interface]
        trait $name {
            fn required(&self) -> u32;
            fn $method(&mut self, $argument: $of, other: u32) -> $result;
            #[since("1.1")]
            fn later(&mut self, $argument: $of) -> u32 {
                let _ = $argument;
                self.required() + $body
            }
        }
    };
}

declare!(FromMacro, act, sink: &mut dyn interfaces::Sink, u64, 1);
declare!(Text, act, text: &str, String, 2);

fn main() {
    use reslot_plugin_api::{Crossing, interface};

    #[derive(Crossing)]
    #[repr(C)]
    struct Local {
        value: u32,
    }

    #[interface]
    trait Inside {
        fn take(&self, local: &Local) -> u32;
        fn lend(&self, sink: &mut dyn interfaces::Sink);
        fn elided(&'_ self, text: &'_ str) -> &'_ str;
    }

    {
        #[interface]
        trait Inside {
            fn take(&self) -> u32;
        }
        assert_eq!(<dyn Inside as Interface>::DESCRIPTION.methods.len(), 1);
    }
    assert_eq!(<dyn Inside as Interface>::DESCRIPTION.methods.len(), 3);
    assert_eq!(<dyn FromMacro as Interface>::DESCRIPTION.methods.len(), 3);
    assert_eq!(<dyn Text as Interface>::DESCRIPTION.minor, 1);
    let _ = (Local { value: 1 }.value, types::Tick { bid: 1.0 }.bid);
}
