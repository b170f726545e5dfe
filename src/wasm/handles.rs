//! What JavaScript holds by number.

use std::mem;
use std::process::abort;
use std::sync::Mutex;

/// What JavaScript calls a thing.
pub(super) type Handle = u32;

/// Things by handle; `None` where the handle is free, and while the thing is asked.
pub(super) struct Handles<T>(Mutex<Vec<Option<Box<T>>>>);

impl<T> Handles<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Keeps a thing under a handle that is free.
    pub(super) fn add(&self, thing: T) -> Handle {
        let mut all = self.0.try_lock().unwrap_or_else(|_| abort());
        let handle = all.iter().position(Option::is_none).unwrap_or(all.len());
        if handle == all.len() {
            all.push(None);
        }
        if let Some(place) = all.get_mut(handle) {
            *place = Some(Box::new(thing));
        }
        Handle::try_from(handle).unwrap_or(Handle::MAX)
    }

    /// Forgets the thing; the handle is free for another.
    pub(super) fn free(&self, handle: Handle) {
        drop(self.swap(handle, None));
    }

    /// JavaScript never runs meanwhile, and a handle that nobody holds is a mistake of the shell's: the thing is always
    /// there, and if it is not, this traps.
    pub(super) fn ask<A>(&self, handle: Handle, question: impl FnOnce(&mut T) -> A) -> A {
        let mut thing = self.take(handle);
        let answer = question(&mut thing);
        self.put_back(handle, thing);
        answer
    }

    /// The same for the path of a call that succeeds: three times the code, and nothing is called to find the thing.
    pub(super) fn ask_at_once<A>(&self, handle: Handle, question: impl FnOnce(&mut T) -> A) -> A {
        let mut all = self.0.try_lock().unwrap_or_else(|_| abort());
        match all.get_mut(handle as usize) {
            Some(Some(thing)) => question(thing),
            _ => abort(),
        }
    }

    /// Not inlined, and the same below: four dozen exports share them.
    #[inline(never)]
    fn take(&self, handle: Handle) -> Box<T> {
        self.swap(handle, None).unwrap_or_else(|| abort())
    }

    #[inline(never)]
    fn put_back(&self, handle: Handle, thing: Box<T>) {
        self.swap(handle, Some(thing));
    }

    fn swap(&self, handle: Handle, thing: Option<Box<T>>) -> Option<Box<T>> {
        let mut all = self.0.try_lock().unwrap_or_else(|_| abort());
        let place = all.get_mut(handle as usize).unwrap_or_else(|| abort());
        mem::replace(place, thing)
    }
}
