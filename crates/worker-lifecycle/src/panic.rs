//! Panics of other people's futures, caught and kept as text.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use workfleet_panics::catch;

pin_project! {
    /// A future whose panics, those of its destructor included, are its output.
    pub(crate) struct Caught<F> {
        #[pin]
        future: Option<F>,
    }
}

impl<F: Future> Caught<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Some(future) }
    }

    /// Drops the future before its time.
    pub(crate) fn abort(self: Pin<&mut Self>) -> Result<(), String> {
        let mut this = self.project();
        catch(|| this.future.set(None))
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = {
            let mut this = self.as_mut().project();
            let Some(future) = this.future.as_mut().as_pin_mut() else {
                // It has ended; who polls it again gets nothing more.
                return Poll::Pending;
            };
            match catch(|| future.poll(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(output)) => Ok(output),
                Err(panic) => Err(panic),
            }
        };
        let dropped = self.abort();
        Poll::Ready(polled.and_then(|output| dropped.map(|()| output)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Explosive;
    impl Drop for Explosive {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    fn poll_once<F: Future>(future: F) -> Poll<Result<F::Output, String>> {
        let mut caught = std::pin::pin!(Caught::new(future));
        caught.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn a_panic_is_an_output() {
        assert_eq!(poll_once(async { 1 }), Poll::Ready(Ok(1)));
        assert_eq!(
            poll_once(async { panic!("it {}", "broke") }),
            Poll::Ready::<Result<(), _>>(Err("it broke".into()))
        );
    }

    #[test]
    fn a_future_that_panics_when_dropped_is_survived() {
        let captured = std::mem::ManuallyDrop::new(());
        let explosive = Explosive;
        let mut caught = std::pin::pin!(Caught::new(async move {
            let _captured = (captured, explosive);
            std::future::pending::<()>().await;
        }));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(caught.as_mut().poll(&mut cx).is_pending());
        assert_eq!(caught.as_mut().abort(), Err("in drop".into()));
        assert!(caught.poll(&mut cx).is_pending());
    }
}
