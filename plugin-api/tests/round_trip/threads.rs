//! Which clients may be called from many threads, and what stays on its own.

use crate::{
    served::{Served, Through, connect},
    shapes::{ShapesClient, SinkProxy},
};
use reslot_plugin_api::{Shared, interface};

#[test]
fn only_interfaces_without_mut_methods_are_shared() {
    #[interface]
    trait Quiet {
        fn price(&self, bid: f64) -> f64;
    }
    struct Flat;
    impl Quiet for Flat {
        fn price(&self, bid: f64) -> f64 {
            bid
        }
    }
    fn shared<I: ?Sized + Shared>() {}
    shared::<dyn Quiet>();

    let quiet: Served<dyn Quiet> = connect(Flat, Through::Claim);
    let client: &QuietClient = &quiet;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(client.price(2.0).ok(), Some(2.0)));
        }
    });

    // Ambiguous, and so an error, if the client or a proxy of an interface with `&mut self` methods could be shared or sent.
    trait NotSync<Marker> {
        fn holds() {}
    }
    impl<T: ?Sized> NotSync<()> for T {}
    impl<T: ?Sized + Sync> NotSync<u8> for T {}
    <ShapesClient as NotSync<_>>::holds();
    <SinkProxy<'static> as NotSync<_>>::holds();
    <QuietProxy<'static> as NotSync<_>>::holds();
    trait NotSend<Marker> {
        fn holds() {}
    }
    impl<T: ?Sized> NotSend<()> for T {}
    impl<T: ?Sized + Send> NotSend<u8> for T {}
    <SinkProxy<'static> as NotSend<_>>::holds();
    <QuietProxy<'static> as NotSend<_>>::holds();
    <ShapesClient as NotSend<_>>::holds();
}
