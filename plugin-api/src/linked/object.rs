//! An object of a linked plugin's type, with the attachment for which it was made.

use crate::{
    attachment::{Attachment, with_current},
    exports::Place,
    interface::{Access, Implements, Status, contain},
};
use std::marker::PhantomData;

/// Objects of linked plugins: `data` points to an `Object<T>`.
pub struct Linked<T>(PhantomData<T>);

struct Object<T> {
    /// None if it was made outside of [`within`](super::LinkedImage::within): then it has no host.
    attachment: Option<Attachment>,
    value: T,
}

// SAFETY: `data` of such an object is the pointer that `Place::create` below made from a `Box<Object<T>>`.
unsafe impl<T> Access for Linked<T> {
    type Target = T;

    #[inline(always)]
    unsafe fn get<'a>(data: *mut ()) -> &'a T {
        // SAFETY: the caller's promise. The attachment is never changed, so that references to it may exist besides.
        unsafe { &(*data.cast::<Object<T>>()).value }
    }

    #[inline(always)]
    unsafe fn get_mut<'a>(data: *mut ()) -> &'a mut T {
        // SAFETY: as above; the reference is to the value alone.
        unsafe { &mut (*data.cast::<Object<T>>()).value }
    }

    #[inline(always)]
    unsafe fn contain(data: *mut (), body: impl FnOnce()) -> Status {
        // SAFETY: the caller's promise; the object outlives the call.
        let attachment = unsafe { &(*data.cast::<Object<T>>()).attachment };
        let _entered = attachment.as_ref().map(Attachment::enter_call);
        contain(body)
    }
}

// SAFETY: as above.
unsafe impl<T> Place<T> for Linked<T> {
    const IS_LINKED: bool = true;

    fn table<I: ?Sized + Implements<T>>() -> *const () {
        I::LINKED_TABLE
    }

    fn create() -> *mut ()
    where
        T: Default,
    {
        let mut object = Box::<Object<T>>::new_uninit();
        let place = object.as_mut_ptr();
        // SAFETY: both fields are written before the object is used; should `default` panic, the room for it is given back. The value is
        // made where it stays, as with `Box::default`: it may be larger than a stack.
        unsafe {
            (&raw mut (*place).value).write(T::default());
            (&raw mut (*place).attachment).write(with_current(|current| current.cloned()));
            Box::into_raw(object.assume_init()).cast()
        }
    }

    unsafe fn destroy(data: *mut ()) {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(data.cast::<Object<T>>()) });
    }

    unsafe fn inside<R>(data: *const (), body: impl FnOnce(Option<&Attachment>) -> R) -> R {
        // SAFETY: the caller's promise; the reference is to the attachment alone, which nobody changes.
        let attachment = unsafe { &(*data.cast::<Object<T>>()).attachment };
        // `body` may drop the object.
        let attachment = attachment.clone();
        let _entered = attachment.as_ref().map(Attachment::enter);
        body(attachment.as_ref())
    }
}
