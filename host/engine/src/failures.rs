//! Calls of a remote instance that failed on their way, stored per thread from the transport's error until the host takes it for the error of
//! the call. They are to calls as bytes what [`panics`](crate::panics) are to calls in this process.

use crate::engine::ImageId;
use reslot_plugin_api::InstanceEnd;
use std::cell::RefCell;

/// Why a call of a remote instance failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFailure {
    /// The call or its answer could not be carried. The instance lives.
    NotCarried(String),
    /// The instance has ended, in this call or before it.
    Ended(InstanceEnd),
}

reslot_sync::thread_local! {
    /// The last failure on this thread that was not taken, with its image.
    static LAST: RefCell<Option<(ImageId, CallFailure)>> = const { RefCell::new(None) };
}

/// Stores the failure of the call that runs on this thread. If the call has one already, the end of the instance wins, and otherwise the
/// first one: what fails later is its consequence.
pub fn remember(image: ImageId, failure: CallFailure) {
    let _ = LAST.try_with(|last| {
        let Ok(mut last) = last.try_borrow_mut() else { return };
        let keeps = match (&*last, &failure) {
            (Some((of, CallFailure::Ended(_))), _) => *of == image,
            (Some((of, CallFailure::NotCarried(_))), CallFailure::NotCarried(_)) => *of == image,
            _ => false,
        };
        if !keeps {
            *last = Some((image, failure));
        }
    });
}

/// Takes the failure of an image's call on this thread.
#[must_use]
pub fn take(image: ImageId) -> Option<CallFailure> {
    LAST.try_with(|last| last.try_borrow_mut().ok()?.take_if(|(of, _)| *of == image))
        .ok()
        .flatten()
        .map(|(_, failure)| failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reslot_plugin_api::EndCause;

    #[test]
    fn the_end_of_an_instance_explains_what_fails_after_it() {
        let lost = |words: &str| CallFailure::NotCarried(words.to_owned());
        let ended = CallFailure::Ended(InstanceEnd::new(
            EndCause::Exited {
                code: 3,
                last_words: String::new(),
            },
            0,
        ));
        remember(1, lost("first"));
        remember(1, lost("second"));
        assert_eq!(take(2), None, "of another image");
        assert_eq!(take(1), Some(lost("first")));
        assert_eq!(take(1), None);
        remember(1, lost("first"));
        remember(1, ended.clone());
        remember(1, lost("third"));
        assert_eq!(take(1), Some(ended));
        remember(1, lost("of image 1"));
        remember(2, lost("of image 2"));
        assert_eq!(take(2), Some(lost("of image 2")));
    }
}
