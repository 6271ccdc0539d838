//! The interface as abi_stable's documentation has one: a trait object in a root module, and another for what is called back.
#![allow(
    missing_docs,
    non_camel_case_types,
    non_local_definitions,
    unused_qualifications,
    clippy::all,
    reason = "generated, and abi_stable's names"
)]

use abi_stable::{
    StableAbi, declare_root_module_statics,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, RSlice, RString},
};

#[sabi_trait]
pub trait Hears {
    fn hear(&mut self, n: u64) -> u64;
}

#[sabi_trait]
pub trait Bodies: Send + Sync {
    fn add(&mut self, x: u64) -> u64;
    fn lent(&self, count: &mut u64, x: u64) -> u64;
    fn work(&self, x: u64) -> u64;
    fn sum(&self, numbers: RSlice<'_, f64>) -> f64;
    fn text(&self) -> RString;
    #[sabi(last_prefix_field)]
    fn callback(&self, listener: Hears_TO<'_, abi_stable::RMut<'_, ()>>, x: u64) -> u64;
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = Root_Ref)))]
#[sabi(missing_field(panic))]
pub struct Root {
    #[sabi(last_prefix_field)]
    pub make: extern "C" fn() -> Bodies_TO<'static, RBox<()>>,
}

impl RootModule for Root_Ref {
    declare_root_module_statics! {Root_Ref}
    const BASE_NAME: &'static str = "call_abi";
    const NAME: &'static str = "call_abi";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
