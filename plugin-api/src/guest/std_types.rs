//! The forms of values between a function table and the code that decodes messages. Both are in this module, so they need no fixed
//! layout.

use std::ops::{Deref, DerefMut};

pub type RString = String;
pub type RVec<T> = Vec<T>;

#[derive(Clone, Copy)]
pub struct RStr<'a>(&'a str);

impl<'a> RStr<'a> {
    pub const fn from_str(text: &'a str) -> Self {
        Self(text)
    }

    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

pub struct RSlice<'a, T>(&'a [T]);

impl<'a, T> RSlice<'a, T> {
    pub const fn from_slice(slice: &'a [T]) -> Self {
        Self(slice)
    }

    pub const fn as_slice(&self) -> &'a [T] {
        self.0
    }
}

pub struct RSliceMut<'a, T>(&'a mut [T]);

impl<'a, T> RSliceMut<'a, T> {
    pub fn from_mut_slice(slice: &'a mut [T]) -> Self {
        Self(slice)
    }

    pub fn into_mut_slice(self) -> &'a mut [T] {
        self.0
    }
}

impl<T> RSliceMut<'_, T> {
    pub fn as_slice(&self) -> &[T] {
        self.0
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.0
    }
}

impl<T> Deref for RSlice<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0
    }
}

impl<T> Deref for RSliceMut<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0
    }
}

impl<T> DerefMut for RSliceMut<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0
    }
}

impl Deref for RStr<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

pub enum ROption<T> {
    RSome(T),
    RNone,
}

impl<T> From<Option<T>> for ROption<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::RNone, Self::RSome)
    }
}

pub enum RResult<T, E> {
    ROk(T),
    RErr(E),
}
