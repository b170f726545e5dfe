//! The default alarm of `js/host.ts`: a timer of the platform that an `AbortSignal` can end early.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use gloo_timers::callback::Timeout;
use js_sys::Function;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};
use web_sys::AbortSignal;

/// Calls `ring` after `ms` (at most 2^31 - 1: a timer of the platform fires at once beyond that), or as soon as the signal
/// aborts: an alarm only wakes, and whoever set it looks at the clock and at the signal. A promise that is made here and not
/// by the shell costs 0.7 kB more.
#[wasm_bindgen]
pub fn sleep(ms: f64, signal: Option<AbortSignal>, ring: Function) {
    wasm_bindgen_futures::spawn_local(async move {
        let bell = Rc::new(Bell::default());
        let _timer = Timeout::new(timer_ms(ms), ringing(&bell));
        let _listener = signal.map(|signal| Listener::new(signal, &bell));
        poll_fn(|context| {
            if bell.rung.get() {
                return Poll::Ready(());
            }
            bell.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        let _ = ring.call0(&JsValue::UNDEFINED);
    })
}

/// What the timer and the signal ring.
#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

fn ringing(bell: &Rc<Bell>) -> impl FnMut() + 'static {
    let bell = Rc::clone(bell);
    move || {
        bell.rung.set(true);
        if let Some(waker) = bell.waker.take() {
            waker.wake();
        }
    }
}

/// A listener for `abort` that is removed when nobody waits any more.
struct Listener {
    signal: AbortSignal,
    callback: Closure<dyn FnMut()>,
}

impl Listener {
    fn new(signal: AbortSignal, bell: &Rc<Bell>) -> Self {
        bell.rung.set(signal.aborted());
        let callback = Closure::new(ringing(bell));
        // A signal that takes no listeners is one that never aborts.
        let _ = signal.add_event_listener_with_callback("abort", callback.as_ref().unchecked_ref());
        Self { signal, callback }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let callback = self.callback.as_ref().unchecked_ref();
        let _ = self.signal.remove_event_listener_with_callback("abort", callback);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is cut first")]
fn timer_ms(ms: f64) -> u32 {
    ms.clamp(0.0, f64::from(i32::MAX)) as u32
}
