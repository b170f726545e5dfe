//! The default alarm of `js/host.ts`: a timer of the platform that an `AbortSignal` can end early.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use gloo_timers::future::TimeoutFuture;
use js_sys::Promise;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};
use web_sys::AbortSignal;

/// Resolves after `ms` (at most 2^31 - 1: a timer of the platform fires at once beyond that), or as soon as the signal
/// aborts. It never rejects: an alarm only wakes, and whoever set it looks at the clock and at the signal.
#[wasm_bindgen]
pub fn sleep(ms: f64, signal: Option<AbortSignal>) -> Promise {
    wasm_bindgen_futures::future_to_promise(async move {
        if !signal.as_ref().is_some_and(AbortSignal::aborted) {
            alarm(ms, signal).await;
        }
        Ok(JsValue::UNDEFINED)
    })
}

async fn alarm(ms: f64, signal: Option<AbortSignal>) {
    let aborted = signal.map(Aborted::of);
    let mut timer = pin!(TimeoutFuture::new(timer_ms(ms)));
    std::future::poll_fn(|context| {
        if aborted.as_ref().is_some_and(|aborted| aborted.poll(context.waker())) {
            return Poll::Ready(());
        }
        timer.as_mut().poll(context)
    })
    .await;
}

/// A listener for `abort` that is removed when nobody waits any more.
struct Aborted {
    signal: AbortSignal,
    listener: Closure<dyn FnMut()>,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    aborted: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Aborted {
    fn of(signal: AbortSignal) -> Self {
        let state = Rc::new(State::default());
        let told = Rc::clone(&state);
        let listener = Closure::new(move || {
            told.aborted.set(true);
            if let Some(waker) = told.waker.take() {
                waker.wake();
            }
        });
        // A signal that takes no listeners is one that never aborts.
        let _ = signal.add_event_listener_with_callback("abort", listener.as_ref().unchecked_ref());
        Self { signal, listener, state }
    }

    fn poll(&self, waker: &Waker) -> bool {
        self.state.waker.set(Some(waker.clone()));
        self.state.aborted.get()
    }
}

impl Drop for Aborted {
    fn drop(&mut self) {
        let listener = self.listener.as_ref().unchecked_ref();
        let _ = self.signal.remove_event_listener_with_callback("abort", listener);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is cut first")]
fn timer_ms(ms: f64) -> u32 {
    ms.clamp(0.0, f64::from(i32::MAX)) as u32
}
